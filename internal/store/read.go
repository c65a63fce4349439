package store

import (
	"context"
	"slices"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store/engine"
)

// KnownKeys returns which of the event keys are recorded already. A transaction asks by Tx.KnownKeys.
func (s *Store) KnownKeys(ctx context.Context, keys []string) (map[string]bool, error) {
	known := map[string]bool{}
	err := inBatches(len(keys), func(from, to int) error {
		found, err := readAll(ctx, s.core, "event keys", scanText, knownKeys(to-from), anys(keys[from:to])...)
		for _, k := range found {
			known[k] = true
		}
		return err
	})
	return known, err
}

// OpenIncidents returns the cluster's open incidents.
func (s *Store) OpenIncidents(ctx context.Context) ([]*incident.Incident, error) {
	return readAll(ctx, s.core, "open incidents", s.cluster.scanIncident,
		"SELECT "+incidentColumns+" FROM incidents WHERE cluster = :cluster AND resolution = '' ORDER BY last_seen")
}

// Incidents returns those of the incidents that exist.
func (r reads) Incidents(ctx context.Context, ids []string) ([]*incident.Incident, error) {
	return readByIDs(ctx, r.handle, "incidents", r.cluster.scanIncident, ids, func(in string) string {
		return "SELECT " + incidentColumns + " FROM incidents WHERE cluster = :cluster AND id IN " + in
	})
}

// OpenIncidentsOf returns how many of the incidents that a delivery covers are open.
func (s *Store) OpenIncidentsOf(ctx context.Context, delivery string) (int64, error) {
	return readOne(ctx, s.core, "the open incidents of delivery "+delivery, scanNumber, openIncidents(s.engine), delivery)
}

// openIncidents counts the open incidents that a delivery covers.
func openIncidents(e engine.Engine) string {
	return "SELECT count(*) FROM " + e.JoinInOrder("delivery_incidents c", "incidents i", "i.cluster = :cluster AND i.id = c.incident_id") + " WHERE c.cluster = :cluster AND c.delivery_id = ? AND i.resolution = ''"
}

// HeldGroups returns the groups whose calls are held back until after a time, by that time; of one
// hook, or of all if it has no name.
func (s *Store) HeldGroups(ctx context.Context, hook delivery.HookRef, after time.Time, limit int) ([]*delivery.GroupState, error) {
	const held = "SELECT " + groupColumns + " FROM delivery_groups WHERE hold <> '' AND cluster = :cluster AND hold_ends > ? "
	if hook.Name == "" {
		return readAll(ctx, s.core, "groups that are held back", scanGroup, held+"ORDER BY hold_ends LIMIT ?", micros(after), limit)
	}
	return readAll(ctx, s.core, "groups of hook "+hook.String()+" that are held back", scanGroup, held+"AND hook_ns = ? AND hook = ? ORDER BY hold_ends LIMIT ?",
		micros(after), hook.Namespace, hook.Name, limit)
}

// StalledDeliveries returns the deliveries of a hook whose task is stalled now, without their texts: first those that can't be stopped, then the one
// that is stalled for longest.
func (s *Store) StalledDeliveries(ctx context.Context, hook delivery.HookRef, limit int) ([]*delivery.Delivery, error) {
	return readAll(ctx, s.core, "stalled deliveries of hook "+hook.String(), s.cluster.scanDelivery, "SELECT "+deliveryLine+" FROM deliveries "+
		"WHERE cluster = :cluster AND stalled_since > 0 AND hook_ns = ? AND hook = ? ORDER BY CASE WHEN stop = ? THEN 0 ELSE 1 END, stalled_since LIMIT ?",
		hook.Namespace, hook.Name, string(delivery.StopInVain), limit)
}

// AskingDeliveries returns the deliveries of a hook whose agent waits for a person now, the oldest first, without their texts.
func (s *Store) AskingDeliveries(ctx context.Context, hook delivery.HookRef, limit int) ([]*delivery.Delivery, error) {
	return readAll(ctx, s.core, "deliveries of hook "+hook.String()+" that wait for a person", s.cluster.scanDelivery, "SELECT "+deliveryLine+" FROM deliveries "+
		"WHERE cluster = :cluster AND state = ? AND hook_ns = ? AND hook = ? ORDER BY created_at, id LIMIT ?", string(delivery.InputRequired), hook.Namespace, hook.Name, limit)
}

// GroupState returns what is remembered of a group; an empty one if that is nothing.
func (s *Store) GroupState(ctx context.Context, key delivery.GroupKey) (*delivery.GroupState, error) {
	q := groupState(key)
	found, err := readAll(ctx, s.core, q.what, q.scan, q.text, q.args...)
	return stateOf(key, found), err
}

// HeldGroupsFrom returns the groups whose calls are held back until after a time, in the order of their keys, from the one
// after a key on; an empty key is before all.
func (s *Store) HeldGroupsFrom(ctx context.Context, from delivery.GroupKey, after time.Time, limit int) ([]*delivery.GroupState, error) {
	return readAll(ctx, s.core, "groups that are held back", scanGroup, "SELECT "+groupColumns+" FROM delivery_groups WHERE hold <> '' AND cluster = :cluster "+
		"AND (hook_ns, hook, config, grp) > (?, ?, ?, ?) AND hold_ends > ? ORDER BY hook_ns, hook, config, grp LIMIT ?",
		from.Hook.Namespace, from.Hook.Name, from.Config, from.Group, micros(after), limit)
}

// QuietIncidents returns the newest of the incidents that ended as quiet after a time.
func (s *Store) QuietIncidents(ctx context.Context, after time.Time, limit int) ([]*incident.Incident, error) {
	return readAll(ctx, s.core, "incidents that ended as quiet", s.cluster.scanIncident, "SELECT "+incidentColumns+" FROM incidents WHERE resolution = 'quiet' AND cluster = :cluster "+
		"AND resolved_at > ? ORDER BY resolved_at DESC LIMIT ?", micros(after), limit)
}

// DeliveryEvents returns how many events a delivery covers.
func (s *Store) DeliveryEvents(ctx context.Context, id string) (int64, error) {
	return readOne(ctx, s.core, "events of delivery "+id, scanNumber,
		"SELECT count(*) FROM decisions WHERE cluster = :cluster AND delivery_id = ? AND delivery_id <> '' AND disposition <> 'explained' AND made_for = 'event'", id)
}

// DeliveriesOfIncidents returns the deliveries without an outcome that cover one of the incidents.
func (s *Store) DeliveriesOfIncidents(ctx context.Context, ids []string) ([]*delivery.Delivery, error) {
	found, err := readByIDs(ctx, s.core, "deliveries of incidents", s.cluster.scanDelivery, ids, func(in string) string {
		return "SELECT " + deliveryColumns + " FROM deliveries WHERE cluster = :cluster AND outcome = '' AND skipped = '' AND id IN " +
			"(SELECT delivery_id FROM delivery_incidents WHERE cluster = :cluster AND incident_id IN " + in + ")"
	})
	return lastOfEach(found, func(d *delivery.Delivery) string { return d.ID }), err
}

// DeliveryIDsOfIncidents returns the IDs of the deliveries without an outcome that cover one of the incidents.
func (s *Store) DeliveryIDsOfIncidents(ctx context.Context, ids []string) ([]string, error) {
	found, err := readByIDs(ctx, s.core, "IDs of deliveries of incidents", scanText, ids, func(in string) string {
		return "SELECT id FROM deliveries WHERE cluster = :cluster AND outcome = '' AND skipped = '' AND id IN " +
			"(SELECT delivery_id FROM delivery_incidents WHERE cluster = :cluster AND incident_id IN " + in + ")"
	})
	slices.Sort(found)
	return slices.Compact(found), err
}

// UnfinishedDeliveries returns the deliveries that have not ended, and those whose outcome is not known and is to be decided
// after a time, the oldest first. They come without their texts: there can be a hundred thousand, and a row
// that can't be read must not keep the others from being gone on with.
func (s *Store) UnfinishedDeliveries(ctx context.Context, verifyAfter time.Time, limit int) ([]*delivery.Delivery, error) {
	return readAll(ctx, s.core, "unfinished deliveries", s.cluster.scanDelivery,
		"SELECT "+deliveryLine+" FROM (SELECT "+deliveryFacts+" FROM deliveries WHERE ended_at = 0 AND cluster = :cluster UNION ALL "+
			"SELECT "+deliveryFacts+" FROM deliveries WHERE outcome = '' AND verify_until > 0 AND verify_until > ? AND cluster = :cluster) AS d ORDER BY created_at LIMIT ?",
		micros(verifyAfter), limit)
}

// HookIncidents returns the incidents that concern a hook: the open ones, and those that ended
// after a time; those that are open first, each by the newest sign of them, newest first.
func (s *Store) HookIncidents(ctx context.Context, hook delivery.HookRef, resolvedAfter time.Time, limit int) ([]*incident.Incident, error) {
	// The open ones come by their index, which ends the search early.
	concerned := "SELECT i.id FROM " + s.engine.JoinInOrder("incidents i", "hook_incidents h", "h.cluster = :cluster AND h.incident_id = i.id") + " WHERE h.hook_ns = ? AND h.hook = ? AND i.cluster = :cluster "
	return readAll(ctx, s.core, "incidents of hook "+hook.String(), s.cluster.scanIncident,
		"SELECT "+incidentColumns+" FROM incidents WHERE cluster = :cluster AND id IN ("+
			"SELECT id FROM ("+concerned+"AND i.resolution = '' ORDER BY i.last_seen DESC LIMIT ?) AS going UNION ALL "+
			"SELECT id FROM ("+concerned+"AND i.resolution <> '' AND i.resolved_at > ? ORDER BY i.last_seen DESC LIMIT ?) AS ended) "+
			"ORDER BY resolution <> '', last_seen DESC, id LIMIT ?",
		hook.Namespace, hook.Name, limit,
		hook.Namespace, hook.Name, micros(resolvedAfter), limit, limit)
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
	rows, err := readByIDs(ctx, s.core, "hooks of incidents", func(sc scanner) (r row, err error) {
		err = sc.Scan(&r.id, &r.Hook.Namespace, &r.Hook.Name, &r.UID)
		return r, err
	}, ids, func(in string) string {
		return "SELECT incident_id, hook_ns, hook, hook_uid FROM hook_incidents WHERE cluster = :cluster AND incident_id IN " + in
	})
	hooks := map[string][]ConcernedHook{}
	for _, r := range rows {
		hooks[r.id] = append(hooks[r.id], r.ConcernedHook)
	}
	return hooks, err
}

// AllIncidents returns incidents by their first event.
func (s *Store) AllIncidents(ctx context.Context, limit int) ([]*incident.Incident, error) {
	return readAll(ctx, s.core, "incidents", s.cluster.scanIncident,
		"SELECT "+incidentColumns+" FROM incidents WHERE cluster = :cluster ORDER BY first_seen, id LIMIT ?", limit)
}

// AllDeliveries returns deliveries by the time at which they were made due.
func (s *Store) AllDeliveries(ctx context.Context, limit int) ([]*delivery.Delivery, error) {
	return readAll(ctx, s.core, "deliveries", s.cluster.scanDelivery,
		"SELECT "+deliveryColumns+" FROM deliveries WHERE cluster = :cluster ORDER BY created_at, id LIMIT ?", limit)
}
