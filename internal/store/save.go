package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// Changes are what one transaction changes.
type Changes struct {
	Events     []*incident.Event    // new ones; their IDs are numbers from Next
	Incidents  []*incident.Incident // inserted, or updated; when one ends, its first event becomes resolved
	Deliveries []*delivery.Delivery // inserted, or updated if the row is still of their Version, which the commit sets
	Decisions  []delivery.Decision  // one for each event, hook and configuration; repeats are ignored. And one for each of Deliveries that no event made
	Covers     []DeliveryIncident   // beside those that decisions tell
	Entries    []delivery.Entry     // of deliveries' logs
	Groups     []*delivery.GroupState
}

// DeliveryIncident says that a delivery is about an incident.
type DeliveryIncident struct{ DeliveryID, IncidentID string }

// ErrConflict is returned for a delivery that was changed since it was read: read it again.
var ErrConflict = errors.New("changed by somebody else meanwhile")

// The kinds of things in the change log.
const (
	kindEvent    = "event"
	kindIncident = "incident"
	kindDelivery = "delivery"
)

// saving collects what a Save adds beside the rows themselves: the change log and the counters.
type saving struct {
	tx     *Tx
	now    time.Time
	log    [][]any
	events map[eventCount]int64
	hooks  map[hookCount]int64

	decided  map[int64]eventFacts // the events that decisions are about, by their ID
	recorded map[decisionKey]bool // decisions of earlier Saves
	asked    map[hookEvent]bool   // their events and Hooks
	written  map[string]int64     // the numbers of the deliveries' rows, by their IDs
	covers   map[DeliveryIncident]bool
}

type eventCount struct {
	minute                  int64
	namespace, kind, status string
}
type hookCount struct {
	minute       int64
	hook         delivery.HookRef
	config, name string
}

// Save writes changes, and for each of them the change log and the counters. An event whose key
// is known is an error: ask KnownKeys first, in the same transaction.
func (tx *Tx) Save(ctx context.Context, c *Changes) error {
	s := &saving{tx: tx, now: tx.store.cfg.Clock.Now(), events: map[eventCount]int64{}, hooks: map[hookCount]int64{}, decided: make(map[int64]eventFacts, len(c.Events)), recorded: map[decisionKey]bool{}, asked: map[hookEvent]bool{},
		written: map[string]int64{}, covers: map[DeliveryIncident]bool{}}
	for _, cover := range c.Covers {
		s.covers[cover] = true
	}
	for _, step := range []func() error{
		func() error { return s.saveEvents(ctx, c.Events) },
		func() error { return s.saveIncidents(ctx, c.Incidents) },
		func() error { return s.saveDeliveries(ctx, c.Deliveries) },
		func() error { return s.saveDecisions(ctx, c.Decisions) },
		func() error { return s.saveCovers(ctx) },
		func() error { return s.saveEntries(ctx, c.Entries) },
		func() error { return s.saveGroups(ctx, c.Groups) },
		func() error { return s.saveCounts(ctx) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return tx.insert(ctx, "changes", "seq, kind, id, state, at", s.log, "")
}

// change adds to the change log.
func (s *saving) change(seq int64, kind, id, state string) {
	s.log = append(s.log, []any{seq, kind, id, state, micros(s.now)})
}

func minute(t time.Time) int64 { return t.Unix() / 60 }

// minute is the minute under which something is counted that happened at t: now, if that is not known.
func (s *saving) minute(t time.Time) int64 {
	if t.IsZero() {
		t = s.now
	}
	return minute(t)
}

func (s *saving) saveEvents(ctx context.Context, events []*incident.Event) error {
	rows := make([][]any, 0, len(events))
	for _, e := range events {
		rows = append(rows, eventRow(e))
		s.decided[e.ID] = eventFacts{micros(e.At), string(e.Type)}
		s.change(e.ID&eventNumber, kindEvent, strconv.FormatInt(e.ID, 10), string(e.Status))
		s.events[eventCount{s.minute(e.At), e.Resource.Namespace, string(e.Type), string(e.Status)}]++
	}
	err := s.tx.insert(ctx, "events", eventColumns, rows, "")
	if s.tx.store.engine.Duplicate(err) {
		return fmt.Errorf("an event of these is recorded already: %w", err)
	}
	return err
}

func (s *saving) saveIncidents(ctx context.Context, incidents []*incident.Incident) error {
	incidents = lastOfEach(incidents, func(i *incident.Incident) string { return i.ID })
	rows := make([][]any, 0, len(incidents))
	for _, i := range incidents {
		seq := s.tx.Next()
		row, err := incidentRow(i, seq)
		if err != nil {
			return err
		}
		rows = append(rows, row)
		state := string(i.Resolution)
		if i.Open() {
			state = string(incident.Firing)
		}
		s.change(seq, kindIncident, i.ID, state)
	}
	err := s.tx.insert(ctx, "incidents", incidentColumns, rows, " ON CONFLICT (cluster, id) DO UPDATE SET "+
		updates(incidentColumns, "id", "type", "kind", "namespace", "name", "uid", "container", "first_seen", "labels"))
	if err != nil {
		return err
	}
	return s.markEvents(ctx, incidents)
}

// markEvents marks the events that opened incidents: as resolved where those have ended, and as firing again where they were opened again.
func (s *saving) markEvents(ctx context.Context, incidents []*incident.Incident) error {
	var ended, reopened []string
	for _, i := range incidents {
		switch {
		case !i.Open():
			ended = append(ended, i.ID)
		case i.Reopenings > 0:
			reopened = append(reopened, i.ID)
		}
	}
	marked := map[string][]int64{}
	if err := s.markAll(ctx, marked, ended, "UPDATE events SET status = 'resolved' WHERE cluster = :cluster AND incident_id IN (%s) AND status = 'firing' RETURNING incident_id, id"); err != nil {
		return err
	}
	if err := s.markAll(ctx, marked, reopened, "UPDATE events SET status = 'firing' WHERE cluster = :cluster AND id IN "+
		"(SELECT min(id) FROM events WHERE cluster = :cluster AND incident_id IN (%s) AND status = 'resolved' GROUP BY incident_id) RETURNING incident_id, id"); err != nil {
		return err
	}
	for _, i := range incidents { // in their order, whatever that of the rows is
		for _, id := range marked[i.ID] {
			status := incident.Firing
			if !i.Open() {
				status = incident.Resolved
				s.events[eventCount{s.minute(i.ResolvedAt), i.Resource.Namespace, string(i.Type), string(incident.Resolved)}]++
			}
			s.change(s.tx.Next(), kindEvent, strconv.FormatInt(id, 10), string(status))
		}
	}
	return nil
}

// markAll notes the events of incidents that a statement marks, in the order of their IDs.
func (s *saving) markAll(ctx context.Context, marked map[string][]int64, incidents []string, statement string) error {
	type mark struct {
		incident string
		id       int64
	}
	found, err := rowsIn(ctx, s.tx, func(row scanner) (m mark, err error) { err = row.Scan(&m.incident, &m.id); return m, err }, statement, incidents)
	if err != nil {
		return fmt.Errorf("mark the first events of incidents: %w", err)
	}
	for _, m := range found {
		marked[m.incident] = append(marked[m.incident], m.id)
		slices.Sort(marked[m.incident])
	}
	return nil
}

// lastOfEach leaves out all but the last of those with the same ID: one statement can't write a row twice.
func lastOfEach[T any](all []T, id func(T) string) []T {
	last := make(map[string]int, len(all))
	for n, v := range all {
		last[id(v)] = n
	}
	if len(last) == len(all) {
		return all
	}
	var kept []T
	for n, v := range all {
		if last[id(v)] == n {
			kept = append(kept, v)
		}
	}
	return kept
}

type decisionKey struct {
	event  int64
	hook   delivery.HookRef
	config string
}

// newDecisions leaves out those that are recorded already, so that each is counted once. Those
// about the events of the same Save are new without asking. One that is not about an event is known by the number of the
// delivery that it made, which no event has.
func (s *saving) newDecisions(ctx context.Context, decisions []delivery.Decision) ([]delivery.Decision, error) {
	numbered := slices.Clone(decisions)
	for i := range numbered {
		if d := &numbered[i]; d.EventID == 0 {
			d.EventID = s.tx.store.cluster.eventID(s.written[d.DeliveryID])
			s.decided[d.EventID] = eventFacts{micros(d.At), string(d.EventType)}
		}
	}
	if err := s.lookUpDecided(ctx, numbered); err != nil {
		return nil, err
	}
	seen := make(map[decisionKey]bool, len(decisions))
	kept := make([]delivery.Decision, 0, len(decisions))
	for _, d := range numbered {
		key := decisionKey{d.EventID, d.Hook, d.Config}
		if seen[key] {
			continue
		}
		seen[key] = true
		if !s.recorded[key] {
			kept = append(kept, d)
		}
	}
	return kept, nil
}

// madeFor is what a decision was made for: an event, if it does not say.
func madeFor(d delivery.Decision) delivery.MadeFor { return cmp.Or(d.MadeFor, delivery.ForEvent) }

// eventFacts is what a decision's row has of its event.
type eventFacts struct {
	at   int64
	kind string
}

// lookUpDecided reads the events of decisions that are of an earlier Save, and what was decided about them.
func (s *saving) lookUpDecided(ctx context.Context, decisions []delivery.Decision) error {
	var earlier []int64
	for _, d := range decisions {
		if _, known := s.decided[d.EventID]; !known {
			s.decided[d.EventID] = eventFacts{}
			earlier = append(earlier, d.EventID)
		}
	}
	type event struct {
		id int64
		eventFacts
	}
	// An index that has all that is asked for would be read as a whole: none has recorded_at.
	events, err := rowsIn(ctx, s.tx, func(row scanner) (e event, err error) {
		var unused int64
		err = row.Scan(&e.id, &e.at, &e.kind, &unused)
		return e, err
	}, "SELECT id, at, type, recorded_at FROM events WHERE cluster = :cluster AND id IN (%s)", earlier)
	if err != nil {
		return fmt.Errorf("look up the events of decisions: %w", err)
	}
	for _, e := range events {
		s.decided[e.id] = e.eventFacts
	}
	recorded, err := rowsIn(ctx, s.tx, func(row scanner) (k decisionKey, err error) {
		err = row.Scan(&k.event, &k.hook.Namespace, &k.hook.Name, &k.config)
		return k, err
	}, "SELECT event_id, hook_ns, hook, config FROM decisions WHERE cluster = :cluster AND event_id IN (%s)", earlier)
	if err != nil {
		return fmt.Errorf("look up what was decided before: %w", err)
	}
	for _, k := range recorded {
		s.recorded[k], s.asked[hookEvent{k.event, k.hook}] = true, true
	}
	return nil
}

// hookEvent is an event that a hook decided about.
type hookEvent struct {
	event int64
	hook  delivery.HookRef
}

// firstOfEachHook says which of the decisions are the first of their hook about their event.
func (s *saving) firstOfEachHook(decisions []delivery.Decision) []int64 {
	leads, seen := make([]int64, len(decisions)), make(map[hookEvent]bool, len(decisions))
	for i, d := range decisions {
		key := hookEvent{d.EventID, d.Hook}
		if seen[key] || madeFor(d) != delivery.ForEvent {
			continue
		}
		seen[key] = true
		if !s.asked[key] {
			leads[i] = 1
		}
	}
	return leads
}

func (s *saving) saveDecisions(ctx context.Context, made []delivery.Decision) error {
	decisions, err := s.newDecisions(ctx, made)
	if err != nil {
		return err
	}
	type pair struct {
		hook     delivery.HookRef
		incident string
	}
	leads := s.firstOfEachHook(decisions)
	seen := map[pair]bool{}
	rows, concerned := make([][]any, 0, len(decisions)), [][]any{}
	for i, d := range decisions {
		of := s.decided[d.EventID]
		rows = append(rows, []any{
			d.EventID, of.at, of.kind, leads[i], d.IncidentID, d.Hook.Namespace, d.Hook.Name, d.Config, string(d.Disposition), d.DeliveryID, micros(d.At), string(madeFor(d)),
		})
		s.hooks[hookCount{s.minute(d.At), d.Hook, d.Config, "disposition:" + string(d.Disposition)}]++
		if d.DeliveryID != "" && d.Disposition != delivery.Explained {
			s.covers[DeliveryIncident{d.DeliveryID, d.IncidentID}] = true
		}
		if p := (pair{d.Hook, d.IncidentID}); !seen[p] {
			seen[p] = true
			concerned = append(concerned, []any{d.Hook.Namespace, d.Hook.Name, d.IncidentID, d.HookUID})
		}
	}
	if err := s.tx.insert(ctx, "decisions", decisionColumns, rows, ""); err != nil {
		return err
	}
	return s.tx.insert(ctx, "hook_incidents", "hook_ns, hook, incident_id, hook_uid", concerned, " ON CONFLICT DO NOTHING")
}

// The spans of the counters, in minutes.
const (
	minuteSpan = 1
	hourSpan   = 60
)

// anyValue stands for all namespaces, types or statuses in the counters.
const anyValue = "*"

// eventCountKey is the key of a row of event_counts.
type eventCountKey struct {
	span, start                  int64
	namespace, kind, eventStatus string
}

// spread adds a count to each of the rows that it belongs to.
func (k eventCount) spread(n int64, rows map[eventCountKey]int64) {
	hour := k.minute / hourSpan * hourSpan
	for _, namespace := range []string{k.namespace, anyValue} {
		rows[eventCountKey{minuteSpan, k.minute, namespace, k.kind, k.status}] += n
		rows[eventCountKey{hourSpan, hour, namespace, k.kind, k.status}] += n
	}
	if k.status != string(incident.Resolved) {
		rows[eventCountKey{minuteSpan, k.minute, k.namespace, anyValue, anyValue}] += n
		rows[eventCountKey{hourSpan, hour, k.namespace, anyValue, anyValue}] += n
	}
}

func (s *saving) saveCounts(ctx context.Context) error {
	spread := map[eventCountKey]int64{}
	for k, n := range s.events {
		k.spread(n, spread)
	}
	events := make([][]any, 0, len(spread))
	for _, k := range slices.SortedFunc(maps.Keys(spread), compareEventCounts) {
		n := spread[k]
		events = append(events, []any{k.span, k.namespace, k.start, k.kind, k.eventStatus, n})
	}
	if err := s.tx.insert(ctx, "event_counts", "span, namespace, start, type, status, n", events,
		" ON CONFLICT (cluster, span, namespace, start, type, status) DO UPDATE SET n = event_counts.n + excluded.n"); err != nil {
		return err
	}
	return s.saveHookCounts(ctx)
}

// saveHookCounts adds to the counters of Hooks.
func (s *saving) saveHookCounts(ctx context.Context) error {
	spread := make(map[hookCount]int64, len(s.hooks)) // by hour
	rows := make([][]any, 0, 2*len(s.hooks))
	for _, k := range slices.SortedFunc(maps.Keys(s.hooks), compareHookCounts) {
		n := s.hooks[k]
		rows = append(rows, k.row(minuteSpan, n))
		k.minute = k.minute / hourSpan * hourSpan
		spread[k] += n
	}
	for _, k := range slices.SortedFunc(maps.Keys(spread), compareHookCounts) {
		rows = append(rows, k.row(hourSpan, spread[k]))
	}
	return s.addHookCounts(ctx, rows)
}

// compareEventCounts is the order in which counters are written: two transactions that each wait for a row of the other's would never end.
func compareEventCounts(a, b eventCountKey) int {
	return cmp.Or(cmp.Compare(a.span, b.span), strings.Compare(a.namespace, b.namespace), cmp.Compare(a.start, b.start),
		strings.Compare(a.kind, b.kind), strings.Compare(a.eventStatus, b.eventStatus))
}

func compareHookCounts(a, b hookCount) int {
	return cmp.Or(strings.Compare(a.hook.Namespace, b.hook.Namespace), strings.Compare(a.hook.Name, b.hook.Name), cmp.Compare(a.minute, b.minute),
		strings.Compare(a.config, b.config), strings.Compare(a.name, b.name))
}

func (s *saving) addHookCounts(ctx context.Context, rows [][]any) error {
	return s.tx.insert(ctx, "hook_counts", "span, hook_ns, hook, start, config, name, n", rows,
		" ON CONFLICT (cluster, span, hook_ns, hook, start, config, name) DO UPDATE SET n = hook_counts.n + excluded.n")
}

func (k hookCount) row(span, n int64) []any {
	return []any{span, k.hook.Namespace, k.hook.Name, k.minute, k.config, k.name, n}
}
