package store

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// saveDeliveries writes deliveries, each only if its row is still the one that was read (optimistic concurrency). Their
// Version becomes that of the new row when the transaction is committed.
func (s *saving) saveDeliveries(ctx context.Context, deliveries []*delivery.Delivery) error {
	deliveries = lastOfEach(deliveries, func(d *delivery.Delivery) string { return d.ID })
	former, err := s.formerDeliveries(ctx, deliveries)
	if err != nil {
		return err
	}
	rows := make([][]any, 0, len(deliveries))
	var skipped []*delivery.Delivery
	for _, d := range deliveries {
		was := former[d.ID]
		if was.version != s.tx.versionOf(d) {
			return fmt.Errorf("delivery %s: %w", d.ID, ErrConflict)
		}
		version := s.tx.Next()
		row, err := deliveryRow(d, version)
		if err != nil {
			return err
		}
		rows = append(rows, row)
		s.tx.wrote(d, version)
		s.written[d.ID] = version
		s.change(version, kindDelivery, d.ID, string(d.State))
		s.countDelivery(d, was)
		s.countUsage(d, was.usage)
		s.covers[DeliveryIncident{d.ID, d.IncidentID}] = true
		if was.skipped == "" && skipDispositions[d.Skipped] != "" {
			skipped = append(skipped, d)
		}
	}
	if err := s.retractDecisions(ctx, skipped); err != nil {
		return err
	}
	return s.tx.insert(ctx, "deliveries", deliveryColumns, rows, " ON CONFLICT (cluster, id) DO UPDATE SET "+
		updates(deliveryColumns, "id", "hook_ns", "hook", "hook_uid", "config", "type", "grp", "incident_id", "prompt", "created_at",
			"retry_of", "requested_by", "even_if_recovered", "verify_window", "held_back", "workload", "stall_after", "on_stall"))
}

// formerDelivery is what a delivery's row says before the change.
type formerDelivery struct {
	version                 int64 // 0 if it is new
	state, outcome, skipped string
	usage                   delivery.Usage
}

func (s *saving) formerDeliveries(ctx context.Context, deliveries []*delivery.Delivery) (map[string]formerDelivery, error) {
	type row struct {
		id string
		formerDelivery
	}
	found, err := rowsIn(ctx, s.tx, func(sc scanner) (r row, err error) {
		err = sc.Scan(&r.id, &r.version, &r.state, &r.outcome, &r.skipped, &r.usage.Total, &r.usage.Prompt, &r.usage.Completion)
		return r, err
	}, "SELECT id, seq, state, outcome, skipped, "+usageColumns+" FROM deliveries WHERE cluster = :cluster AND id IN (%s)", idsOf(deliveries))
	if err != nil {
		return nil, fmt.Errorf("read deliveries: %w", err)
	}
	former := make(map[string]formerDelivery, len(found))
	for _, r := range found {
		former[r.id] = r.formerDelivery
	}
	return former, nil
}

func idsOf(deliveries []*delivery.Delivery) []string {
	ids := make([]string, len(deliveries))
	for i, d := range deliveries {
		ids[i] = d.ID
	}
	return ids
}

// countDelivery counts a final state and an outcome once, when the delivery comes to them.
func (s *saving) countDelivery(d *delivery.Delivery, was formerDelivery) {
	if !d.State.Ended() {
		return
	}
	if was.state != string(d.State) {
		s.hooks[hookCount{s.minute(d.EndedAt), d.Hook, d.Config, "delivery:" + string(d.State)}]++
		if d.Skipped != "" {
			s.hooks[hookCount{s.minute(d.EndedAt), d.Hook, d.Config, SkippedCount}]++
		}
	}
	if d.Outcome != "" && was.outcome != string(d.Outcome) {
		s.hooks[hookCount{s.minute(d.OutcomeAt), d.Hook, d.Config, "outcome:" + string(d.Outcome)}]++
		if in := d.RecoveredIn(); in != "" {
			s.hooks[hookCount{s.minute(d.OutcomeAt), d.Hook, d.Config, RecoveredCount(in)}]++
		}
	}
}

// RecoveredCount is the counter of the deliveries whose incidents recovered in a phase, see Reader.HookCounts.
func RecoveredCount(in delivery.Phase) string { return "recovered:" + string(in) }

// SkippedCount is the counter of the deliveries that ended without a call, see Reader.HookCounts.
const SkippedCount = "skipped"

// skipDispositions are what becomes of the disposition "delivered" when the agent is not called
// after all.
var skipDispositions = map[delivery.Skip]delivery.Disposition{
	delivery.SkipRecovered: delivery.RecoveredBefore, delivery.SkipSuspended: delivery.Suspended, delivery.SkipForbidden: delivery.Invalid,
}

// retractDecisions takes back that the events of deliveries were delivered, which are skipped.
func (s *saving) retractDecisions(ctx context.Context, skipped []*delivery.Delivery) error {
	type decided struct {
		delivery string
		at       time.Time
		config   string // its key when it was decided
	}
	of, ids := map[string]*delivery.Delivery{}, map[delivery.Disposition][]string{}
	for _, d := range skipped {
		of[d.ID] = d
		ids[skipDispositions[d.Skipped]] = append(ids[skipDispositions[d.Skipped]], d.ID)
	}
	again := map[recounted]int64{}
	for _, now := range slices.Sorted(maps.Keys(ids)) {
		retracted, err := rowsIn(ctx, s.tx, func(row scanner) (r decided, err error) {
			var us int64
			err = row.Scan(&r.delivery, &us, &r.config)
			r.at = fromMicros(us)
			return r, err
		}, "UPDATE decisions SET disposition = '"+string(now)+"' WHERE cluster = :cluster AND delivery_id IN (%s) AND delivery_id <> '' AND disposition = ? RETURNING delivery_id, at, config",
			ids[now], string(delivery.Delivered))
		if err != nil {
			return fmt.Errorf("mark the events of deliveries: %w", err)
		}
		for _, r := range retracted {
			count := hookCount{s.minute(r.at), of[r.delivery].Hook, r.config, "disposition:" + string(delivery.Delivered)}
			for _, span := range []int64{minuteSpan, hourSpan} {
				count.minute = count.minute / span * span
				again[recounted{span, count, "disposition:" + string(now)}]++
			}
		}
	}
	return s.recount(ctx, again)
}

// recounted is a counter, and the name under which some of what it counted is counted instead.
type recounted struct {
	span int64
	was  hookCount
	name string
}

// spanCount is a counter of a span.
type spanCount struct {
	span int64
	of   hookCount
}

// recount counts under another name what was counted. Counters that were deleted since because they are old
// are left alone: one less of none would be -1.
func (s *saving) recount(ctx context.Context, again map[recounted]int64) error {
	asked := slices.SortedFunc(maps.Keys(again), func(a, b recounted) int {
		return cmp.Or(cmp.Compare(a.span, b.span), compareHookCounts(a.was, b.was), strings.Compare(a.name, b.name))
	})
	counts := make([]precedent[int64], len(asked))
	for i, r := range asked {
		counts[i] = precedent[int64]{"a counter of hook " + r.was.hook.String(), scanNumber,
			"SELECT n FROM hook_counts WHERE cluster = :cluster AND span = ? AND hook_ns = ? AND hook = ? AND start = ? AND config = ? AND name = ?",
			[]any{r.span, r.was.hook.Namespace, r.was.hook.Name, r.was.minute, r.was.config, r.was.name}}
	}
	found, err := allInTx(ctx, s.tx, func(int64, int64) int { return 0 }, counts)
	if err != nil {
		return err
	}
	changes, taken := map[spanCount]int64{}, map[spanCount]int64{}
	for i, r := range asked {
		was := spanCount{r.span, r.was}
		n, _ := onlyOne(found[i], nil)
		n = min(n-taken[was], again[r])
		is := was
		is.of.name = r.name
		taken[was] += n
		changes[was] -= n
		changes[is] += n
	}
	rows := make([][]any, 0, len(changes))
	for _, c := range slices.SortedFunc(maps.Keys(changes), func(a, b spanCount) int {
		return cmp.Or(cmp.Compare(a.span, b.span), compareHookCounts(a.of, b.of))
	}) {
		if changes[c] != 0 {
			rows = append(rows, c.of.row(c.span, changes[c]))
		}
	}
	return s.addHookCounts(ctx, rows)
}

// saveCovers notes which incidents deliveries are about.
func (s *saving) saveCovers(ctx context.Context) error {
	rows := make([][]any, 0, len(s.covers))
	for c := range s.covers {
		rows = append(rows, []any{c.DeliveryID, c.IncidentID})
	}
	return s.tx.insert(ctx, "delivery_incidents", "delivery_id, incident_id", rows, " ON CONFLICT DO NOTHING")
}

const entryColumns = "delivery_id, n, source, at, kind, state, who, name, text, cut"

// saveEntries adds to the logs of deliveries. What an agent says is kept up to a bound.
func (s *saving) saveEntries(ctx context.Context, entries []delivery.Entry) error {
	numbers, err := s.entryNumbers(ctx, entries)
	if err != nil {
		return fmt.Errorf("read the logs of deliveries: %w", err)
	}
	rows := make([][]any, 0, len(entries))
	for i := range entries {
		e := &entries[i]
		n, known := numbers.of(e)
		if !known && n >= delivery.MaxEntries && ofAgent(e.Kind) {
			if n > delivery.MaxEntries {
				continue
			}
			e = &delivery.Entry{DeliveryID: e.DeliveryID, Source: string(delivery.EntryMore), At: e.At, Kind: delivery.EntryMore}
		}
		if n > 2*delivery.MaxEntries {
			continue // of people and calls: a bound all the same
		}
		numbers.took(e, n)
		text := incident.Truncate(e.Text, delivery.MaxEntryText)
		rows = append(rows, []any{
			e.DeliveryID, n, e.Source, micros(e.At), string(e.Kind), e.State, incident.Truncate(e.By, delivery.MaxPerson), e.Name, text, boolInt(e.Truncated || text != e.Text),
		})
	}
	rows = lastEntries(rows)
	return s.tx.insert(ctx, "delivery_log", entryColumns, rows, " ON CONFLICT (cluster, delivery_id, n) DO UPDATE SET "+
		updates(entryColumns, "delivery_id", "n", "source"))
}

// lastEntries leaves out all but the last of the rows about the same entry, whose source is that of the first: one statement can't write a row twice.
func lastEntries(rows [][]any) [][]any {
	type entry struct{ delivery, n any }
	at, kept := map[entry]int{}, rows[:0:0]
	for _, row := range rows {
		key := entry{row[0], row[1]}
		if first, again := at[key]; again {
			row[2] = kept[first][2]
			kept[first] = row
			continue
		}
		at[key] = len(kept)
		kept = append(kept, row)
	}
	return kept
}

// ofAgent says whether entries of the kind are an agent's, who may make any number of them.
func ofAgent(k delivery.EntryKind) bool {
	switch k {
	case delivery.EntryMessage, delivery.EntryArtifact, delivery.EntryToolCall, delivery.EntryToolAnswer, delivery.EntryState, delivery.EntryQuestion:
		return true
	}
	return false
}

// entryNumbers are the numbers of the entries that deliveries have.
type entryNumbers struct {
	newest  map[string]int64      // by delivery
	sources map[entrySource]int64 // of entries that have one
}

// entrySource is what an entry is known by.
type entrySource struct{ delivery, source string }

func (s *saving) entryNumbers(ctx context.Context, entries []delivery.Entry) (*entryNumbers, error) {
	numbers := &entryNumbers{newest: map[string]int64{}, sources: map[entrySource]int64{}}
	deliveries := make([]string, len(entries))
	for i := range entries {
		deliveries[i] = entries[i].DeliveryID
	}
	deliveries = distinct(deliveries)
	type newest struct {
		delivery string
		n        int64
	}
	found, err := rowsIn(ctx, s.tx, func(row scanner) (e newest, err error) { err = row.Scan(&e.delivery, &e.n); return e, err },
		"SELECT delivery_id, max(n) FROM delivery_log WHERE cluster = :cluster AND delivery_id IN (%s) GROUP BY delivery_id", deliveries)
	if err != nil {
		return nil, err
	}
	for _, e := range found {
		numbers.newest[e.delivery] = e.n
	}
	return numbers, s.entrySources(ctx, numbers, entries)
}

// entrySources reads which entries there are already of those with a source.
func (s *saving) entrySources(ctx context.Context, numbers *entryNumbers, entries []delivery.Entry) error {
	var asked []precedent[int64]
	var of []entrySource
	for i := range entries {
		key := entrySource{entries[i].DeliveryID, entries[i].Source}
		if key.source == "" || numbers.newest[key.delivery] == 0 {
			continue
		}
		of = append(of, key)
		asked = append(asked, precedent[int64]{"an entry of delivery " + key.delivery, scanNumber,
			"SELECT n FROM delivery_log WHERE cluster = :cluster AND delivery_id = ? AND source = ? AND source <> ''", []any{key.delivery, key.source}})
	}
	found, err := allInTx(ctx, s.tx, func(int64, int64) int { return 0 }, asked)
	if err != nil {
		return err
	}
	for i, numbered := range found {
		if len(numbered) > 0 {
			numbers.sources[of[i]] = numbered[0]
		}
	}
	return nil
}

// of is the number of the entry with the same source, or the next free one.
func (numbers *entryNumbers) of(e *delivery.Entry) (n int64, known bool) {
	if n, known = numbers.sources[entrySource{e.DeliveryID, e.Source}]; known {
		return n, true
	}
	return numbers.newest[e.DeliveryID] + 1, false
}

// took notes the number of an entry.
func (numbers *entryNumbers) took(e *delivery.Entry, n int64) {
	numbers.newest[e.DeliveryID] = max(n, numbers.newest[e.DeliveryID])
	if e.Source != "" {
		numbers.sources[entrySource{e.DeliveryID, e.Source}] = n
	}
}

// distinct are the values without repeats.
func distinct(values []string) []string {
	slices.Sort(values)
	return slices.Compact(values)
}

func firstNumber(numbers []int64) int64 {
	if len(numbers) == 0 {
		return 0
	}
	return numbers[0]
}

const groupColumns = "hook_ns, hook, config, grp, hook_uid, over_budget, loop_guard, paused, held_since, held_until, hold, why, hold_ends, needs_person, " +
	"resumed_at, resumed_by, resources"

func (s *saving) saveGroups(ctx context.Context, groups []*delivery.GroupState) error {
	rows := make([][]any, 0, len(groups))
	for _, g := range groups {
		resources, err := json.Marshal(g.Held.Resources)
		if err != nil {
			return fmt.Errorf("resources of group %s: %w", g.Group, err)
		}
		rows = append(rows, []any{
			g.Hook.Namespace, g.Hook.Name, g.Config, g.Group, g.HookUID, g.Held.OverBudget, g.Held.LoopGuard, g.Held.Paused,
			micros(g.Held.Since), micros(g.Held.Until), string(g.Hold), g.Why, micros(g.HoldEnds), boolInt(g.NeedsPerson), micros(g.ResumedAt), g.ResumedBy, string(resources),
		})
	}
	return s.tx.insert(ctx, "delivery_groups", groupColumns, rows, " ON CONFLICT (cluster, hook_ns, hook, config, grp) DO UPDATE SET "+
		updates(groupColumns, "hook_ns", "hook", "config", "grp"))
}

func scanGroup(row scanner) (*delivery.GroupState, error) {
	g := &delivery.GroupState{}
	var resources string
	var since, until, ends, person, resumed int64
	err := row.Scan(&g.Hook.Namespace, &g.Hook.Name, &g.Config, &g.Group, &g.HookUID, &g.Held.OverBudget, &g.Held.LoopGuard, &g.Held.Paused,
		&since, &until, &g.Hold, &g.Why, &ends, &person, &resumed, &g.ResumedBy, &resources)
	if err != nil {
		return nil, err
	}
	g.Held.Since, g.Held.Until, g.HoldEnds, g.ResumedAt, g.NeedsPerson = fromMicros(since), fromMicros(until), fromMicros(ends), fromMicros(resumed), person != 0
	return g, json.Unmarshal([]byte(resources), &g.Held.Resources)
}

func scanEntry(row scanner) (delivery.Entry, error) {
	var e delivery.Entry
	var at, cut int64
	err := row.Scan(&e.DeliveryID, &e.N, &e.Source, &at, &e.Kind, &e.State, &e.By, &e.Name, &e.Text, &cut)
	e.At, e.Truncated = fromMicros(at), cut != 0
	return e, err
}
