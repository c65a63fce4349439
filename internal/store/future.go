package store

import (
	"context"
	"fmt"
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
	us := micros(now)
	recent := micros(now.Add(-longestCall))
	day := micros(now.Add(24 * time.Hour))
	steps := []struct {
		query string
		args  []any
	}{
		{"UPDATE decisions SET event_at = ? WHERE event_id IN (SELECT id FROM events WHERE at > ?) AND event_at > ?", []any{us, us, us}},
		{"UPDATE events SET at = ?, recorded_at = min(recorded_at, ?) WHERE at > ?", []any{us, us, us}},
		{"UPDATE incidents SET first_seen = ? WHERE first_seen > ?", []any{us, us}},
		{"UPDATE incidents SET last_seen = min(last_seen, ?), observed_at = min(observed_at, ?), unheard_since = min(unheard_since, ?), reopened_at = min(reopened_at, ?) " +
			"WHERE resolution = '' AND (last_seen > ? OR observed_at > ? OR unheard_since > ? OR reopened_at > ?)", []any{us, us, us, us, us, us, us, us}},
		{"UPDATE incidents SET resolved_at = ?, last_seen = min(last_seen, ?), observed_at = min(observed_at, ?) WHERE resolution <> '' AND resolved_at > ?", []any{us, us, us, us}},
		{"UPDATE deliveries SET created_at = ?, next_at = min(next_at, ?) WHERE created_at > ?", []any{us, us, us}},
		{"UPDATE deliveries SET called_at = min(called_at, ?), ended_at = min(ended_at, ?), outcome_at = min(outcome_at, ?), next_at = min(next_at, ?) " +
			"WHERE created_at > ? AND (called_at > ? OR ended_at > ? OR outcome_at > ? OR next_at > ?)", []any{us, us, us, day, recent, us, us, us, day}},
		{"UPDATE delivery_groups SET held_since = min(held_since, ?), held_until = min(held_until, ?), resumed_at = min(resumed_at, ?), hold_ends = min(hold_ends, ?) " +
			"WHERE held_since > ? OR held_until > ? OR resumed_at > ? OR hold_ends > ?", []any{us, us, us, day, us, us, us, day}},
		{"UPDATE dead_letters SET first_at = min(first_at, ?), last_at = min(last_at, ?) WHERE last_at > ?", []any{us, us, us}},
		{"UPDATE hook_configs SET edited_at = min(edited_at, ?), saved_at = min(saved_at, ?) WHERE edited_at > ? OR saved_at > ?", []any{us, us, us, us}},
	}
	err = s.Write(ctx, func(tx *Tx) error {
		clamped = 0
		for _, step := range steps {
			n, err := tx.exec(ctx, step.query, step.args...)
			if clamped += n; err != nil {
				return fmt.Errorf("set times of the future to now: %w", err)
			}
		}
		n, err := tx.clampLog(ctx, us)
		clamped += n
		return err
	})
	return clamped, err
}

// clampLog does so with the change log, from its newest row on: it is in the order of time, so the first rows without such a time
// end it.
func (tx *Tx) clampLog(ctx context.Context, us int64) (clamped int64, err error) {
	for before := tx.seq + 1; ; before -= clampLog {
		n, err := tx.exec(ctx, "UPDATE changes SET at = ? WHERE seq < ? AND seq >= ? AND at > ?", us, before, before-clampLog, us)
		if clamped += n; err != nil || n == 0 {
			return clamped, err
		}
	}
}
