package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// longestCall is more than a delivery can take, from when it is made due to its outcome: what was made due before that has no
// time left that matters.
const longestCall = 7 * 24 * time.Hour

// clampLog is how many rows of the change log are looked at together.
const clampLog = 1000

// ClampFuture sets the times that are after now to now, of everything that is decided or listed by, and returns how many rows
// had some. A clock that was ahead wrote them: until they had passed, calls would count against budgets, groups would be taken
// for called for, and lists would not show what happened. Times that lie ahead on purpose, such as a delivery's next
// step or the end of a hold, are shortened to what is possible. Nothing else changes: IDs, numbers and the order of
// the change log stay.
//
// It must be called when a history is opened, and whenever the clock was set back.
func (s *Store) ClampFuture(ctx context.Context, now time.Time) (clamped int64, err error) {
	us, recent, day := micros(now), micros(now.Add(-longestCall)), micros(now.Add(24*time.Hour))
	steps := []clamping{
		{table: "decisions", times: []string{"event_at"}, where: "event_id IN (SELECT id FROM events WHERE cluster = :cluster AND at > ?)", args: []any{us}},
		{table: "events", times: []string{"at", "recorded_at"}, where: "at > ?", args: []any{us}},
		{table: "incidents", times: []string{"first_seen"}, where: "first_seen > ?", args: []any{us}},
		{table: "incidents", times: []string{"last_seen", "observed_at", "unheard_since", "quiet_at", "reopened_at"}, where: "resolution = ''"},
		{table: "incidents", times: []string{"resolved_at", "last_seen", "observed_at", "unheard_since", "quiet_at", "reopened_at"}, where: "resolution <> '' AND resolved_at > ?", args: []any{us}},
		{table: "deliveries", times: []string{"created_at", "next_at"}, where: "created_at > ?", args: []any{us}},
		{table: "deliveries", times: []string{"called_at", "sent_at", "cancel_at", "ended_at", "outcome_at", "heard_at", "stalled_since", "stop_at", "recovered_at"}, where: "created_at > ?", args: []any{recent}},
		{table: "deliveries", times: []string{"next_at"}, most: day, where: "ended_at = 0"},
		{table: "delivery_log", times: []string{"at"}, where: "delivery_id IN (SELECT id FROM deliveries WHERE cluster = :cluster AND created_at > ?)", args: []any{recent}},
		{table: "pauses", times: []string{"paused_at"}},
		{table: "delivery_groups", times: []string{"held_since", "held_until", "resumed_at"}},
		{table: "delivery_groups", times: []string{"hold_ends"}, most: day},
		{table: "notices", times: []string{"at", "due_at", "ended_at"}},
		{table: "dead_letters", times: []string{"first_at", "last_at"}},
		{table: "hook_configs", times: []string{"edited_at", "saved_at"}},
		{table: "intake", times: []string{"at"}},
		{table: "terms", times: []string{"at"}},
	}
	err = s.Write(ctx, func(tx *Tx) error {
		if clamped, err = tx.moveWindows(ctx, us); err != nil {
			return err
		}
		for _, step := range steps {
			if step.most == 0 {
				step.most = us
			}
			n, err := step.run(ctx, tx)
			if clamped += n; err != nil {
				return fmt.Errorf("set times of the future in %s: %w", step.table, err)
			}
		}
		n, err := tx.clampLog(ctx, us)
		clamped += n
		return err
	})
	return clamped, err
}

// moveWindows lets the windows, after which outcomes are decided, begin now where their deliveries ended after now, and lets pauses that
// were made after now last as long as they were to. It goes before the times from which they count are set back.
func (tx *Tx) moveWindows(ctx context.Context, us int64) (moved int64, err error) {
	pauses, err := tx.exec(ctx, "UPDATE pauses SET ends_at = ends_at - (paused_at - ?) WHERE cluster = :cluster AND paused_at > ? AND ends_at > 0", us, us)
	if err != nil {
		return 0, fmt.Errorf("set the ends of pauses back: %w", err)
	}
	moved, err = tx.exec(ctx, "UPDATE deliveries SET verify_until = verify_until - (ended_at - ?) WHERE cluster = :cluster AND created_at > ? AND ended_at > ? AND verify_until > 0",
		us, us-longestCall.Microseconds(), us)
	if err != nil {
		return 0, fmt.Errorf("set windows of the future back in deliveries: %w", err)
	}
	return moved + pauses, nil
}

// clamping sets times of a table that are after most to it, in the rows that where selects.
type clamping struct {
	table string
	times []string
	most  int64 // now, if 0
	where string
	args  []any
}

func (c clamping) run(ctx context.Context, tx *Tx) (int64, error) {
	var sets, ahead []string
	var setArgs, aheadArgs []any
	for _, column := range c.times {
		sets = append(sets, column+" = CASE WHEN "+column+" > ? THEN ? ELSE "+column+" END")
		setArgs = append(setArgs, c.most, c.most)
		ahead = append(ahead, column+" > ?")
		aheadArgs = append(aheadArgs, c.most)
	}
	where := "(" + strings.Join(ahead, " OR ") + ")"
	if c.where != "" {
		where = c.where + " AND " + where
	}
	return tx.exec(ctx, "UPDATE "+c.table+" SET "+strings.Join(sets, ", ")+" WHERE cluster = :cluster AND "+where, slices.Concat(setArgs, c.args, aheadArgs)...)
}

// clampLog does so with the change log, from its newest row on: it is in the order of time, so the first rows without such a time
// end it. It goes by rows, since terms leave out numbers.
func (tx *Tx) clampLog(ctx context.Context, us int64) (clamped int64, err error) {
	for before := tx.seq + 1; ; {
		oldest, err := tx.number(ctx, "SELECT coalesce(min(seq), 0) FROM (SELECT seq FROM changes WHERE cluster = :cluster AND seq < ? ORDER BY seq DESC LIMIT ?) AS newest", before, clampLog)
		if err != nil || oldest == 0 {
			return clamped, err
		}
		n, err := tx.exec(ctx, "UPDATE changes SET at = ? WHERE cluster = :cluster AND seq < ? AND seq >= ? AND at > ?", us, before, oldest, us)
		if clamped += n; err != nil || n == 0 {
			return clamped, err
		}
		before = oldest
	}
}
