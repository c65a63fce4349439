package store

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// The columns of the tables, in the order in which rows are written and read.
const (
	eventColumns = "id, event_key, incident_id, type, status, at, recorded_at, kind, namespace, name, uid, " +
		"container, workload_kind, workload, node, reason, message, restart_count, exit_code, count"
	incidentColumns = "id, seq, type, kind, namespace, name, uid, container, workload_kind, workload, node, labels, " +
		"first_seen, last_seen, resolved_at, resolution, caused_by, events, duplicates, reason, message, restart_count, exit_code, observed_at, " +
		"unheard_since, quiet_at, reopened_at, reopenings"
	deliveryColumns = deliveryFacts + ", error, held_back, reply, question, prompt, data, answer"
	// deliveryLine is a delivery without its texts: what lists show must not quote an agent, not even as
	// the reason of a failure.
	deliveryLine  = deliveryFacts + ", '' AS error, '' AS held_back, '' AS reply, '' AS question, '' AS prompt, '' AS data, '' AS answer"
	deliveryFacts = "id, seq, state, hook_ns, hook, hook_uid, config, type, grp, agent_ns, agent, incident_id, catch_up, " +
		"timeout, attempt, created_at, next_at, called_at, ended_at, dialect, context_id, task_id, task_state, failure, outcome, outcome_at, " +
		"skipped, retry_of, requested_by, cancel_requested_by, even_if_recovered, verify_window, needs_approval, replies, question_id, workload, " + sentColumns + ", cancel_tries, cancel_at, verify_until, recovered_at, " + stallColumns + ", " + usageColumns
	stallColumns    = "stall_after, on_stall, heard_at, heard_sum, stalled_since, stop, stop_at"
	usageColumns    = "total_tokens, prompt_tokens, completion_tokens"
	sentColumns     = "sent_at, sent_dialect, sent_user, sent_url, sent_flags, sent_missed, sent_looks"
	decisionColumns = "event_id, event_at, type, leads, incident_id, hook_ns, hook, config, disposition, delivery_id, at, made_for"
)

// micros is how times are stored: microseconds since 1970, 0 for none.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

func exitCode(code *int32) any {
	if code == nil {
		return nil
	}
	return int64(*code)
}

func fromExitCode(code sql.NullInt64) *int32 {
	if !code.Valid {
		return nil
	}
	v := int32(code.Int64)
	return &v
}

func eventRow(e *incident.Event) []any {
	pod := e.Attributes.PodOrZero()
	return []any{
		e.ID, e.Key, e.IncidentID, string(e.Type), string(e.Status), micros(e.At), micros(e.RecordedAt),
		e.Resource.Kind, e.Resource.Namespace, e.Resource.Name, e.Resource.UID, e.Container, e.Workload.Kind, e.Workload.Name,
		e.Node, incident.Truncate(e.Reason, incident.MaxReason), incident.Truncate(e.Message, incident.MaxMessage),
		int64(pod.RestartCount), exitCode(pod.ExitCode), int64(e.Count),
	}
}

// scanner is a row of database/sql.
type scanner interface{ Scan(...any) error }

func (c *Cluster) scanEvent(row scanner) (*incident.Event, error) {
	e := &incident.Event{Cluster: c.Name}
	var at, recorded int64
	var pod incident.PodAttributes
	var code sql.NullInt64
	err := row.Scan(&e.ID, &e.Key, &e.IncidentID, &e.Type, &e.Status, &at, &recorded,
		&e.Resource.Kind, &e.Resource.Namespace, &e.Resource.Name, &e.Resource.UID, &e.Container, &e.Workload.Kind, &e.Workload.Name,
		&e.Node, &e.Reason, &e.Message, &pod.RestartCount, &code, &e.Count)
	e.At, e.RecordedAt, pod.ExitCode = fromMicros(at), fromMicros(recorded), fromExitCode(code)
	e.Attributes = attributesOf(e.Resource, pod)
	return e, err
}

func incidentRow(i *incident.Incident, seq int64) ([]any, error) {
	pod := i.Attributes.PodOrZero()
	labels, err := json.Marshal(pod.Labels)
	if err != nil {
		return nil, fmt.Errorf("labels of incident %s: %w", i.ID, err)
	}
	return []any{
		i.ID, seq, string(i.Type), i.Resource.Kind, i.Resource.Namespace, i.Resource.Name, i.Resource.UID,
		i.Container, i.Workload.Kind, i.Workload.Name, i.Node, string(labels),
		micros(i.FirstSeen), micros(i.LastSeen), micros(i.ResolvedAt), string(i.Resolution), i.CausedBy, i.Events, i.Duplicates,
		incident.Truncate(i.Reason, incident.MaxReason), incident.Truncate(i.Message, incident.MaxMessage),
		int64(pod.RestartCount), exitCode(pod.ExitCode), micros(i.ObservedAt),
		micros(i.UnheardSince), micros(i.QuietAt), micros(i.ReopenedAt), i.Reopenings,
	}, nil
}

func (c *Cluster) scanIncident(row scanner) (*incident.Incident, error) {
	i := &incident.Incident{Cluster: c.Name}
	var seq, first, last, resolved, observed, unheard, quiet, reopened int64
	var labels string
	var pod incident.PodAttributes
	var code sql.NullInt64
	err := row.Scan(&i.ID, &seq, &i.Type, &i.Resource.Kind, &i.Resource.Namespace, &i.Resource.Name, &i.Resource.UID,
		&i.Container, &i.Workload.Kind, &i.Workload.Name, &i.Node, &labels,
		&first, &last, &resolved, &i.Resolution, &i.CausedBy, &i.Events, &i.Duplicates, &i.Reason, &i.Message, &pod.RestartCount, &code, &observed,
		&unheard, &quiet, &reopened, &i.Reopenings)
	if err != nil {
		return nil, err
	}
	i.FirstSeen, i.LastSeen, i.ResolvedAt, i.ObservedAt = fromMicros(first), fromMicros(last), fromMicros(resolved), fromMicros(observed)
	i.UnheardSince, i.QuietAt, i.ReopenedAt = fromMicros(unheard), fromMicros(quiet), fromMicros(reopened)
	pod.ExitCode = fromExitCode(code)
	if labels != "null" {
		if err := json.Unmarshal([]byte(labels), &pod.Labels); err != nil {
			return nil, fmt.Errorf("labels of incident %s: %w", i.ID, err)
		}
	}
	i.Attributes = attributesOf(i.Resource, pod)
	return i, nil
}

// attributesOf are what a row says of its resource. The columns are those of Pods; for another resource
// they have zeros, which say nothing.
func attributesOf(r incident.Resource, pod incident.PodAttributes) incident.Attributes {
	if r.Kind != "Pod" {
		return incident.Attributes{}
	}
	return incident.Attributes{Pod: &pod}
}

func deliveryRow(d *delivery.Delivery, seq int64) ([]any, error) {
	held, err := asText(d.HeldBack)
	if err != nil {
		return nil, fmt.Errorf("what was held back before delivery %s: %w", d.ID, err)
	}
	reply, err := asText(d.Reply)
	if err != nil {
		return nil, fmt.Errorf("the reply in delivery %s: %w", d.ID, err)
	}
	row := []any{
		d.ID, seq, string(d.State), d.Hook.Namespace, d.Hook.Name, d.HookUID, d.Config, string(d.EventType), d.Group,
		d.Agent.Namespace, d.Agent.Name, d.IncidentID, boolInt(d.CatchUp), d.Timeout.Microseconds(), int64(d.Attempt),
		micros(d.CreatedAt), micros(d.NextAt), micros(d.CalledAt), micros(d.EndedAt),
		d.Dialect, d.ContextID, d.TaskID, d.TaskState, incident.Truncate(d.Failure, delivery.MaxError), string(d.Outcome), micros(d.OutcomeAt),
		string(d.Skipped), d.RetryOf, d.RequestedBy, d.CancelRequestedBy, boolInt(d.EvenIfRecovered), d.VerifyWindow.Microseconds(), boolInt(d.NeedsApproval), int64(d.Replies), d.QuestionID, d.Workload,
	}
	row = append(append(row, sentRow(d.Sent)...), int64(d.CancelTries), micros(d.CancelAt), micros(d.VerifyUntil), micros(d.RecoveredAt))
	row = append(row, d.StallAfter.Microseconds(), string(d.OnStall), micros(d.HeardAt), d.HeardSum, micros(d.StalledSince), string(d.Stop), micros(d.StopAt), d.Usage.Total, d.Usage.Prompt, d.Usage.Completion)
	return append(row,
		incident.Truncate(d.Error, delivery.MaxError), held, reply, incident.Truncate(d.Question, delivery.MaxQuestion),
		incident.Truncate(d.Prompt, delivery.MaxPrompt), d.Data, incident.Truncate(d.Answer, delivery.MaxAnswer),
	), nil
}

// The bits of sent_flags.
const (
	sentNamed = 1 << iota
	sentAgain
)

// sentRow is a message that may be with its agent; a time of 0 if none is.
func sentRow(s *delivery.Sent) []any {
	if s == nil {
		s = &delivery.Sent{}
	}
	return []any{micros(s.At), s.Dialect, s.User, s.URL, sentNamed*boolInt(s.Named) + sentAgain*boolInt(s.Again), int64(s.Missed), int64(s.Looks)}
}

func (c *Cluster) scanDelivery(row scanner) (*delivery.Delivery, error) {
	d := &delivery.Delivery{Cluster: c.Name}
	var catchUp, timeout, created, next, called, ended, outcome, even, window, approval int64
	var sentAt, flags, canceled, until, recovered int64
	var stallAfter, heard, sum, stalled, stop int64
	var sent delivery.Sent
	var held, reply string
	err := row.Scan(&d.ID, &d.Version, &d.State, &d.Hook.Namespace, &d.Hook.Name, &d.HookUID, &d.Config, &d.EventType, &d.Group,
		&d.Agent.Namespace, &d.Agent.Name, &d.IncidentID, &catchUp, &timeout, &d.Attempt,
		&created, &next, &called, &ended, &d.Dialect, &d.ContextID, &d.TaskID, &d.TaskState, &d.Failure, &d.Outcome, &outcome,
		&d.Skipped, &d.RetryOf, &d.RequestedBy, &d.CancelRequestedBy, &even, &window, &approval, &d.Replies, &d.QuestionID, &d.Workload,
		&sentAt, &sent.Dialect, &sent.User, &sent.URL, &flags, &sent.Missed, &sent.Looks, &d.CancelTries, &canceled, &until, &recovered,
		&stallAfter, &d.OnStall, &heard, &sum, &stalled, &d.Stop, &stop, &d.Usage.Total, &d.Usage.Prompt, &d.Usage.Completion,
		&d.Error, &held, &reply, &d.Question, &d.Prompt, &d.Data, &d.Answer)
	if err != nil {
		return nil, err
	}
	d.CatchUp, d.EvenIfRecovered, d.NeedsApproval = catchUp != 0, even != 0, approval != 0
	d.Timeout, d.VerifyWindow = time.Duration(timeout)*time.Microsecond, time.Duration(window)*time.Microsecond
	d.CreatedAt, d.NextAt, d.CalledAt = fromMicros(created), fromMicros(next), fromMicros(called)
	d.EndedAt, d.OutcomeAt, d.CancelAt = fromMicros(ended), fromMicros(outcome), fromMicros(canceled)
	d.VerifyUntil, d.RecoveredAt = fromMicros(until), fromMicros(recovered)
	d.StallAfter, d.HeardAt, d.HeardSum, d.StalledSince, d.StopAt = time.Duration(stallAfter)*time.Microsecond, fromMicros(heard), sum, fromMicros(stalled), fromMicros(stop)
	if sentAt != 0 {
		sent.At, sent.Named, sent.Again = fromMicros(sentAt), flags&sentNamed != 0, flags&sentAgain != 0
		d.Sent = &sent
	}
	if d.HeldBack, err = fromText[delivery.HeldBack](held); err == nil {
		d.Reply, err = fromText[delivery.Reply](reply)
	}
	return d, err
}

// asText is how a value that may be missing is stored: as JSON, "" for none.
func asText[T any](v *T) (string, error) {
	if v == nil {
		return "", nil
	}
	text, err := json.Marshal(v)
	return string(text), err
}

func fromText[T any](text string) (*T, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // there is none
	}
	v := new(T)
	return v, json.Unmarshal([]byte(text), v)
}

// boolInt is how a bool is stored: 1 for true.
func boolInt(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func scanDecision(row scanner) (delivery.Decision, error) {
	var d delivery.Decision
	var eventAt, leads, at int64
	var kind string
	err := row.Scan(&d.EventID, &eventAt, &kind, &leads, &d.IncidentID, &d.Hook.Namespace, &d.Hook.Name, &d.Config, &d.Disposition, &d.DeliveryID, &at, &d.MadeFor)
	d.At, d.EventType = fromMicros(at), incident.EventType(kind)
	if d.MadeFor != delivery.ForEvent {
		d.EventID = 0
	}
	return d, err
}

// columnCount is how many columns a list names.
func columnCount(columns string) int { return strings.Count(columns, ",") + 1 }

// placeholders is n question marks, separated by commas.
func placeholders(n int) string { return strings.TrimSuffix(strings.Repeat("?,", n), ",") }

// prefixed puts the table's alias before each column.
func prefixed(alias, columns string) string {
	return alias + "." + strings.ReplaceAll(columns, ", ", ", "+alias+".")
}

// updates is the SET list that takes each column but those kept from the row that could not be
// inserted.
func updates(columns string, kept ...string) string {
	var sets []string
next:
	for c := range strings.SplitSeq(columns, ", ") {
		for _, k := range kept {
			if c == k {
				continue next
			}
		}
		sets = append(sets, c+" = excluded."+c)
	}
	return strings.Join(sets, ", ")
}
