package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store/engine"
)

// reads are the questions that both khook and people have, each on its own handle.
type reads struct {
	handle  handle
	engine  engine.Engine
	cluster *Cluster
}

// Incident returns one incident, or ErrNotFound.
func (r reads) Incident(ctx context.Context, id string) (*incident.Incident, error) {
	return readOne(ctx, r.handle, "incident "+id, r.cluster.scanIncident, "SELECT "+incidentColumns+" FROM incidents WHERE cluster = :cluster AND id = ?", id)
}

// IncidentEffects returns the incidents that one of the given ones caused.
func (r reads) IncidentEffects(ctx context.Context, ids []string) ([]*incident.Incident, error) {
	return readByIDs(ctx, r.handle, "effects of incidents", r.cluster.scanIncident, ids, func(in string) string {
		return "SELECT " + incidentColumns + " FROM incidents WHERE cluster = :cluster AND caused_by <> '' AND caused_by IN " + in
	})
}

// IncidentEvents returns the first events of an incident.
func (r reads) IncidentEvents(ctx context.Context, incidentID string, limit int) ([]*incident.Event, error) {
	return readAll(ctx, r.handle, "events of incident "+incidentID, r.cluster.scanEvent,
		"SELECT "+eventColumns+" FROM events WHERE cluster = :cluster AND incident_id = ? ORDER BY id LIMIT ?", incidentID, limit)
}

// Delivery returns one delivery, or ErrNotFound.
func (r reads) Delivery(ctx context.Context, id string) (*delivery.Delivery, error) {
	return readOne(ctx, r.handle, "delivery "+id, r.cluster.scanDelivery, "SELECT "+deliveryColumns+" FROM deliveries WHERE cluster = :cluster AND id = ?", id)
}

// deliveryLines returns deliveries by their IDs, without their texts, each batch of them by when it was made due.
func (r reads) deliveryLines(ctx context.Context, ids []string) ([]*delivery.Delivery, error) {
	return readByIDs(ctx, r.handle, "deliveries", r.cluster.scanDelivery, ids, func(in string) string {
		return "SELECT " + deliveryLine + " FROM deliveries WHERE cluster = :cluster AND id IN " + in + " ORDER BY created_at, id"
	})
}

// DeliveryIncidents returns the incidents that a delivery covers, the one that made it due first.
func (r reads) DeliveryIncidents(ctx context.Context, id string, limit int) ([]*incident.Incident, error) {
	return readAll(ctx, r.handle, "incidents of delivery "+id, r.cluster.scanIncident,
		"SELECT "+prefixed("i", incidentColumns)+" FROM "+r.engine.JoinInOrder("delivery_incidents c", "incidents i", "i.cluster = :cluster AND i.id = c.incident_id")+" WHERE c.cluster = :cluster AND c.delivery_id = ? "+
			"ORDER BY i.id <> (SELECT incident_id FROM deliveries WHERE cluster = :cluster AND id = ?), i.first_seen, i.id LIMIT ?", id, id, limit)
}

// DeliveryEntries returns a delivery's log, in order.
func (r reads) DeliveryEntries(ctx context.Context, id string) ([]delivery.Entry, error) {
	return readAll(ctx, r.handle, "the log of delivery "+id, scanEntry, "SELECT "+entryColumns+" FROM delivery_log WHERE cluster = :cluster AND delivery_id = ? ORDER BY n", id)
}

// Unfinished counts the deliveries that have not ended, by state.
func (r reads) Unfinished(ctx context.Context) (map[delivery.State]int, error) {
	type count struct {
		state delivery.State
		n     int
	}
	counts, err := readAll(ctx, r.handle, "unfinished deliveries", func(row scanner) (c count, err error) {
		err = row.Scan(&c.state, &c.n)
		return c, err
	}, "SELECT state, count(*) FROM deliveries WHERE ended_at = 0 AND cluster = :cluster AND created_at > 0 GROUP BY "+r.engine.NoIndex("state"))
	found := make(map[delivery.State]int, len(counts))
	for _, c := range counts {
		found[c.state] = c.n
	}
	return found, err
}

// Stalled counts the deliveries whose task is stalled now.
func (r reads) Stalled(ctx context.Context) (int, error) {
	n, err := readOne(ctx, r.handle, "the number of stalled deliveries", scanNumber, "SELECT count(*) FROM deliveries WHERE stalled_since > 0 AND cluster = :cluster")
	return int(n), err
}

// HookSummary returns how many of the hook's incidents are open, and when it last made a delivery
// due (zero if never).
func (r reads) HookSummary(ctx context.Context, hook delivery.HookRef) (open int, lastFired time.Time, err error) {
	open, err = readOne(ctx, r.handle, "open incidents of hook "+hook.String(), func(row scanner) (n int, err error) { err = row.Scan(&n); return },
		// Of the open ones there are fewer than of those that ever concerned the hook.
		"SELECT count(*) FROM "+r.engine.JoinInOrder("incidents i", "hook_incidents h", "h.cluster = :cluster AND h.incident_id = i.id")+
			" WHERE i.resolution = '' AND i.cluster = :cluster AND h.hook_ns = ? AND h.hook = ?", hook.Namespace, hook.Name)
	if err != nil {
		return 0, time.Time{}, err
	}
	lastFired, err = readOne(ctx, r.handle, "when hook "+hook.String()+" last fired", scanTime,
		"SELECT max(created_at) FROM deliveries WHERE cluster = :cluster AND hook_ns = ? AND hook = ?", hook.Namespace, hook.Name)
	return open, lastFired, err
}

// OldestPending returns when the oldest delivery was made due whose agent was not reached yet; zero if there is none.
func (r reads) OldestPending(ctx context.Context) (time.Time, error) {
	return readOne(ctx, r.handle, "the oldest pending delivery", scanTime,
		"SELECT min(created_at) FROM deliveries WHERE ended_at = 0 AND cluster = :cluster AND state IN ('pending', 'calling')")
}

// CountDeadLetters returns how many letters there are.
func (r reads) CountDeadLetters(ctx context.Context) (int, error) {
	n, err := readOne(ctx, r.handle, "the number of dead letters", scanNumber,
		"SELECT count(*) FROM (SELECT 1 FROM dead_letters WHERE cluster = :cluster ORDER BY last_at LIMIT ?) AS counted", MaxDeadLetters+1)
	return int(n), err
}

// LastChange returns the newest number of the change sequence.
func (r reads) LastChange(ctx context.Context) (int64, error) {
	return readOne(ctx, r.handle, "the change sequence", scanNumber,
		"SELECT seq FROM clusters WHERE no = :cluster")
}

// scanTime reads a time in microseconds, zero for none.
func scanTime(row scanner) (time.Time, error) {
	var us sql.NullInt64
	err := row.Scan(&us)
	return fromMicros(us.Int64), err
}
