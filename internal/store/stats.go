package store

import (
	"context"
	"fmt"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// spans is a range of whole minutes as rows of the counters: whole hours in the middle, minutes at
// both ends.
type spans struct{ from, firstHour, lastHour, to int64 }

func spansOf(from, to time.Time) spans {
	s := spans{from: minute(from), to: minute(to)}
	s.firstHour = (s.from + hourSpan - 1) / hourSpan * hourSpan
	s.lastHour = s.to / hourSpan * hourSpan
	if s.lastHour <= s.firstHour { // no whole hour
		s.firstHour, s.lastHour = s.to, s.to
	}
	return s
}

// union is a query over the parts of the range.
func (s spans) union(columns, table, where string, args ...any) (string, []any) {
	part := "SELECT " + columns + " FROM " + table + " WHERE cluster = :cluster AND span = %d AND " + where + " AND start >= ? AND start < ?"
	text := fmt.Sprintf(part+" UNION ALL "+part+" UNION ALL "+part, minuteSpan, hourSpan, minuteSpan)
	var every []any
	for _, r := range [][2]int64{{s.from, s.firstHour}, {s.firstHour, s.lastHour}, {s.lastHour, s.to}} {
		every = append(append(every, args...), r[0], r[1])
	}
	return text, every
}

// EventCount is how often something happened.
type EventCount struct {
	Type   incident.EventType
	Status incident.Status
	N      int64
}

// EventCounts returns the counters of whole minutes from from to before to, of a namespace or, if
// it is empty, of all. What is resolved is counted when it was.
func (r *Reader) EventCounts(ctx context.Context, from, to time.Time, namespace string) ([]EventCount, error) {
	parts, args := spansOf(from, to).union("type, status, n", "event_counts", "namespace = ? AND type <> '*'", orAll(namespace))
	return readAll(ctx, r.handle, "event counts", func(row scanner) (c EventCount, err error) {
		err = row.Scan(&c.Type, &c.Status, &c.N)
		return c, err
	}, "SELECT type, status, sum(n) FROM ("+parts+") AS counts GROUP BY type, status ORDER BY type, status", args...)
}

func orAll(namespace string) string {
	if namespace == "" {
		return anyValue
	}
	return namespace
}

// ActiveEvents returns how many events are firing, by type, of a namespace or of all.
func (r *Reader) ActiveEvents(ctx context.Context, namespace string) ([]EventCount, error) {
	where, args := "", []any{}
	if namespace != "" {
		where, args = " AND namespace = ?", []any{namespace}
	}
	return readAll(ctx, r.handle, "active events", func(row scanner) (c EventCount, err error) {
		c.Status = incident.Firing
		err = row.Scan(&c.Type, &c.N)
		return c, err
	}, "SELECT type, count(*) FROM events WHERE cluster = :cluster AND status = 'firing'"+where+" GROUP BY type", args...)
}

// TrendCount is how many events, duplicates included, a bucket of time has of a type or namespace.
type TrendCount struct {
	Bucket int64 // number of the bucket since 1970, in intervals
	Key    string
	N      int64
}

// Trend counts the events of whole minutes from from to before to in buckets of an interval, which
// is whole minutes; by type, of a namespace or of all.
func (r *Reader) Trend(ctx context.Context, from, to time.Time, interval time.Duration, namespace string) ([]TrendCount, error) {
	span := spanOf(from, to, interval)
	return r.trend(ctx, "SELECT start / ? AS bucket, type, sum(n) FROM event_counts WHERE cluster = :cluster AND span = ? AND namespace = ? AND start >= ? AND start < ? "+
		"AND status <> 'resolved' AND type <> '*' GROUP BY 1, 2", int64(interval/time.Minute), span, orAll(namespace), minute(from), minute(to))
}

// TrendByNamespace is Trend by namespace.
func (r *Reader) TrendByNamespace(ctx context.Context, from, to time.Time, interval time.Duration) ([]TrendCount, error) {
	return r.trend(ctx, "SELECT start / ? AS bucket, namespace, sum(n) FROM event_counts WHERE cluster = :cluster AND type = '*' AND span = ? AND start >= ? AND start < ? GROUP BY 1, 2",
		int64(interval/time.Minute), spanOf(from, to, interval), minute(from), minute(to))
}

// spanOf is the span of the counters that fills the buckets.
func spanOf(from, to time.Time, interval time.Duration) int64 {
	if interval%time.Hour == 0 && minute(from)%hourSpan == 0 && minute(to)%hourSpan == 0 {
		return hourSpan
	}
	return minuteSpan
}

func (r *Reader) trend(ctx context.Context, text string, args ...any) ([]TrendCount, error) {
	return readAll(ctx, r.handle, "trends", func(row scanner) (c TrendCount, err error) {
		err = row.Scan(&c.Bucket, &c.Key, &c.N)
		return c, err
	}, text, args...)
}

// HookCounts returns a hook's counters of whole minutes from from to before to, by name: such as
// "disposition:delivered", "delivery:succeeded" and "outcome:recovered".
func (r *Reader) HookCounts(ctx context.Context, hook delivery.HookRef, from, to time.Time) (map[string]int64, error) {
	parts, args := spansOf(from, to).union("name, n", "hook_counts", "hook_ns = ? AND hook = ?", hook.Namespace, hook.Name)
	type count struct {
		name string
		n    int64
	}
	counts, err := readAll(ctx, r.handle, "counters of hook "+hook.String(), func(row scanner) (c count, err error) {
		err = row.Scan(&c.name, &c.n)
		return c, err
	}, "SELECT name, sum(n) FROM ("+parts+") AS counts GROUP BY name", args...)
	byName := make(map[string]int64, len(counts))
	for _, c := range counts {
		byName[c.name] = c.n
	}
	return byName, err
}

// DeliveryTimes is how long a delivery took.
type DeliveryTimes struct {
	State     delivery.State
	CreatedAt time.Time
	CalledAt  time.Time // zero if its agent was not reached
	EndedAt   time.Time // zero while it is under way
	Outcome   delivery.Outcome
	OutcomeAt time.Time

	VerifyUntil time.Time // zero if there is no outcome to come, or it has not ended
}

// HookDeliveryTimes returns the times of a hook's deliveries that were made due from from on and
// before to, the newest first, at most limit. It reads no texts.
func (r *Reader) HookDeliveryTimes(ctx context.Context, hook delivery.HookRef, from, to time.Time, limit int) ([]DeliveryTimes, error) {
	return readAll(ctx, r.handle, "times of hook "+hook.String(), func(row scanner) (d DeliveryTimes, err error) {
		var created, called, ended, outcome, until int64
		err = row.Scan(&d.State, &created, &called, &ended, &d.Outcome, &outcome, &until)
		d.VerifyUntil = fromMicros(until)
		d.CreatedAt, d.CalledAt, d.EndedAt, d.OutcomeAt = fromMicros(created), fromMicros(called), fromMicros(ended), fromMicros(outcome)
		return d, err
	}, "SELECT state, created_at, called_at, ended_at, outcome, outcome_at, verify_until FROM deliveries "+
		"WHERE cluster = :cluster AND hook_ns = ? AND hook = ? AND created_at >= ? AND created_at < ? ORDER BY created_at DESC LIMIT ?",
		hook.Namespace, hook.Name, micros(from), micros(to), limit)
}

// HookDeliveriesMade counts a hook's deliveries that were made due from from on and before to: for an event,
// because an incident goes on, or because a person wanted one again.
func (r *Reader) HookDeliveriesMade(ctx context.Context, hook delivery.HookRef, from, to time.Time) (int64, error) {
	counted, err := readAll(ctx, r.handle, "how many deliveries hook "+hook.String()+" has", scanNumber,
		"SELECT count(*) FROM deliveries WHERE cluster = :cluster AND hook_ns = ? AND hook = ? AND created_at >= ? AND created_at < ?", hook.Namespace, hook.Name, micros(from), micros(to))
	if err != nil {
		return 0, err
	}
	return counted[0], nil
}
