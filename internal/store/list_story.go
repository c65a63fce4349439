package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store/engine"
)

// IncidentQuery selects incidents; empty fields select all.
type IncidentQuery struct {
	IDPrefix  string // what the ID begins with
	Namespace string
	Type      incident.EventType
	Status    incident.Status     // Firing: open, Resolved: ended
	Name      string              // of the resource
	Workload  string              // its name
	From, To  sql.Null[time.Time] // when it was first seen: from From on, before To

	// What no index finds; see ScanBound.
	Text  string            // in the name, workload, reason, message or node, whether in capitals or not
	Agent delivery.AgentRef // that was called for it

	Descending bool
}

// Position is what goes into Paging.After for the page after the incident.
func (q IncidentQuery) Position(i *incident.Incident) []any {
	return []any{micros(i.FirstSeen), i.ID}
}

// ListIncidents returns a page of incidents, by when they were first seen.
func (r *Reader) ListIncidents(ctx context.Context, q IncidentQuery, p Paging) ([]*incident.Incident, Total, error) {
	return pageOf(ctx, r, q.listing(r.store.engine), p, r.cluster.scanIncident)
}

func (q IncidentQuery) listing(e engine.Engine) *listing {
	l := &listing{
		engine: e,
		what:   "incidents", columns: incidentColumns, from: "incidents",
		order: []string{"first_seen", "id"}, descending: q.Descending,
	}
	l.where("cluster = :cluster")
	open := q.Status == incident.Firing
	switch q.Status {
	case incident.Firing:
		l.where("resolution = ''")
	case incident.Resolved:
		l.where("resolution <> ''")
	}
	l.beginsWith("id", q.IDPrefix)
	l.equal("name", q.Name, q.IDPrefix == "")
	l.equal("workload", q.Workload, q.IDPrefix == "" && q.Name == "")
	few := open || q.IDPrefix != "" || q.Name != "" || q.Workload != ""
	l.equal("namespace", q.Namespace, !few)
	l.equal("type", string(q.Type), !few && q.Namespace == "")
	l.between("first_seen", q.From, q.To, q.IDPrefix == "")
	q.search(l)
	return l
}

// DeliveryQuery selects deliveries; empty fields select all.
type DeliveryQuery struct {
	IDPrefix  string // what the ID begins with
	Namespace string // of the hook
	Hook      string // its name
	State     delivery.State
	Type      incident.EventType
	Agent     delivery.AgentRef
	Incident  string // that made it due
	Stalled   bool   // only those whose task is stalled now
	// With Stalled: only those that are left to people, since khook does not stop them by itself, or did so in vain.
	LeftToPeople bool
	From, To     sql.Null[time.Time] // when it was made due: from From on, before To

	Descending bool
}

// Position is what goes into Paging.After for the page after the delivery.
func (q DeliveryQuery) Position(d *delivery.Delivery) []any {
	return []any{micros(d.CreatedAt), d.ID}
}

// ListDeliveries returns a page of deliveries, by when they were made due, without their texts: prompt,
// data, answer, question, reply, and the error that may quote an agent.
func (r *Reader) ListDeliveries(ctx context.Context, q DeliveryQuery, p Paging) ([]*delivery.Delivery, Total, error) {
	return pageOf(ctx, r, q.listing(r.store.engine), p, r.cluster.scanDelivery)
}

func (q DeliveryQuery) listing(e engine.Engine) *listing {
	l := &listing{
		engine: e,
		what:   "deliveries", columns: deliveryLine, from: "deliveries",
		order: []string{"created_at", "id"}, descending: q.Descending,
	}
	l.where("cluster = :cluster")
	l.beginsWith("id", q.IDPrefix)
	l.equal("incident_id", q.Incident, q.IDPrefix == "")
	one := q.IDPrefix != "" || q.Incident != "" || q.Stalled
	if q.Stalled {
		l.where("stalled_since > 0")
	}
	if q.LeftToPeople {
		l.where("state <> 'input-required' AND cancel_requested_by = '' AND stop NOT IN ('asking', 'asked')")
	}
	l.equal("hook_ns", q.Namespace, !one)
	l.equal("hook", q.Hook, !one && q.Namespace != "")
	l.equal("state", string(q.State), !one && q.Namespace == "")
	l.equal("type", string(q.Type), false)
	l.equal("agent_ns", q.Agent.Namespace, false)
	l.equal("agent", q.Agent.Name, false)
	l.between("created_at", q.From, q.To, q.IDPrefix == "")
	return l
}

// DeliveriesOfIncident returns the deliveries that cover an incident, the oldest first, with their
// texts.
func (r *Reader) DeliveriesOfIncident(ctx context.Context, id string, limit int) ([]*delivery.Delivery, error) {
	return readAll(ctx, r.handle, "deliveries of incident "+id, r.cluster.scanDelivery,
		"SELECT "+deliveryColumns+" FROM deliveries WHERE cluster = :cluster AND id IN (SELECT delivery_id FROM decisions WHERE cluster = :cluster AND delivery_id <> '' AND event_id IN "+
			"(SELECT id FROM events WHERE cluster = :cluster AND incident_id = ?) UNION SELECT id FROM deliveries WHERE cluster = :cluster AND incident_id = ?) ORDER BY created_at, id LIMIT ?", id, id, limit)
}

// IncidentDecisions returns what the hooks decided about the first events of an incident, and the decisions about it that were
// not made for an event, in the order of time.
func (r *Reader) IncidentDecisions(ctx context.Context, id string, events int) ([]delivery.Decision, error) {
	return readAll(ctx, r.handle, "decisions about incident "+id, scanDecision,
		"SELECT "+decisionColumns+" FROM (SELECT "+decisionColumns+" FROM decisions WHERE cluster = :cluster AND event_id IN (SELECT id FROM events WHERE cluster = :cluster AND incident_id = ? ORDER BY id LIMIT ?) "+
			"UNION ALL SELECT "+decisionColumns+" FROM (SELECT "+decisionColumns+" FROM decisions WHERE cluster = :cluster AND incident_id = ? AND made_for <> 'event' ORDER BY event_id LIMIT ?) AS others) AS made "+
			"ORDER BY event_id, hook_ns, hook, config", id, events, id, events)
}

// HookDecisions returns what a hook decided about events.
func (r *Reader) HookDecisions(ctx context.Context, hook delivery.HookRef, events []int64) ([]delivery.Decision, error) {
	var found []delivery.Decision
	err := inBatches(len(events), func(from, to int) error {
		args := append(anys(events[from:to]), hook.Namespace, hook.Name)
		part, err := readAll(ctx, r.handle, "decisions of hook "+hook.String(), scanDecision,
			"SELECT "+decisionColumns+" FROM decisions WHERE cluster = :cluster AND event_id IN ("+placeholders(to-from)+") AND hook_ns = ? AND hook = ? ORDER BY event_id, config", args...)
		found = append(found, part...)
		return err
	})
	return found, err
}
