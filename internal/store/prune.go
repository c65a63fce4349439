package store

import (
	"context"
	"fmt"
	"time"
)

// One transaction of a Prune deletes at most this many rows of a table: some milliseconds of
// work, which is how long another write may have to wait.
const (
	pruneRows       = 200
	pruneIncidents  = 100
	pruneDeliveries = 50 // each with its log
)

// pruneShare is how much of the writer's time a Prune takes at most: one part in so many.
const pruneShare = 4

// configurationsKept is how long what SaveConfigurations saved is kept at least, also where nothing of the Hook is left.
const configurationsKept = 2 * ResaveConfigurations

// ResaveConfigurations is after what time a Hook's configurations must be saved again, changed or not, before anything is
// decided for it: Prune may delete them later.
const ResaveConfigurations = 24 * time.Hour

// Prune deletes the history of before a time, in small transactions between which others write:
// incidents that ended before, with their events and decisions; repeats of incidents that go on;
// deliveries, counters, the change log, notices that have ended, and what is known of the configurations of Hooks without any of it. Open incidents with their first event stay, and
// unfinished deliveries with the incident that made them due.
func (s *Store) Prune(ctx context.Context, before time.Time) (deleted int64, err error) {
	us := micros(before)
	for _, step := range []func(*Tx) (int64, error){
		func(tx *Tx) (int64, error) { return tx.pruneIncidents(ctx, us) },
		func(tx *Tx) (int64, error) { return tx.pruneRepeats(ctx, us) },
		func(tx *Tx) (int64, error) { return tx.pruneDeliveries(ctx, us) },
		pruneBy(ctx, `DELETE FROM delivery_groups WHERE cluster = :cluster AND (hook_ns, hook, config, grp) IN (SELECT hook_ns, hook, config, grp
			FROM delivery_groups WHERE cluster = :cluster AND hold_ends < ? AND held_until < ? AND resumed_at < ? LIMIT ?)`, us, us, us),
		pruneBy(ctx, `DELETE FROM hook_configs WHERE cluster = :cluster AND (hook_ns, hook, config) IN (SELECT c.hook_ns, c.hook, c.config
			FROM hook_configs c WHERE c.cluster = :cluster AND c.saved_at < ?
			AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.cluster = :cluster AND d.hook_ns = c.hook_ns AND d.hook = c.hook)
			AND NOT EXISTS (SELECT 1 FROM delivery_groups g WHERE g.cluster = :cluster AND g.hook_ns = c.hook_ns AND g.hook = c.hook)
			LIMIT ?)`, min(us, micros(s.cfg.Clock.Now().Add(-configurationsKept)))),
		pruneBy(ctx, `DELETE FROM notices WHERE cluster = :cluster AND (notifier, id) IN (SELECT notifier, id FROM notices WHERE cluster = :cluster AND ended_at > 0 AND ended_at < ? LIMIT ?)`, us),
		pruneBy(ctx, `DELETE FROM intake WHERE cluster = :cluster AND id IN (SELECT id FROM intake WHERE cluster = :cluster AND state <> 'waiting' AND at < ? LIMIT ?)`, micros(s.cfg.Clock.Now().Add(-wishesKept))),
		// The newest term stays: who leads is known by it, and what the next one leaves out.
		pruneBy(ctx, `DELETE FROM terms WHERE cluster = :cluster AND term IN (SELECT term FROM terms WHERE cluster = :cluster AND at < ?
			AND term < (SELECT term FROM clusters WHERE no = :cluster) ORDER BY term LIMIT ?)`, us),
		// The log is in the order of time, but for jumps of the clock: so its beginning tells.
		pruneBy(ctx, `DELETE FROM changes WHERE cluster = :cluster AND at < ? AND seq IN (SELECT seq FROM changes WHERE cluster = :cluster ORDER BY seq LIMIT ?)`, us),
		pruneCounts(ctx, "event_counts", "span, namespace, start, type, status", minuteSpan, before),
		pruneCounts(ctx, "event_counts", "span, namespace, start, type, status", hourSpan, before),
		pruneCounts(ctx, "hook_counts", "span, hook_ns, hook, start, config, name", minuteSpan, before),
		pruneCounts(ctx, "hook_counts", "span, hook_ns, hook, start, config, name", hourSpan, before),
	} {
		n, err := s.pruneAll(ctx, step)
		deleted += n
		if err != nil {
			return deleted, fmt.Errorf("delete old history: %w", err)
		}
	}
	return deleted, nil
}

// pruneAll repeats a step until it finds nothing more, and leaves the writer to others for most
// of the time. What a power failure takes back is deleted again.
func (s *Store) pruneAll(ctx context.Context, step func(*Tx) (int64, error)) (deleted int64, err error) {
	for {
		var n int64
		var took time.Duration
		err := s.WriteRelaxed(ctx, func(tx *Tx) (err error) {
			began := time.Now()
			n, err = step(tx)
			took = time.Since(began)
			return err
		})
		if err != nil || n == 0 {
			return deleted, err
		}
		deleted += n
		select {
		case <-ctx.Done():
			return deleted, ctx.Err()
		case <-time.After((pruneShare - 1) * took):
		}
	}
}

// pruneBy is a step that is one statement; the last argument is its limit.
func pruneBy(ctx context.Context, query string, args ...any) func(*Tx) (int64, error) {
	return func(tx *Tx) (int64, error) { return tx.exec(ctx, query, append(args, pruneRows)...) }
}

// pruneCounts is the step that deletes the counters of spans that ended before a time.
func pruneCounts(ctx context.Context, table, key string, span int64, before time.Time) func(*Tx) (int64, error) {
	return pruneBy(ctx, fmt.Sprintf("DELETE FROM %s WHERE cluster = :cluster AND (%s) IN (SELECT %s FROM %s WHERE cluster = :cluster AND span = ? AND start <= ? ORDER BY start LIMIT ?)",
		table, key, key, table), span, minute(before)-span)
}

// pruneIncidents deletes some events of the incidents that ended first, with the decisions about
// them; and those incidents once they have no more events.
func (tx *Tx) pruneIncidents(ctx context.Context, before int64) (int64, error) {
	ids, err := rowsOf(ctx, tx, scanText, "SELECT i.id FROM incidents i WHERE i.cluster = :cluster AND i.resolution <> '' AND i.resolved_at < ? AND NOT EXISTS "+
		"(SELECT 1 FROM deliveries d WHERE d.cluster = :cluster AND d.incident_id = i.id AND d.ended_at = 0) ORDER BY i.resolved_at LIMIT ?", before, pruneIncidents)
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	deleted, events := int64(0), int64(0)
	for _, id := range ids { // one by one: so each takes the index from where its events begin
		n, err := tx.pruneEvents(ctx, "SELECT id FROM events WHERE cluster = :cluster AND incident_id = ? ORDER BY id LIMIT ?", id, pruneRows-events)
		if events += n; err != nil || events == pruneRows {
			return deleted + events, err
		}
		for _, query := range []string{
			"DELETE FROM decisions WHERE cluster = :cluster AND incident_id = ? AND made_for <> 'event'", "DELETE FROM hook_incidents WHERE cluster = :cluster AND incident_id = ?", "DELETE FROM incidents WHERE cluster = :cluster AND id = ?",
		} {
			n, err := tx.exec(ctx, query, id)
			if deleted += n; err != nil {
				return deleted, err
			}
		}
	}
	return deleted + events, nil
}

// pruneDeliveries deletes some deliveries that ended, with their logs.
func (tx *Tx) pruneDeliveries(ctx context.Context, before int64) (int64, error) {
	ids, err := rowsOf(ctx, tx, scanText, "SELECT id FROM deliveries WHERE cluster = :cluster AND created_at < ? AND ended_at <> 0 AND ended_at < ? ORDER BY created_at LIMIT ?",
		before, before, pruneDeliveries)
	if err != nil {
		return 0, err
	}
	return int64(len(ids)), inBatches(len(ids), func(from, to int) error {
		in := " IN (" + placeholders(to-from) + ")"
		for _, query := range []string{
			"DELETE FROM decisions WHERE cluster = :cluster AND made_for <> 'event' AND delivery_id <> '' AND delivery_id" + in,
			"DELETE FROM delivery_log WHERE cluster = :cluster AND delivery_id" + in, "DELETE FROM delivery_incidents WHERE cluster = :cluster AND delivery_id" + in, "DELETE FROM deliveries WHERE cluster = :cluster AND id" + in,
		} {
			if _, err := tx.exec(ctx, query, anys(ids[from:to])...); err != nil {
				return err
			}
		}
		return nil
	})
}

// pruneRepeats deletes old repeats of incidents that go on for longer than the retention.
func (tx *Tx) pruneRepeats(ctx context.Context, before int64) (int64, error) {
	return tx.pruneEvents(ctx, "SELECT id FROM events WHERE cluster = :cluster AND at < ? AND status = 'duplicate' ORDER BY at, id LIMIT ?", before, pruneRows)
}

// pruneEvents deletes the events that a query finds, with the decisions about them. It returns
// how many events there were.
func (tx *Tx) pruneEvents(ctx context.Context, query string, args ...any) (int64, error) {
	ids, err := rowsOf(ctx, tx, scanNumber, query, args...)
	if err != nil {
		return 0, err
	}
	return int64(len(ids)), inBatches(len(ids), func(from, to int) error {
		in := "(" + placeholders(to-from) + ")"
		for _, query := range []string{"DELETE FROM decisions WHERE cluster = :cluster AND event_id IN " + in, "DELETE FROM events WHERE cluster = :cluster AND id IN " + in} {
			if _, err := tx.exec(ctx, query, anys(ids[from:to])...); err != nil {
				return err
			}
		}
		return nil
	})
}
