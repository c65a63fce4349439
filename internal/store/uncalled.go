package store

import (
	"context"
	"fmt"
	"time"

	"github.com/kagent-dev/khook/internal/incident"
)

// UncalledQuery selects incidents for which no Hook made a call.
type UncalledQuery struct {
	Namespace string
	Type      incident.EventType
	From, To  time.Time     // of their first event, To excluded
	Window    time.Duration // within which no call may have been about their workload either
	Limit     int           // how many incidents, called for or not, are looked at, the newest
}

// longestDelivery is how long a delivery takes at most: it waits for a day, and its agent takes another.
const longestDelivery = 48 * time.Hour

// calledFor are the calls that an incident i may have ended by: about it, its cause and the cause of that, and about its workload, if
// one was under way or had ended within the window before or was made within the window after. One of which nobody knows whether it arrived
// counts as made, whatever Hook made it.
const calledFor = "EXISTS (SELECT 1 FROM %[1]s WHERE c.cluster = :cluster AND c.incident_id = i.id AND d.skipped = '') " +
	"OR i.caused_by <> '' AND (EXISTS (SELECT 1 FROM %[1]s WHERE c.cluster = :cluster AND c.incident_id = i.caused_by AND d.skipped = '') " +
	"OR EXISTS (SELECT 1 FROM %[2]s WHERE p.cluster = :cluster AND p.id = i.caused_by AND p.caused_by <> '' AND d.skipped = '')) " +
	"OR EXISTS (SELECT 1 FROM deliveries d WHERE d.cluster = :cluster AND d.hook_ns = i.namespace AND d.workload = i.workload_kind || '/' || i.workload " +
	"AND d.skipped = '' AND d.created_at > i.first_seen - ? AND d.created_at <= i.first_seen + ? AND (d.ended_at = 0 OR d.ended_at > i.first_seen - ?))"

// Uncalled returns the incidents that the query selects, the oldest first.
func (r *Reader) Uncalled(ctx context.Context, q UncalledQuery) ([]*incident.Incident, error) {
	window := q.Window.Microseconds()
	return readAll(ctx, r.handle, "failures of "+q.Namespace+" without a call", r.cluster.scanIncident, r.uncalled(),
		q.Namespace, string(q.Type), micros(q.From), micros(q.To), q.Limit, longestDelivery.Microseconds()+window, window, window)
}

func (r *Reader) uncalled() string {
	calls := r.engine.JoinInOrder("delivery_incidents c", "deliveries d", "d.cluster = :cluster AND d.id = c.delivery_id")
	ofCauses := r.engine.JoinInOrder("incidents p", "delivery_incidents c", "c.cluster = :cluster AND c.incident_id = p.caused_by") + " JOIN deliveries d ON d.cluster = :cluster AND d.id = c.delivery_id"
	// The newest are found in the index alone.
	newest := "(SELECT id FROM incidents WHERE cluster = :cluster AND namespace = ? AND type = ? AND first_seen >= ? AND first_seen < ? ORDER BY first_seen DESC, id DESC LIMIT ?) AS counted"
	return "SELECT " + prefixed("i", incidentColumns) + " FROM " + r.engine.JoinInOrder(newest, "incidents i", "i.cluster = :cluster AND i.id = counted.id") +
		" WHERE NOT (" + fmt.Sprintf(calledFor, calls, ofCauses) + ") ORDER BY i.first_seen, i.id"
}
