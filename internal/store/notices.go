package store

import (
	"context"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/notice"
)

const noticeColumns = "notifier, id, kind, about, subject, hook_ns, hook, type, namespace, config, grp, delivery_id, incident_id, at, " +
	"state, message, attempt, due_at, ended_at, error"

// maxNoticeError bounds Line.Error, in bytes.
const maxNoticeError = 512

func noticeRows(lines []*notice.Line) [][]any {
	rows := make([][]any, 0, len(lines))
	for _, l := range lines {
		rows = append(rows, []any{
			l.Notifier, l.ID, string(l.Kind), l.About, l.Subject, l.Hook.Namespace, l.Hook.Name, string(l.Type), l.Namespace, l.Config, l.Group,
			l.DeliveryID, l.IncidentID, micros(l.At), string(l.State), l.Message, l.Attempt, micros(l.DueAt), micros(l.EndedAt), incident.Truncate(l.Error, maxNoticeError),
		})
	}
	return rows
}

func scanNotice(row scanner) (*notice.Line, error) {
	l := &notice.Line{}
	var at, due, ended int64
	err := row.Scan(&l.Notifier, &l.ID, &l.Kind, &l.About, &l.Subject, &l.Hook.Namespace, &l.Hook.Name, &l.Type, &l.Namespace, &l.Config, &l.Group,
		&l.DeliveryID, &l.IncidentID, &at, &l.State, &l.Message, &l.Attempt, &due, &ended, &l.Error)
	l.At, l.DueAt, l.EndedAt = fromMicros(at), fromMicros(due), fromMicros(ended)
	return l, err
}

// PutNotices makes notices wait for a notifier, and notes up to which change it has read the change log. A notice that the notifier has, or had,
// is ignored.
func (tx *Tx) PutNotices(ctx context.Context, notifier string, readUpTo int64, lines []*notice.Line) error {
	if err := tx.insert(ctx, "notices", noticeColumns, noticeRows(lines), " ON CONFLICT DO NOTHING"); err != nil {
		return err
	}
	return tx.insert(ctx, "notifiers", "name, seq", [][]any{{notifier, readUpTo}},
		" ON CONFLICT (cluster, name) DO UPDATE SET seq = excluded.seq")
}

// SaveNotices writes how far notices have come.
func (tx *Tx) SaveNotices(ctx context.Context, lines []*notice.Line) error {
	return tx.insert(ctx, "notices", noticeColumns, noticeRows(lines), " ON CONFLICT (cluster, notifier, id) DO UPDATE SET state = excluded.state, message = excluded.message, "+
		"attempt = excluded.attempt, due_at = excluded.due_at, ended_at = excluded.ended_at, error = excluded.error")
}

// KeepNotifiers forgets what waits for notifiers that there are no more, and how far they have read.
func (tx *Tx) KeepNotifiers(ctx context.Context, names []string) error {
	others := " <> ''"
	if len(names) > 0 {
		others = " NOT IN (" + placeholders(len(names)) + ")"
	}
	args := anys(names)
	if _, err := tx.exec(ctx, "DELETE FROM notices WHERE cluster = :cluster AND ended_at = 0 AND notifier"+others, args...); err != nil {
		return err
	}
	_, err := tx.exec(ctx, "DELETE FROM notifiers WHERE cluster = :cluster AND name"+others, args...)
	return err
}

// NoticesReadUpTo is up to which change a notifier has read the change log; known is false if it is a new one.
func (s *Store) NoticesReadUpTo(ctx context.Context, notifier string) (seq int64, known bool, err error) {
	found, err := readAll(ctx, s.core, "how far notifier "+notifier+" has read", scanNumber, "SELECT seq FROM notifiers WHERE cluster = :cluster AND name = ?", notifier)
	return firstNumber(found), len(found) > 0, err
}

// WaitingNotices returns the notices that wait for a notifier, the one that is due first before the others.
func (s *Store) WaitingNotices(ctx context.Context, notifier string, limit int) ([]*notice.Line, error) {
	return readAll(ctx, s.core, "notices that wait for "+notifier, scanNotice,
		"SELECT "+noticeColumns+" FROM notices WHERE cluster = :cluster AND notifier = ? AND ended_at = 0 ORDER BY due_at, id LIMIT ?", notifier, limit)
}

// CountWaitingNotices is how many notices wait for a notifier.
func (s *Store) CountWaitingNotices(ctx context.Context, notifier string) (int, error) {
	n, err := readOne(ctx, s.core, "how many notices wait for "+notifier, scanNumber,
		"SELECT count(*) FROM notices WHERE cluster = :cluster AND notifier = ? AND ended_at = 0", notifier)
	return int(n), err
}

// NoticesOfMessage returns the notices of one message to a notifier that wait, at most limit.
func (s *Store) NoticesOfMessage(ctx context.Context, notifier, message string, limit int) ([]*notice.Line, error) {
	return readAll(ctx, s.core, "the notices of message "+message, scanNotice,
		"SELECT "+noticeColumns+" FROM notices WHERE cluster = :cluster AND notifier = ? AND ended_at = 0 AND message = ? ORDER BY due_at, id LIMIT ?", notifier, message, limit)
}

// ChangedDeliveries returns the IDs of the deliveries that changed after a number of the change log, up to another one, each once.
func (s *Store) ChangedDeliveries(ctx context.Context, after, upTo int64) ([]string, error) {
	return readAll(ctx, s.core, "changes of deliveries", scanText,
		"SELECT DISTINCT id FROM changes WHERE cluster = :cluster AND seq > ? AND seq <= ? AND kind = 'delivery'", after, upTo)
}

// WaitingDeliveries returns the IDs of the deliveries that may wait for a person: those with a question, and those that are stalled.
func (s *Store) WaitingDeliveries(ctx context.Context, limit int) ([]string, error) {
	return readAll(ctx, s.core, "deliveries that wait for a person", scanText,
		"SELECT id FROM deliveries WHERE cluster = :cluster AND (state = ? OR stalled_since > 0) AND ended_at = 0 ORDER BY created_at DESC LIMIT ?",
		string(delivery.InputRequired), limit)
}

// UncalledMatch says which incidents are meant; an empty list is all.
type UncalledMatch struct {
	Namespaces []string
	Types      []incident.EventType
}

// UncalledOpen returns incidents that are open, began before a time, and for which no agent was called, neither for them nor for what they are
// explained by; those without a notice of that for the notifier, the oldest first.
func (s *Store) UncalledOpen(ctx context.Context, notifier string, before time.Time, match UncalledMatch, limit int) ([]*incident.Incident, error) {
	where, args := "", []any{micros(before)}
	if len(match.Namespaces) > 0 {
		where, args = " AND i.namespace IN ("+placeholders(len(match.Namespaces))+")", append(args, anys(match.Namespaces)...)
	}
	if len(match.Types) > 0 {
		where += " AND i.type IN (" + placeholders(len(match.Types)) + ")"
		for _, t := range match.Types {
			args = append(args, string(t))
		}
	}
	return readAll(ctx, s.core, "open incidents without a call", s.cluster.scanIncident, "SELECT "+prefixed("i", incidentColumns)+" FROM incidents i "+
		"WHERE i.cluster = :cluster AND i.resolution = '' AND i.first_seen < ? AND i.caused_by = ''"+where+
		" AND NOT EXISTS (SELECT 1 FROM "+s.callsAbout()+" WHERE c.cluster = :cluster AND c.incident_id = i.id AND d.skipped = '') "+
		"AND NOT EXISTS (SELECT 1 FROM notices n WHERE n.cluster = :cluster AND n.incident_id = i.id AND n.kind = ? AND n.notifier = ? "+
		"AND n.subject = CAST(i.reopenings AS TEXT)) ORDER BY i.first_seen LIMIT ?",
		append(args, string(notice.Uncalled), notifier, limit)...)
}

// Called says whether an agent was called for an incident, or is about to be.
func (s *Store) Called(ctx context.Context, incidentID string) (bool, error) {
	n, err := readOne(ctx, s.core, "the calls about incident "+incidentID, scanNumber,
		"SELECT count(*) FROM "+s.callsAbout()+" WHERE c.cluster = :cluster AND c.incident_id = ? AND d.skipped = ''", incidentID)
	return n > 0, err
}

// callsAbout are the deliveries d that are about an incident of c.
func (s *Store) callsAbout() string {
	return s.engine.JoinInOrder("delivery_incidents c", "deliveries d", "d.cluster = :cluster AND d.id = c.delivery_id")
}

// NoticesOfIncident returns whom was told about an incident, its calls included: what was sent, the oldest first.
func (r *Reader) NoticesOfIncident(ctx context.Context, id string, limit int) ([]*notice.Line, error) {
	return readAll(ctx, r.handle, "notices about incident "+id, scanNotice,
		"SELECT "+noticeColumns+" FROM notices WHERE cluster = :cluster AND incident_id = ? AND incident_id <> '' AND state = ? ORDER BY ended_at LIMIT ?", id, string(notice.Sent), limit)
}
