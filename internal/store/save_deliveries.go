package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// saveDeliveries writes deliveries, each only if its row is still the one that was read (optimistic concurrency). Their
// Version becomes that of the new row when the transaction is committed.
func (s *saving) saveDeliveries(ctx context.Context, deliveries []*delivery.Delivery) error {
	deliveries = lastOfEach(deliveries, func(d *delivery.Delivery) string { return d.ID })
	rows := make([][]any, 0, len(deliveries))
	for _, d := range deliveries {
		was, err := s.formerDelivery(ctx, d)
		if err != nil {
			return err
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
		if err := s.retractDecision(ctx, d, was); err != nil {
			return err
		}
	}
	return s.tx.insert(ctx, "deliveries", deliveryColumns, rows, " ON CONFLICT (cluster, id) DO UPDATE SET "+
		updates(deliveryColumns, "id", "hook_ns", "hook", "hook_uid", "config", "type", "grp", "incident_id", "prompt", "created_at",
			"retry_of", "requested_by", "even_if_recovered", "verify_window", "held_back", "workload", "stall_after", "on_stall"))
}

// formerDelivery is what the delivery's row says before the change; ErrConflict if it is not of the
// delivery's Version.
type formerDelivery struct {
	state, outcome, skipped string
	usage                   delivery.Usage
}

func (s *saving) formerDelivery(ctx context.Context, d *delivery.Delivery) (was formerDelivery, err error) {
	var version int64 // 0 if it is new
	_, err = rowsOf(ctx, s.tx, func(row scanner) (bool, error) {
		return true, row.Scan(&version, &was.state, &was.outcome, &was.skipped, &was.usage.Total, &was.usage.Prompt, &was.usage.Completion)
	},
		"SELECT seq, state, outcome, skipped, "+usageColumns+" FROM deliveries WHERE cluster = :cluster AND id = ?", d.ID)
	if err != nil {
		return was, fmt.Errorf("read delivery %s: %w", d.ID, err)
	}
	if version != s.tx.versionOf(d) {
		return was, fmt.Errorf("delivery %s: %w", d.ID, ErrConflict)
	}
	return was, nil
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

// retractDecision takes back that the delivery's event was delivered, when the delivery is skipped.
func (s *saving) retractDecision(ctx context.Context, d *delivery.Delivery, was formerDelivery) error {
	now, known := skipDispositions[d.Skipped]
	if !known || was.skipped != "" {
		return nil
	}
	type decided struct {
		at     time.Time
		config string // its key when it was decided
	}
	retracted, err := rowsOf(ctx, s.tx, func(row scanner) (r decided, err error) {
		var us int64
		err = row.Scan(&us, &r.config)
		r.at = fromMicros(us)
		return r, err
	}, "UPDATE decisions SET disposition = ? WHERE cluster = :cluster AND delivery_id = ? AND delivery_id <> '' AND disposition = ? RETURNING at, config",
		string(now), d.ID, string(delivery.Delivered))
	if err != nil {
		return fmt.Errorf("mark the events of delivery %s: %w", d.ID, err)
	}
	for _, r := range retracted {
		count := hookCount{s.minute(r.at), d.Hook, r.config, "disposition:" + string(delivery.Delivered)}
		if err := s.recount(ctx, count, "disposition:"+string(now)); err != nil {
			return err
		}
	}
	return nil
}

// recount counts one of what was counted under another name instead. Counters that were deleted since because they are old
// are left alone: one less of none would be -1.
func (s *saving) recount(ctx context.Context, was hookCount, name string) error {
	for _, span := range []int64{minuteSpan, hourSpan} {
		start := was.minute / span * span
		n, err := s.tx.exec(ctx, "UPDATE hook_counts SET n = n - 1 WHERE cluster = :cluster AND span = ? AND hook_ns = ? AND hook = ? AND start = ? AND config = ? AND name = ? AND n > 0",
			span, was.hook.Namespace, was.hook.Name, start, was.config, was.name)
		if err != nil {
			return fmt.Errorf("count a decision of hook %s again: %w", was.hook, err)
		}
		if n == 0 {
			continue
		}
		is := was
		is.minute, is.name = start, name
		if err := s.addHookCounts(ctx, [][]any{is.row(span, 1)}); err != nil {
			return err
		}
	}
	return nil
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
	for i := range entries {
		e := &entries[i]
		n, known, err := s.entryNumber(ctx, e)
		if err != nil {
			return fmt.Errorf("read the log of delivery %s: %w", e.DeliveryID, err)
		}
		if !known && n >= delivery.MaxEntries && ofAgent(e.Kind) {
			if n > delivery.MaxEntries {
				continue
			}
			e = &delivery.Entry{DeliveryID: e.DeliveryID, Source: string(delivery.EntryMore), At: e.At, Kind: delivery.EntryMore}
		}
		if n > 2*delivery.MaxEntries {
			continue // of people and calls: a bound all the same
		}
		text := incident.Truncate(e.Text, delivery.MaxEntryText)
		row := []any{
			e.DeliveryID, n, e.Source, micros(e.At), string(e.Kind), e.State, incident.Truncate(e.By, delivery.MaxPerson), e.Name, text, boolInt(e.Truncated || text != e.Text),
		}
		if err := s.tx.insert(ctx, "delivery_log", entryColumns, [][]any{row}, " ON CONFLICT (cluster, delivery_id, n) DO UPDATE SET "+
			updates(entryColumns, "delivery_id", "n", "source")); err != nil {
			return err
		}
	}
	return nil
}

// ofAgent says whether entries of the kind are an agent's, who may make any number of them.
func ofAgent(k delivery.EntryKind) bool {
	switch k {
	case delivery.EntryMessage, delivery.EntryArtifact, delivery.EntryToolCall, delivery.EntryToolAnswer, delivery.EntryState, delivery.EntryQuestion:
		return true
	}
	return false
}

// entryNumber is the number of the entry with the same source, or the next free one.
func (s *saving) entryNumber(ctx context.Context, e *delivery.Entry) (n int64, known bool, err error) {
	if e.Source != "" {
		found, err := rowsOf(ctx, s.tx, scanNumber, "SELECT n FROM delivery_log WHERE cluster = :cluster AND delivery_id = ? AND source = ? AND source <> ''", e.DeliveryID, e.Source)
		if err != nil || len(found) > 0 {
			return firstNumber(found), len(found) > 0, err
		}
	}
	n, err = s.tx.number(ctx, "SELECT coalesce(max(n), 0) + 1 FROM delivery_log WHERE cluster = :cluster AND delivery_id = ?", e.DeliveryID)
	return n, false, err
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
