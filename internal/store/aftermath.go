package store

import (
	"context"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/store/engine"
)

const (
	failureColumns   = "type, namespace, workload_kind, workload, container"
	aftermathColumns = "max(CASE WHEN resolution = '' THEN 1 ELSE 0 END), max(CASE WHEN resolution = '' AND unheard_since = 0 THEN 1 ELSE 0 END), " +
		"max(CASE WHEN resolution = 'quiet' THEN 1 ELSE 0 END), max(CASE WHEN resolution = 'gone' THEN 1 ELSE 0 END), " +
		"max(resolved_at), coalesce(min(CASE WHEN resolution = 'recovered' THEN resolved_at END), 0)"
)

// ofFailure selects the incidents of a failure that begunWithin has the arguments of: by their workload, of which there are fewest.
func ofFailure(e engine.Engine) string {
	return "cluster = :cluster AND workload = ? AND first_seen > ? AND first_seen <= ? AND workload_kind = ? AND " + e.NoIndex("namespace") + " = ? AND " + e.NoIndex("type") + " = ? AND container = ?"
}

func begunWithin(f delivery.Failure, after, until time.Time) []any {
	return []any{f.Workload.Name, micros(after), micros(until), f.Workload.Kind, f.Namespace, string(f.Type), f.Container}
}

func scanAftermath(row scanner) (a delivery.Aftermath, err error) {
	var open, heard, quiet, gone, last, first int64
	err = row.Scan(&a.Type, &a.Namespace, &a.Workload.Kind, &a.Workload.Name, &a.Container, &open, &heard, &quiet, &gone, &last, &first)
	a.Open, a.Heard, a.Quiet, a.Gone, a.LastEnd, a.FirstRecovery = open != 0, heard != 0, quiet != 0, gone != 0, fromMicros(last), fromMicros(first)
	return a, err
}

// Aftermath sums up all incidents that a delivery covers and that began until a time, by failure: how many they are does not matter
// but for how long it takes.
func (s *Store) Aftermath(ctx context.Context, deliveryID string, until time.Time) ([]delivery.Aftermath, error) {
	return readAll(ctx, s.core, "what became of the incidents of delivery "+deliveryID, scanAftermath,
		"SELECT "+failureColumns+", "+aftermathColumns+" FROM "+s.engine.JoinInOrder("delivery_incidents c", "incidents i", "i.cluster = :cluster AND i.id = c.incident_id")+
			" WHERE c.cluster = :cluster AND c.delivery_id = ? AND i.first_seen <= ? GROUP BY "+failureColumns, deliveryID, micros(until))
}

// FailedAnew sums up the incidents of a failure that began after a time and until another one, whether a call was made for them or not;
// nil if there are none.
func (r reads) FailedAnew(ctx context.Context, f delivery.Failure, after, until time.Time) (*delivery.Aftermath, error) {
	found, err := readAll(ctx, r.handle, "what failed anew of "+f.Workload.String(), scanAftermath,
		"SELECT "+failureColumns+", "+aftermathColumns+" FROM incidents WHERE "+ofFailure(r.engine)+" GROUP BY "+failureColumns, begunWithin(f, after, until)...)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return &found[0], nil
}

// FirstFailure is when a failure first occurred after a time and until another one; zero if it did not.
func (r reads) FirstFailure(ctx context.Context, f delivery.Failure, after, until time.Time) (time.Time, error) {
	return readOne(ctx, r.handle, "when "+f.Workload.String()+" failed again", scanTime,
		"SELECT min("+r.engine.NoIndex("first_seen")+") FROM incidents WHERE "+ofFailure(r.engine), begunWithin(f, after, until)...)
}

// LastRecovery is when a failure, as far as the delivery covers it, last ended as recovered until a time; zero if it did not.
func (s *Store) LastRecovery(ctx context.Context, deliveryID string, f delivery.Failure, until time.Time) (time.Time, error) {
	return readOne(ctx, s.core, "when "+f.Workload.String()+" recovered", scanTime,
		"SELECT max(i.resolved_at) FROM "+s.engine.JoinInOrder("delivery_incidents c", "incidents i", "i.cluster = :cluster AND i.id = c.incident_id")+
			" WHERE c.cluster = :cluster AND c.delivery_id = ? AND i.resolution = 'recovered' AND i.resolved_at <= ? AND i.workload = ? AND i.workload_kind = ? AND i.namespace = ? AND i.type = ? AND i.container = ?",
		deliveryID, micros(until), f.Workload.Name, f.Workload.Kind, f.Namespace, string(f.Type), f.Container)
}
