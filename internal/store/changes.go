package store

import (
	"context"
	"strings"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// EventChange is a change of an event: it was recorded, or its status changed.
type EventChange struct {
	Seq   int64
	At    time.Time
	Event *incident.Event // with the status that the change gave it
}

// ChangeFilter selects changes of events; empty fields select all.
type ChangeFilter struct {
	Namespace string
	Type      incident.EventType
	Status    incident.Status // that the change gave the event
	Name      string          // of the resource
	Workload  string          // its name
}

// where is the condition on the change c and its event e. The columns of the event are written so
// that no index of theirs leads: the changes come in the order of their numbers.
func (f ChangeFilter) where(noIndex func(column string) string) (condition string, args []any) {
	var b strings.Builder
	for _, field := range []struct{ column, value string }{
		{"e.namespace", f.Namespace}, {"e.type", string(f.Type)}, {"c.state", string(f.Status)}, {"e.name", f.Name}, {"e.workload", f.Workload},
	} {
		if field.value != "" {
			b.WriteString(" AND " + noIndex(field.column) + " = ?")
			args = append(args, field.value)
		}
	}
	return b.String(), args
}

// EventChanges returns the changes of events after a number and up to another one that the filter
// selects, at most limit of them, in order. What it costs is bounded by the range, whatever the filter
// leaves out; what is left out is not decoded.
func (r reads) EventChanges(ctx context.Context, f ChangeFilter, after, upTo int64, limit int) ([]EventChange, error) {
	condition, args := f.where(r.engine.NoIndex)
	return readAll(ctx, r.handle, "changes of events", func(row scanner) (EventChange, error) {
		var c EventChange
		var status string
		var at int64
		var err error
		c.Event, err = r.cluster.scanEvent(leading{row, []any{&c.Seq, &status, &at}})
		if err == nil {
			c.Event.Status, c.At = incident.Status(status), fromMicros(at)
		}
		return c, err
	}, "SELECT c.seq, c.state, c.at, "+prefixed("e", eventColumns)+" FROM "+r.engine.JoinInOrder("changes c", "events e", "e.cluster = :cluster AND e.id = CAST(c.id AS BIGINT)")+
		" WHERE c.cluster = :cluster AND c.kind = 'event' AND c.seq > ? AND c.seq <= ?"+condition+" ORDER BY c.seq LIMIT ?", append(append([]any{after, upTo}, args...), limit)...)
}

// leading is a row with columns before those of the caller.
type leading struct {
	scanner
	into []any
}

// Scan implements scanner.
func (l leading) Scan(into ...any) error { return l.scanner.Scan(append(l.into, into...)...) }

// FirstChange returns the oldest number of the change sequence that is kept; if nothing is, the next
// one.
func (r reads) FirstChange(ctx context.Context) (int64, error) {
	// One statement: a commit between two would look as if what it wrote had been deleted.
	found, err := readAll(ctx, r.handle, "the beginning of the change log", scanNumber,
		"SELECT coalesce((SELECT seq FROM changes WHERE cluster = :cluster ORDER BY seq LIMIT 1), (SELECT seq + 1 FROM clusters WHERE no = :cluster))")
	if err != nil {
		return 0, err
	}
	return found[0], nil
}

// ChangeAt returns the number of the first change that was made at or after a time; if there is
// none, the next one. The log is in the order of time, but for jumps of the clock.
func (r reads) ChangeAt(ctx context.Context, t time.Time) (int64, error) {
	from, err := r.FirstChange(ctx)
	if err != nil {
		return 0, err
	}
	last, err := r.LastChange(ctx)
	if err != nil {
		return 0, err
	}
	to := last + 1
	for from < to {
		middle := from + (to-from)/2
		at, err := readAll(ctx, r.handle, "a time of the change log", scanNumber, "SELECT at FROM changes WHERE cluster = :cluster AND seq >= ? ORDER BY seq LIMIT 1", middle)
		switch {
		case err != nil:
			return 0, err
		case len(at) == 0 || at[0] >= micros(t):
			to = middle
		default:
			from = middle + 1
		}
	}
	return from, nil
}

// StoryChange is a change of an incident or of a delivery, of which one is set: it was recorded, or something of it changed.
type StoryChange struct {
	Seq      int64
	At       time.Time
	Incident *incident.Incident // as it is now
	Delivery *delivery.Delivery // as it is now, without its texts
}

// StoryKinds says which changes of stories are wanted.
type StoryKinds struct{ Incidents, Deliveries bool }

func (k StoryKinds) names() (one, other string) {
	switch {
	case !k.Deliveries:
		return kindIncident, kindIncident
	case !k.Incidents:
		return kindDelivery, kindDelivery
	}
	return kindIncident, kindDelivery
}

// StoryChanges returns the changes of incidents and deliveries after a number and up to another one, in order, and the number
// up to which these are all: at most limit changes are looked at. Of several changes of one it is the last: rows have no
// history of their own. What was deleted meanwhile is left out.
func (r reads) StoryChanges(ctx context.Context, kinds StoryKinds, after, upTo int64, limit int) (changes []StoryChange, reach int64, err error) {
	type logged struct {
		StoryChange
		kind, id string
	}
	one, other := kinds.names()
	log, err := readAll(ctx, r.handle, "changes of incidents and deliveries", func(row scanner) (l logged, err error) {
		var at int64
		err = row.Scan(&l.Seq, &l.kind, &l.id, &at)
		l.At = fromMicros(at)
		return l, err
	}, "SELECT seq, kind, id, at FROM changes WHERE cluster = :cluster AND seq > ? AND seq <= ? AND kind IN (?, ?) ORDER BY seq LIMIT ?", after, upTo, one, other, limit)
	if err != nil {
		return nil, after, err
	}
	reach = upTo
	if len(log) == limit {
		reach = log[len(log)-1].Seq
	}
	log = lastOfEach(log, func(l logged) string { return l.kind + l.id })
	ids := map[string][]string{}
	for _, l := range log {
		ids[l.kind] = append(ids[l.kind], l.id)
	}
	incidents, err := r.Incidents(ctx, ids[kindIncident])
	if err != nil {
		return nil, after, err
	}
	deliveries, err := r.deliveryLines(ctx, ids[kindDelivery])
	if err != nil {
		return nil, after, err
	}
	found := map[string]StoryChange{}
	for _, i := range incidents {
		found[kindIncident+i.ID] = StoryChange{Incident: i}
	}
	for _, d := range deliveries {
		found[kindDelivery+d.ID] = StoryChange{Delivery: d}
	}
	for _, l := range log {
		if c, there := found[l.kind+l.id]; there {
			c.Seq, c.At = l.Seq, l.At
			changes = append(changes, c)
		}
	}
	return changes, reach, nil
}
