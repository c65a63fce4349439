package store

import (
	"context"
	"fmt"
	"runtime"
	"time"
)

// pruneBatch is how many rows one transaction of a Prune deletes: some milliseconds of work, so
// that other writers hardly wait.
const pruneBatch = 500

// Prune deletes the history of before a time, in small transactions: incidents that ended
// before, with their events and decisions, deliveries, counters and the change log. Open
// incidents and unfinished deliveries stay, with all that belongs to them.
func (s *Store) Prune(ctx context.Context, before time.Time) (deleted int64, err error) {
	us := micros(before)
	for _, step := range []struct {
		query string
		args  []any
	}{
		{`DELETE FROM decisions WHERE event_id IN (SELECT e.id FROM events e JOIN incidents i ON i.id = e.incident_id
			WHERE i.resolution <> '' AND i.resolved_at < ? AND EXISTS (SELECT 1 FROM decisions d WHERE d.event_id = e.id) LIMIT ?)`, []any{us}},
		{`DELETE FROM events WHERE id IN (SELECT e.id FROM events e JOIN incidents i ON i.id = e.incident_id
			WHERE i.resolution <> '' AND i.resolved_at < ? LIMIT ?)`, []any{us}},
		{`DELETE FROM hook_incidents WHERE incident_id IN (SELECT i.id FROM incidents i
			WHERE i.resolution <> '' AND i.resolved_at < ? AND EXISTS (SELECT 1 FROM hook_incidents h WHERE h.incident_id = i.id) LIMIT ?)`, []any{us}},
		{`DELETE FROM incidents WHERE id IN (SELECT id FROM incidents WHERE resolution <> '' AND resolved_at < ? LIMIT ?)`, []any{us}},
		// Repeats of an incident that goes on for longer than the retention; its first event stays.
		{`DELETE FROM decisions WHERE event_id IN (SELECT e.id FROM events e
			WHERE e.at < ? AND e.status = 'duplicate' AND EXISTS (SELECT 1 FROM decisions d WHERE d.event_id = e.id) LIMIT ?)`, []any{us}},
		{`DELETE FROM events WHERE id IN (SELECT id FROM events WHERE at < ? AND status = 'duplicate' LIMIT ?)`, []any{us}},
		{`DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries WHERE created_at < ? AND ended_at <> 0 AND ended_at < ? LIMIT ?)`, []any{us, us}},
		{`DELETE FROM changes WHERE seq IN (SELECT seq FROM changes WHERE at < ? ORDER BY seq LIMIT ?)`, []any{us}},
		{`DELETE FROM event_counts WHERE (minute, cluster, namespace, type, status) IN
			(SELECT minute, cluster, namespace, type, status FROM event_counts WHERE minute < ? LIMIT ?)`, []any{minute(before)}},
		{`DELETE FROM hook_counts WHERE (minute, cluster, hook_ns, hook, config, name) IN
			(SELECT minute, cluster, hook_ns, hook, config, name FROM hook_counts WHERE minute < ? LIMIT ?)`, []any{minute(before)}},
	} {
		n, err := s.pruneAll(ctx, step.query, append(step.args, pruneBatch))
		deleted += n
		if err != nil {
			return deleted, err
		}
	}
	return deleted, nil
}

// pruneAll repeats one delete until it finds nothing more, and lets other writers go first.
func (s *Store) pruneAll(ctx context.Context, query string, args []any) (deleted int64, err error) {
	for {
		var n int64
		err := s.Write(ctx, func(tx *Tx) error {
			result, err := tx.exec(ctx, query, args...)
			if err != nil {
				return fmt.Errorf("delete old history: %w", err)
			}
			n, err = result.RowsAffected()
			return err
		})
		deleted += n
		if err != nil || n == 0 {
			return deleted, err
		}
		runtime.Gosched()
	}
}
