package store

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/proptest"
)

// life makes random changes, such as the ledger and dispatch make, and knows what they come to.
type life struct {
	*rapid.T
	store  *Store
	now    time.Time
	events int
	open   []*incident.Incident
	going  []*delivery.Delivery
	past   []delivery.Decision
	told   map[string][]string // the states that each thing went through, by kind and ID
	last   int64
}

var errOther = errors.New("something else failed")

// transaction is some steps, of which all or none are recorded.
func (l *life) transaction() {
	before := *l
	before.open, before.going = copies(l.open), copies(l.going)
	told := map[string][]string{}
	c := &Changes{}
	err := l.store.Write(l.Context(), func(tx *Tx) error {
		for range rapid.IntRange(0, 12).Draw(l.T, "steps") {
			l.now = l.now.Add(time.Duration(rapid.IntRange(0, 90).Draw(l.T, "seconds")) * time.Second)
			rapid.SampledFrom([]func(*Tx, *Changes){l.occur, l.occur, l.occur, l.end, l.deliver, l.answer, l.repeatDecision}).Draw(l.T, "step")(tx, c)
		}
		if err := tx.Save(l.Context(), c); err != nil {
			return err
		}
		l.tell(told, c)
		if rapid.IntRange(0, 4).Draw(l.T, "fails") == 0 {
			return errOther
		}
		l.last = tx.seq
		return nil
	})
	if errors.Is(err, errOther) {
		*l = before
		return
	}
	if err != nil {
		l.Fatal(err)
	}
	for key, states := range told {
		l.told[key] = append(l.told[key], states...)
	}
}

func copies[T any](all []*T) []*T {
	var same []*T
	for _, v := range all {
		c := *v
		same = append(same, &c)
	}
	return same
}

func pick[T any](l *life, all []T) (T, bool) {
	var none T
	if len(all) == 0 {
		return none, false
	}
	return all[rapid.IntRange(0, len(all)-1).Draw(l.T, "which")], true
}

// occur repeats an open incident or opens one, and lets up to two hooks decide about it.
func (l *life) occur(tx *Tx, c *Changes) {
	l.events++
	s := &incident.Signal{
		Key: fmt.Sprintf("key %d", l.events), Kind: incident.Observed, At: l.now, Type: rapid.SampledFrom(incident.EventTypes()).Draw(l.T, "type"),
		Observation: incident.Observation{
			Resource: incident.Resource{Kind: "Pod", Namespace: rapid.SampledFrom([]string{"shop", "bank"}).Draw(l.T, "namespace"), Name: "p", UID: "u"},
		},
	}
	inc, found := pick(l, l.open)
	if found && rapid.Bool().Draw(l.T, "again") {
		s.Type, s.Resource = inc.Type, inc.Resource
		inc.Observe(s)
	} else {
		inc = incident.Open(incident.Origin{Cluster: "prod", Salt: "prod"}, s)
		l.open = append(l.open, inc)
	}
	ev := incident.NewEvent(inc, s, l.now)
	ev.ID = tx.NextEvent()
	c.Events, c.Incidents = append(c.Events, ev), append(c.Incidents, inc)
	for n := range rapid.IntRange(0, 2).Draw(l.T, "hooks") {
		d := delivery.Decision{
			EventID: ev.ID, IncidentID: inc.ID, Hook: delivery.HookRef{Namespace: "shop", Name: fmt.Sprintf("h%d", n)},
			Config: string(inc.Type), Disposition: rapid.SampledFrom(delivery.Dispositions()).Draw(l.T, "disposition"), At: l.now,
		}
		c.Decisions = append(c.Decisions, d)
		l.past = append(slices.Clip(l.past), d)
	}
}

func (l *life) repeatDecision(_ *Tx, c *Changes) {
	if d, found := pick(l, l.past); found {
		d.Disposition = delivery.Suspended // the first one stays
		c.Decisions = append(c.Decisions, d)
	}
}

func (l *life) end(_ *Tx, c *Changes) {
	if inc, found := pick(l, l.open); found {
		inc.Resolve(incident.Recovered, l.now)
		c.Incidents = append(c.Incidents, inc)
		var left []*incident.Incident
		for _, other := range l.open {
			if other.Open() {
				left = append(left, other)
			}
		}
		l.open = left
	}
}

func (l *life) deliver(tx *Tx, c *Changes) {
	d := &delivery.Delivery{
		ID: fmt.Sprintf("delivery %d", tx.seq+int64(len(l.going))*1_000_000+l.now.UnixMicro()), Cluster: "prod", State: delivery.Pending,
		Hook: delivery.HookRef{Namespace: "shop", Name: "h0"}, Config: "pod-restart", CreatedAt: l.now,
	}
	for _, other := range c.Deliveries {
		if other.ID == d.ID {
			return
		}
	}
	c.Deliveries, l.going = append(c.Deliveries, d), append(l.going, d)
	c.Decisions = append(c.Decisions, delivery.Decision{
		MadeFor: delivery.ForOngoing, EventType: incident.PodRestart, IncidentID: "some", Hook: d.Hook, Config: "former-key", Disposition: delivery.Delivered, DeliveryID: d.ID, At: l.now,
	})
}

// answer takes a delivery to its next state, as far as its outcome.
func (l *life) answer(_ *Tx, c *Changes) {
	d, found := pick(l, l.going)
	switch {
	case !found || d.Outcome != "":
		return
	case d.State.Ended():
		d.Outcome, d.OutcomeAt, d.RecoveredAt = rapid.SampledFrom(delivery.Outcomes()).Draw(l.T, "outcome"), l.now, l.now
		d.CalledAt = l.now.Add(rapid.SampledFrom([]time.Duration{-time.Second, time.Second}).Draw(l.T, "called"))
	case d.State == delivery.Pending && rapid.Bool().Draw(l.T, "skipped"):
		d.State, d.Skipped, d.EndedAt = delivery.Canceled, delivery.SkipRecovered, l.now
	default:
		if d.State = rapid.SampledFrom(delivery.States()[1:]).Draw(l.T, "state"); d.State.Ended() {
			d.EndedAt = l.now
		}
	}
	c.Deliveries = append(c.Deliveries, d)
}

// tell adds what the change log should say of c: each thing once, in its last state.
func (l *life) tell(told map[string][]string, c *Changes) {
	for _, e := range c.Events {
		told["event "+strconv.FormatInt(e.ID, 10)] = []string{string(e.Status)}
	}
	for _, i := range c.Incidents {
		state := string(incident.Firing)
		if !i.Open() {
			state = string(i.Resolution)
		}
		told["incident "+i.ID] = []string{state}
	}
	for _, d := range c.Deliveries {
		told["delivery "+d.ID] = []string{string(d.State)}
	}
}

// What the counters should say, as a scan of the history does.
const (
	scannedEvents = `SELECT at / 60000000 AS minute, cluster, namespace, type, 'firing' AS status, count(*) AS n FROM events
			WHERE status <> 'duplicate' GROUP BY 1, 2, 3, 4 UNION ALL
		SELECT at / 60000000, cluster, namespace, type, status, count(*) FROM events WHERE status = 'duplicate' GROUP BY 1, 2, 3, 4 UNION ALL
		SELECT i.resolved_at / 60000000, i.cluster, i.namespace, i.type, 'resolved', count(*) FROM incidents i
			JOIN events e ON e.incident_id = i.id AND e.status = 'resolved' GROUP BY 1, 2, 3, 4`
	scannedHooks = `SELECT at / 60000000 AS minute, 0 AS cluster, hook_ns, hook, config, 'disposition:' || disposition AS name, count(*) AS n
			FROM decisions GROUP BY 1, 3, 4, 5, 6 UNION ALL
		SELECT ended_at / 60000000, cluster, hook_ns, hook, config, 'delivery:' || state, count(*)
			FROM deliveries WHERE ended_at <> 0 GROUP BY 1, 2, 3, 4, 5, 6 UNION ALL
		SELECT ended_at / 60000000, cluster, hook_ns, hook, config, 'skipped', count(*) FROM deliveries WHERE skipped <> '' GROUP BY 1, 2, 3, 4, 5 UNION ALL
		SELECT outcome_at / 60000000, cluster, hook_ns, hook, config, 'outcome:' || outcome, count(*)
			FROM deliveries WHERE outcome <> '' GROUP BY 1, 2, 3, 4, 5, 6 UNION ALL
		SELECT outcome_at / 60000000, cluster, hook_ns, hook, config, 'recovered:' ||
			CASE WHEN outcome_at <= called_at THEN 'before-call' WHEN outcome_at <= ended_at THEN 'during-task' ELSE 'after-task' END, count(*)
			FROM deliveries WHERE outcome = 'recovered' GROUP BY 1, 2, 3, 4, 5, 6`
)

func TestCountersAndChangeLogSayWhatTheHistorySays(t *testing.T) {
	proptest.Check(t, 100, func(rt *rapid.T) {
		st, err := Open(rt.Context(), Config{Path: ":memory:", Cluster: "prod"})
		if err != nil {
			rt.Fatal(err)
		}
		defer st.Close()
		l := &life{T: rt, store: st, now: time.Date(2026, 1, 15, 10, 0, 0, 0, time.UTC), told: map[string][]string{}}
		for range rapid.IntRange(1, 15).Draw(rt, "transactions") {
			l.transaction()
		}
		for _, span := range []int64{minuteSpan, hourSpan} {
			bySpan := func(scan string) string {
				return strings.ReplaceAll(scan, "/ 60000000", fmt.Sprintf("/ %d * %d", span*60_000_000, span))
			}
			of := func(columns, table, where string) string {
				return fmt.Sprintf("SELECT start AS minute, %s FROM %s WHERE span = %d%s", columns, table, span, where)
			}
			l.sameRows(of("cluster, namespace, type, status, n", "event_counts", " AND namespace <> '*' AND type <> '*'"), bySpan(scannedEvents))
			l.sameRows(of("cluster, namespace, type, status, n", "event_counts", " AND namespace = '*'"),
				"SELECT minute, cluster, '*', type, status, sum(n) FROM ("+bySpan(scannedEvents)+") GROUP BY 1, 2, 3, 4, 5")
			l.sameRows(of("cluster, hook_ns, hook, config, name, n", "hook_counts", " AND n <> 0"), bySpan(scannedHooks))
		}
		for _, span := range []int64{minuteSpan, hourSpan} {
			l.sameRows(fmt.Sprintf("SELECT start, cluster, namespace, n FROM event_counts WHERE type = '*' AND span = %d", span),
				fmt.Sprintf("SELECT at / %d * %d, cluster, namespace, count(*) FROM events GROUP BY 1, 2, 3", span*60_000_000, span))
		}
		l.checkLog()
		l.neverNegative()
	})
}

// neverNegative deletes what is old, and has the agents of what goes on not called after all: the decisions that are taken back
// then may be counted no more.
func (l *life) neverNegative() {
	l.Helper()
	if _, err := l.store.Prune(l.Context(), l.now.Add(-time.Duration(rapid.IntRange(0, 30).Draw(l.T, "minutes kept"))*time.Minute)); err != nil {
		l.Fatal(err)
	}
	c := &Changes{}
	for _, d := range l.going {
		if there, err := l.store.Delivery(l.Context(), d.ID); err == nil && there.State == delivery.Pending {
			there.State, there.Skipped, there.EndedAt = delivery.Canceled, delivery.SkipRecovered, l.now
			c.Deliveries = append(c.Deliveries, there)
		}
	}
	if err := l.store.Write(l.Context(), func(tx *Tx) error { return tx.Save(l.Context(), c) }); err != nil {
		l.Fatal(err)
	}
	for _, table := range []string{"hook_counts", "event_counts"} {
		if rows := l.texts("SELECT * FROM " + table + " WHERE n < 0"); len(rows) > 0 {
			l.Errorf("%s: %v", table, rows)
		}
	}
}

func (l *life) sameRows(counted, scan string) {
	l.Helper()
	for what, query := range map[string]string{
		"counted but not there": "SELECT * FROM (" + counted + ") EXCEPT SELECT * FROM (" + scan + ")",
		"there but not counted": "SELECT * FROM (" + scan + ") EXCEPT SELECT * FROM (" + counted + ")",
	} {
		if rows := l.texts(query); len(rows) > 0 {
			l.Errorf("%s: %s: %v", counted, what, rows)
		}
	}
}

func (l *life) texts(query string) []string {
	rows, err := l.store.core.db.QueryContext(l.Context(), query)
	if err != nil {
		l.Fatal(err)
	}
	names, _ := rows.Columns()
	found, err := collect(rows, func(row scanner) (string, error) {
		values := make([]any, len(names))
		for i := range values {
			values[i] = new(any)
		}
		err := row.Scan(values...)
		text := ""
		for _, v := range values {
			text += fmt.Sprint(*v.(*any), " ")
		}
		return text, err
	})
	if err != nil {
		l.Fatal(err)
	}
	return found
}

// logged is one entry of the change log.
type logged struct {
	Seq             int64
	Kind, ID, State string
}

// checkLog holds the change log against what happened: no number is missing or there twice, each
// thing went through its states in their order, and an event's ID is the number of its insertion.
func (l *life) checkLog() {
	l.Helper()
	all, err := readAll(l.Context(), l.store.core, "the change log", func(row scanner) (c logged, err error) {
		err = row.Scan(&c.Seq, &c.Kind, &c.ID, &c.State)
		return c, err
	}, "SELECT seq, kind, id, state FROM changes ORDER BY seq")
	if err != nil {
		l.Fatal(err)
	}
	told := map[string][]string{}
	for n, c := range all {
		if c.Seq != int64(n+1) {
			l.Fatalf("number %d of the log is %d", n+1, c.Seq)
		}
		key := c.Kind + " " + c.ID
		if c.Kind == kindEvent && told[key] == nil && c.ID != strconv.FormatInt(c.Seq, 10) {
			l.Errorf("event %s is inserted by change %d", c.ID, c.Seq)
		}
		if c.Kind == kindEvent && c.State == string(incident.Resolved) {
			continue // an incident tells it
		}
		told[key] = append(told[key], c.State)
	}
	if diff := cmp.Diff(l.told, told); diff != "" {
		l.Errorf("the change log (-want +got)\n%s", diff)
	}
	last, err := l.store.LastChange(l.Context())
	if err != nil || last != int64(len(all)) || last != l.last {
		l.Errorf("the last change is %d, %v; the log has %d, the last transaction had %d", last, err, len(all), l.last)
	}
}
