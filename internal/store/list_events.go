package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store/engine"
)

// The orders of lists. Rows that are the same in it come in the order of time, in the same direction.
const (
	ByTime = "" // of the event, of the incident's first event, or of the delivery's creation
	ByType = "type"
	ByName = "name"
)

// EventQuery selects events; empty fields select all.
type EventQuery struct {
	Namespace string
	Type      incident.EventType
	Status    incident.Status
	Name      string // of the resource
	Workload  string // its name
	Hook      delivery.HookRef
	Incident  string
	From, To  sql.Null[time.Time] // when it happened: from From on, before To

	Sort       string // ByTime, ByType or ByName
	Descending bool
}

// Position is what goes into Paging.After for the page after the event.
func (q EventQuery) Position(e *incident.Event) []any {
	at := []any{micros(e.At), e.ID}
	switch q.Sort {
	case ByType:
		return append([]any{string(e.Type)}, at...)
	case ByName:
		return append([]any{e.Resource.Name}, at...)
	}
	return at
}

// ListEvents returns a page of events.
func (r *Reader) ListEvents(ctx context.Context, q EventQuery, p Paging) ([]*incident.Event, Total, error) {
	return pageOf(ctx, r, q.listing(r.store.engine), p, r.cluster.scanEvent)
}

func (q EventQuery) listing(e engine.Engine) *listing {
	l := &listing{engine: e, what: "events", columns: prefixed("e", eventColumns), from: "events e", descending: q.Descending}
	lead := q.lead()
	hook := lead["hook"]
	if hook { // the hook's decisions lead to its events
		l.from = e.JoinInOrder("decisions d", "events e", "e.cluster = :cluster AND e.id = d.event_id")
		l.order = []string{"d.event_at", "d.event_id"}
		l.where("d.cluster = :cluster AND d.hook_ns = ? AND d.hook = ? AND d.leads = 1", q.Hook.Namespace, q.Hook.Name)
		l.equal("d.type", string(q.Type), true)
		l.between("d.event_at", q.From, q.To, true)
		q.Type = ""
		if q.Namespace == q.Hook.Namespace {
			q.Namespace = "" // a hook decides about its own namespace only
		}
		if q.Status == "" && q.Namespace == "" {
			l.countFrom = "decisions d"
		}
	} else {
		l.order = []string{"e.at", "e.id"}
		if q.Sort != ByTime {
			l.order = append([]string{"e." + q.Sort}, l.order...)
		}
		l.where("e.cluster = :cluster")
		l.between("e.at", q.From, q.To, q.Sort == ByTime)
		if q.Hook.Name != "" {
			l.where("EXISTS (SELECT 1 FROM decisions d WHERE d.cluster = :cluster AND d.event_id = e.id AND d.hook_ns = ? AND d.hook = ?)", q.Hook.Namespace, q.Hook.Name)
		}
	}
	l.equal("e.namespace", q.Namespace, lead["namespace"])
	l.equal("e.type", string(q.Type), lead["type"])
	l.equal("e.status", string(q.Status), lead["status"])
	l.equal("e.name", q.Name, lead["name"])
	l.equal("e.workload", q.Workload, lead["workload"])
	l.equal("e.incident_id", q.Incident, lead["incident"])
	return l
}

// lead says by which columns' index the events are found: by that which leaves the fewest to be
// looked at.
func (q EventQuery) lead() map[string]bool {
	columns := func(names ...string) map[string]bool {
		lead := map[string]bool{}
		for _, n := range names {
			lead[n] = true
		}
		return lead
	}
	switch {
	case q.Incident != "":
		return columns("incident")
	case q.Name != "":
		return columns("name")
	case q.Status == incident.Firing:
		return columns("status", "namespace")
	case q.Workload != "" && q.Sort == ByTime:
		return columns("workload")
	case q.Hook.Name != "" && q.Sort == ByTime:
		return columns("hook")
	case q.Sort == ByName:
		return columns("namespace")
	case q.Sort == ByType:
		return columns("namespace", "type")
	case q.Status != "":
		return columns("status", "namespace")
	}
	return columns("namespace", "type")
}
