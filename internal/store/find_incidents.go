package store

import (
	"context"
	"strings"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// ScanBound is how many rows are looked at for what no index finds, such as a text: what is not found in them is found by going
// on after them (Total.After). So a page never costs the scan of a long history.
const ScanBound = 5000

// textColumns are those in which a text is looked for.
var textColumns = []string{"name", "workload", "reason", "message", "node"}

// search adds what no index finds.
func (q IncidentQuery) search(l *listing) {
	if q.Text != "" {
		pattern := "%" + strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(lowerASCII(q.Text)) + "%"
		var conditions []string
		var args []any
		for _, column := range textColumns {
			conditions, args = append(conditions, "lower("+column+") LIKE ? ESCAPE '!'"), append(args, pattern)
		}
		l.search("("+strings.Join(conditions, " OR ")+")", args...)
	}
	if q.Agent != (delivery.AgentRef{}) {
		l.search("(EXISTS (SELECT 1 FROM deliveries d WHERE d.cluster = :cluster AND d.incident_id = found.id AND d.agent_ns = ? AND d.agent = ?) OR "+
			"EXISTS (SELECT 1 FROM delivery_incidents c WHERE c.cluster = :cluster AND c.incident_id = found.id AND EXISTS (SELECT 1 FROM deliveries d WHERE d.cluster = :cluster AND d.id = c.delivery_id AND d.agent_ns = ? AND d.agent = ?)))",
			q.Agent.Namespace, q.Agent.Name, q.Agent.Namespace, q.Agent.Name)
	}
}

// lowerASCII is a text as the engines' lower leaves it, of which not all know other letters.
func lowerASCII(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, text)
}

// IncidentGroup are the open incidents of one type of a workload.
type IncidentGroup struct {
	Namespace           string
	Workload            incident.Workload
	Type                incident.EventType
	Incidents, Events   int64
	Caused              int64  // of the incidents, those that another one explains
	CausedBy            string // ID of one that does; empty if none
	FirstSeen, LastSeen int64  // microseconds since 1970
}

// GroupBound is how many open incidents are grouped, the newest.
const GroupBound = 10_000

// IncidentGroups returns the open incidents of a namespace, or of all if it is empty, by workload and type: the groups that
// were seen last come first.
func (r *Reader) IncidentGroups(ctx context.Context, namespace string, limit int) ([]IncidentGroup, error) {
	where, args := "cluster = :cluster AND resolution = ''", []any{}
	if namespace != "" {
		where, args = where+" AND "+r.store.engine.NoIndex("namespace")+" = ?", append(args, namespace)
	}
	return readAll(ctx, r.handle, "groups of open incidents", func(row scanner) (g IncidentGroup, err error) {
		err = row.Scan(&g.Namespace, &g.Workload.Kind, &g.Workload.Name, &g.Type, &g.Incidents, &g.Events, &g.Caused, &g.CausedBy, &g.FirstSeen, &g.LastSeen)
		return g, err
	}, "SELECT namespace, workload_kind, workload, type, count(*), sum(events), sum(CASE WHEN caused_by <> '' THEN 1 ELSE 0 END), max(caused_by), min(first_seen), max(last_seen) FROM "+
		"(SELECT namespace, workload_kind, workload, type, events, caused_by, first_seen, last_seen FROM incidents WHERE "+where+" ORDER BY first_seen DESC, id DESC LIMIT ?) AS looked "+
		"GROUP BY namespace, workload_kind, workload, type ORDER BY max(last_seen) DESC, namespace, workload, type LIMIT ?", append(args, GroupBound, limit)...)
}

// Calls returns the deliveries that cover some incidents, by the incidents' IDs, the oldest first and without their texts; at
// most limit in all.
func (r *Reader) Calls(ctx context.Context, incidents []string, limit int) (map[string][]*delivery.Delivery, error) {
	covers, err := readAll(ctx, r.handle, "deliveries of incidents", func(row scanner) (c DeliveryIncident, err error) {
		err = row.Scan(&c.IncidentID, &c.DeliveryID)
		return c, err
	}, "SELECT incident_id, delivery_id FROM delivery_incidents WHERE cluster = :cluster AND incident_id IN ("+placeholders(len(incidents))+") ORDER BY incident_id, delivery_id LIMIT ?", append(anys(incidents), limit)...)
	if err != nil || len(covers) == 0 {
		return nil, err
	}
	var ids []string
	for _, c := range covers {
		ids = append(ids, c.DeliveryID)
	}
	found, err := r.deliveryLines(ctx, ids)
	if err != nil {
		return nil, err
	}
	calls := map[string][]*delivery.Delivery{}
	for _, d := range lastOfEach(found, func(d *delivery.Delivery) string { return d.ID }) {
		for _, c := range covers {
			if c.DeliveryID == d.ID {
				calls[c.IncidentID] = append(calls[c.IncidentID], d)
			}
		}
	}
	return calls, nil
}
