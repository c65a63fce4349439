package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// coreList runs a read and collects its rows.
func coreList[T any](ctx context.Context, s *Store, what string, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	st, err := s.reads.stmt(ctx, s.read, query)
	if err != nil {
		return nil, s.explain(fmt.Errorf("read %s: %w", what, err))
	}
	rows, err := st.QueryContext(ctx, storable(args)...)
	if err != nil {
		return nil, s.explain(fmt.Errorf("read %s: %w", what, err))
	}
	all, err := collect(rows, scan)
	if err != nil {
		return nil, s.explain(fmt.Errorf("read %s: %w", what, err))
	}
	return all, nil
}

// coreOne is list for at most one row; ErrNotFound if there is none.
func coreOne[T any](ctx context.Context, s *Store, what string, scan func(scanner) (T, error), query string, args ...any) (T, error) {
	var none T
	found, err := coreList(ctx, s, what, scan, query, args...)
	if err != nil {
		return none, err
	}
	if len(found) == 0 {
		return none, fmt.Errorf("read %s: %w", what, ErrNotFound)
	}
	return found[0], nil
}

// coreListByIDs is list for a query with a set of IDs, cut into batches; the set may be in it more
// than once.
func coreListByIDs[T any](ctx context.Context, s *Store, what string, scan func(scanner) (T, error), ids []string, query func(in string) string) ([]T, error) {
	var all []T
	err := inBatches(len(ids), func(from, to int) error {
		text := query("(" + placeholders(to-from) + ")")
		var args []any
		for range strings.Count(text, "?") / (to - from) {
			args = append(args, anys(ids[from:to])...)
		}
		part, err := coreList(ctx, s, what, scan, text, args...)
		all = append(all, part...)
		return err
	})
	return all, err
}

// KnownKeys returns which of the event keys are recorded already. A transaction asks by Tx.KnownKeys.
func (s *Store) KnownKeys(ctx context.Context, keys []string) (map[string]bool, error) {
	known := map[string]bool{}
	err := inBatches(len(keys), func(from, to int) error {
		found, err := coreList(ctx, s, "event keys", scanText, knownKeys(to-from), append(anys(keys[from:to]), s.cfg.Cluster)...)
		for _, k := range found {
			known[k] = true
		}
		return err
	})
	return known, err
}

// OpenIncidents returns the cluster's open incidents.
func (s *Store) OpenIncidents(ctx context.Context) ([]*incident.Incident, error) {
	return coreList(ctx, s, "open incidents", scanIncident,
		"SELECT "+incidentColumns+" FROM incidents WHERE cluster = ? AND resolution = '' ORDER BY last_seen", s.cfg.Cluster)
}

// Incident returns one incident, or ErrNotFound.
func (s *Store) Incident(ctx context.Context, id string) (*incident.Incident, error) {
	return coreOne(ctx, s, "incident "+id, scanIncident, "SELECT "+incidentColumns+" FROM incidents WHERE id = ?", id)
}

// Incidents returns those of the incidents that exist.
func (s *Store) Incidents(ctx context.Context, ids []string) ([]*incident.Incident, error) {
	return coreListByIDs(ctx, s, "incidents", scanIncident, ids, func(in string) string {
		return "SELECT " + incidentColumns + " FROM incidents WHERE id IN " + in
	})
}

// IncidentEffects returns the incidents that one of the given ones caused.
func (s *Store) IncidentEffects(ctx context.Context, ids []string) ([]*incident.Incident, error) {
	return coreListByIDs(ctx, s, "effects of incidents", scanIncident, ids, func(in string) string {
		return "SELECT " + incidentColumns + " FROM incidents WHERE caused_by <> '' AND caused_by IN " + in
	})
}

// Event returns one event, or ErrNotFound.
func (s *Store) Event(ctx context.Context, id int64) (*incident.Event, error) {
	return coreOne(ctx, s, fmt.Sprintf("event %d", id), scanEvent, "SELECT "+eventColumns+" FROM events WHERE id = ?", id)
}

// IncidentEvents returns the first events of an incident.
func (s *Store) IncidentEvents(ctx context.Context, incidentID string, limit int) ([]*incident.Event, error) {
	return coreList(ctx, s, "events of incident "+incidentID, scanEvent,
		"SELECT "+eventColumns+" FROM events WHERE incident_id = ? ORDER BY id LIMIT ?", incidentID, limit)
}

// EventDecisions returns what the hooks decided about an event.
func (s *Store) EventDecisions(ctx context.Context, eventID int64) ([]delivery.Decision, error) {
	return coreList(ctx, s, fmt.Sprintf("decisions about event %d", eventID), scanDecision,
		"SELECT "+decisionColumns+" FROM decisions WHERE event_id = ? ORDER BY hook_ns, hook, config", eventID)
}

// Delivery returns one delivery, or ErrNotFound.
func (s *Store) Delivery(ctx context.Context, id string) (*delivery.Delivery, error) {
	return coreOne(ctx, s, "delivery "+id, scanDelivery, "SELECT "+deliveryColumns+" FROM deliveries WHERE id = ?", id)
}

// DeliveryIncidents returns the incidents that a delivery covers, the one that made it due first.
func (s *Store) DeliveryIncidents(ctx context.Context, id string, limit int) ([]*incident.Incident, error) {
	return coreList(ctx, s, "incidents of delivery "+id, scanIncident,
		"SELECT "+prefixed("i", incidentColumns)+" FROM delivery_incidents c CROSS JOIN incidents i WHERE i.id = c.incident_id AND c.delivery_id = ? "+
			"ORDER BY i.id <> (SELECT incident_id FROM deliveries WHERE id = ?), i.first_seen, i.id LIMIT ?", id, id, limit)
}

// OpenIncidentsOf returns how many of the incidents that a delivery covers are open.
func (s *Store) OpenIncidentsOf(ctx context.Context, delivery string) (int64, error) {
	return coreOne(ctx, s, "the open incidents of delivery "+delivery, scanNumber, openIncidents, delivery)
}

const openIncidents = "SELECT count(*) FROM delivery_incidents c CROSS JOIN incidents i WHERE i.id = c.incident_id AND c.delivery_id = ? AND i.resolution = ''"

// DeliveryEntries returns a delivery's log, in order.
func (s *Store) DeliveryEntries(ctx context.Context, id string) ([]delivery.Entry, error) {
	return coreList(ctx, s, "the log of delivery "+id, scanEntry, "SELECT "+entryColumns+" FROM delivery_log WHERE delivery_id = ? ORDER BY n", id)
}

// HeldGroups returns the groups whose calls are held back until after a time, by that time; of one
// hook, or of all if it has no name.
func (s *Store) HeldGroups(ctx context.Context, hook delivery.HookRef, after time.Time, limit int) ([]*delivery.GroupState, error) {
	const held = "SELECT " + groupColumns + " FROM delivery_groups WHERE hold <> '' AND cluster = ? AND hold_ends > ? "
	if hook.Name == "" {
		return coreList(ctx, s, "groups that are held back", scanGroup, held+"ORDER BY hold_ends LIMIT ?", s.cfg.Cluster, micros(after), limit)
	}
	return coreList(ctx, s, "groups of hook "+hook.String()+" that are held back", scanGroup, held+"AND hook_ns = ? AND hook = ? ORDER BY hold_ends LIMIT ?",
		s.cfg.Cluster, micros(after), hook.Namespace, hook.Name, limit)
}

// DeliveryEvents returns how many events a delivery covers.
func (s *Store) DeliveryEvents(ctx context.Context, id string) (int64, error) {
	return coreOne(ctx, s, "events of delivery "+id, scanNumber,
		"SELECT count(*) FROM decisions WHERE delivery_id = ? AND delivery_id <> '' AND disposition <> 'explained'", id)
}

// DeliveriesOfIncidents returns the deliveries without an outcome that cover one of the incidents.
func (s *Store) DeliveriesOfIncidents(ctx context.Context, ids []string) ([]*delivery.Delivery, error) {
	found, err := coreListByIDs(ctx, s, "deliveries of incidents", scanDelivery, ids, func(in string) string {
		return "SELECT " + deliveryColumns + " FROM deliveries WHERE outcome = '' AND skipped = '' AND id IN " +
			"(SELECT delivery_id FROM delivery_incidents WHERE incident_id IN " + in + ")"
	})
	return lastOfEach(found, func(d *delivery.Delivery) string { return d.ID }), err
}

// UnfinishedDeliveries returns the deliveries that have not ended, and those whose agents ended after a
// time and that have no outcome yet; the oldest first.
func (s *Store) UnfinishedDeliveries(ctx context.Context, endedAfter time.Time, limit int) ([]*delivery.Delivery, error) {
	return coreList(ctx, s, "unfinished deliveries", scanDelivery,
		"SELECT "+deliveryColumns+" FROM (SELECT "+deliveryColumns+" FROM deliveries WHERE ended_at = 0 AND cluster = ? UNION ALL "+
			"SELECT "+deliveryColumns+" FROM deliveries WHERE outcome = '' AND skipped = '' AND ended_at > ? AND cluster = ?) AS d ORDER BY created_at LIMIT ?",
		s.cfg.Cluster, max(1, micros(endedAfter)), s.cfg.Cluster, limit)
}

// OldestPending returns when the oldest delivery was made due whose agent was not reached yet;
// zero if there is none.
func (s *Store) OldestPending(ctx context.Context) (time.Time, error) {
	return coreOne(ctx, s, "the oldest pending delivery", func(row scanner) (time.Time, error) {
		var us sql.NullInt64
		err := row.Scan(&us)
		return fromMicros(us.Int64), err
	}, "SELECT min(created_at) FROM deliveries WHERE ended_at = 0 AND cluster = ? AND state IN ('pending', 'calling')", s.cfg.Cluster)
}

// Unfinished counts the deliveries that have not ended, by state.
func (s *Store) Unfinished(ctx context.Context) (map[delivery.State]int, error) {
	type count struct {
		state delivery.State
		n     int
	}
	counts, err := coreList(ctx, s, "unfinished deliveries", func(row scanner) (c count, err error) {
		err = row.Scan(&c.state, &c.n)
		return c, err
	}, "SELECT state, count(*) FROM deliveries WHERE ended_at = 0 AND cluster = ? GROUP BY state", s.cfg.Cluster)
	found := make(map[delivery.State]int, len(counts))
	for _, c := range counts {
		found[c.state] = c.n
	}
	return found, err
}

// HookIncidents returns the incidents that concern a hook: the open ones, and those that ended
// after a time; by the newest sign of them, newest first.
func (s *Store) HookIncidents(ctx context.Context, hook delivery.HookRef, resolvedAfter time.Time, limit int) ([]*incident.Incident, error) {
	// CROSS JOIN keeps the order: the open ones come by their index, which ends the search early.
	const concerned = "SELECT i.id FROM incidents i CROSS JOIN hook_incidents h WHERE h.incident_id = i.id AND h.hook_ns = ? AND h.hook = ? AND i.cluster = ? "
	return coreList(ctx, s, "incidents of hook "+hook.String(), scanIncident,
		"SELECT "+incidentColumns+" FROM incidents WHERE id IN ("+
			"SELECT id FROM ("+concerned+"AND i.resolution = '' ORDER BY i.last_seen DESC LIMIT ?) AS going UNION ALL "+
			"SELECT id FROM ("+concerned+"AND i.resolution <> '' AND i.resolved_at > ? ORDER BY i.last_seen DESC LIMIT ?) AS ended) "+
			"ORDER BY last_seen DESC, id LIMIT ?",
		hook.Namespace, hook.Name, s.cfg.Cluster, limit,
		hook.Namespace, hook.Name, s.cfg.Cluster, micros(resolvedAfter), limit, limit)
}

// HookSummary returns how many of the hook's incidents are open, and when it last made a delivery
// due (zero if never).
func (s *Store) HookSummary(ctx context.Context, hook delivery.HookRef) (open int, lastFired time.Time, err error) {
	open, err = coreOne(ctx, s, "open incidents of hook "+hook.String(), func(row scanner) (n int, err error) { err = row.Scan(&n); return },
		// CROSS JOIN keeps the order: of the open ones there are fewer than of those that ever concerned the hook.
		"SELECT count(*) FROM incidents i CROSS JOIN hook_incidents h "+
			"WHERE h.incident_id = i.id AND i.resolution = '' AND i.cluster = ? AND h.hook_ns = ? AND h.hook = ?", s.cfg.Cluster, hook.Namespace, hook.Name)
	if err != nil {
		return 0, time.Time{}, err
	}
	last, err := s.LastDelivery(ctx, hook)
	if errors.Is(err, ErrNotFound) {
		return open, time.Time{}, nil
	}
	if err != nil {
		return 0, time.Time{}, err
	}
	return open, last.CreatedAt, nil
}

// LastDelivery returns the hook's newest delivery, or ErrNotFound.
func (s *Store) LastDelivery(ctx context.Context, hook delivery.HookRef) (*delivery.Delivery, error) {
	return coreOne(ctx, s, "last delivery of hook "+hook.String(), scanDelivery,
		"SELECT "+deliveryColumns+" FROM deliveries WHERE cluster = ? AND hook_ns = ? AND hook = ? ORDER BY created_at DESC LIMIT 1",
		s.cfg.Cluster, hook.Namespace, hook.Name)
}

// ConcernedHook is a hook that an incident concerns.
type ConcernedHook struct {
	Hook delivery.HookRef
	UID  string
}

// IncidentHooks returns the hooks that each of the incidents concerns.
func (s *Store) IncidentHooks(ctx context.Context, ids []string) (map[string][]ConcernedHook, error) {
	type row struct {
		id string
		ConcernedHook
	}
	rows, err := coreListByIDs(ctx, s, "hooks of incidents", func(sc scanner) (r row, err error) {
		err = sc.Scan(&r.id, &r.Hook.Namespace, &r.Hook.Name, &r.UID)
		return r, err
	}, ids, func(in string) string {
		return "SELECT incident_id, hook_ns, hook, hook_uid FROM hook_incidents WHERE incident_id IN " + in
	})
	hooks := map[string][]ConcernedHook{}
	for _, r := range rows {
		hooks[r.id] = append(hooks[r.id], r.ConcernedHook)
	}
	return hooks, err
}

// AllIncidents returns incidents by their first event.
func (s *Store) AllIncidents(ctx context.Context, limit int) ([]*incident.Incident, error) {
	return coreList(ctx, s, "incidents", scanIncident,
		"SELECT "+incidentColumns+" FROM incidents ORDER BY first_seen, id LIMIT ?", limit)
}

// AllDeliveries returns deliveries by the time at which they were made due.
func (s *Store) AllDeliveries(ctx context.Context, limit int) ([]*delivery.Delivery, error) {
	return coreList(ctx, s, "deliveries", scanDelivery,
		"SELECT "+deliveryColumns+" FROM deliveries ORDER BY created_at, id LIMIT ?", limit)
}

// Change is one entry of the change log.
type Change struct {
	Seq   int64
	Kind  string // event, incident or delivery
	ID    string
	State string // status of the event, "firing" or resolution of the incident, state of the delivery
	At    time.Time
}

// Changes returns the change log after a number, in order.
func (s *Store) Changes(ctx context.Context, after int64, limit int) ([]Change, error) {
	return coreList(ctx, s, "the change log", func(row scanner) (c Change, err error) {
		var at int64
		err = row.Scan(&c.Seq, &c.Kind, &c.ID, &c.State, &at)
		c.At = fromMicros(at)
		return c, err
	}, "SELECT seq, kind, id, state, at FROM changes WHERE seq > ? ORDER BY seq LIMIT ?", after, limit)
}

// LastChange returns the newest number of the change sequence.
func (s *Store) LastChange(ctx context.Context) (int64, error) {
	return coreOne(ctx, s, "the change sequence", scanNumber,
		"SELECT value FROM meta WHERE name = 'seq'")
}
