package api

import (
	"encoding/json"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

func subject(t incident.EventType, cluster string, o incident.Observation) Subject {
	pod := o.Attributes.PodOrZero()
	return Subject{
		EventType: EventType(t), Namespace: o.Resource.Namespace, ResourceKind: o.Resource.Kind, ResourceName: o.Resource.Name, ResourceUID: o.Resource.UID,
		Container: o.Container, Workload: Workload(o.Workload), Node: o.Node, Cluster: cluster,
		Reason: o.Reason, Message: o.Message, RestartCount: pod.RestartCount, ExitCode: pod.ExitCode,
	}
}

// EventOf is the JSON of an event, without dispositions.
func EventOf(e *incident.Event) Event {
	return Event{
		ID: e.ID, IncidentID: e.IncidentID, Status: e.Status, Timestamp: e.At, RecordedAt: e.RecordedAt, Count: e.Count,
		Subject: subject(e.Type, e.Cluster, e.Observation),
	}
}

// EncodeEvent makes the record of an event that live streams carry: the same as in lists, with when it became so.
func EncodeEvent(e *incident.Event, changed time.Time) ([]byte, error) {
	shaped := EventOf(e)
	shaped.ChangedAt = changed
	return json.Marshal(shaped)
}

// EncodeIncident makes that of an incident.
func EncodeIncident(i *incident.Incident) ([]byte, error) {
	return json.Marshal(IncidentOf(i, time.Now()))
}

// DecisionOf is the JSON of a decision.
func DecisionOf(d delivery.Decision) Decision {
	return Decision{EventID: d.EventID, MadeFor: d.MadeFor, Hook: Name(d.Hook), Config: d.Config, Disposition: d.Disposition, DeliveryID: d.DeliveryID, At: d.At}
}

// IncidentOf is the JSON of an incident; the duration of an open one reaches to now.
func IncidentOf(i *incident.Incident, now time.Time) Incident {
	status, end := string(incident.Resolved), i.ResolvedAt
	if i.Open() {
		status, end = string(incident.Firing), now
	}
	return Incident{
		ID: i.ID, Status: status, Labels: i.Attributes.PodOrZero().Labels, FirstSeen: i.FirstSeen, LastSeen: i.LastSeen, ResolvedAt: i.ResolvedAt, Resolution: i.Resolution,
		ObservedAt: i.ObservedAt, UnheardSince: i.UnheardSince, Reopenings: i.Reopenings, ReopenedAt: i.ReopenedAt,
		DurationSeconds: max(0, end.Sub(i.FirstSeen).Seconds()), CausedBy: i.CausedBy, Events: i.Events, Duplicates: i.Duplicates,
		Subject: subject(i.Type, i.Cluster, i.Observation),
	}
}

// IncidentsOf is the JSON of incidents, in their order; never nil.
func IncidentsOf(all []*incident.Incident, now time.Time) []Incident {
	shaped := make([]Incident, 0, len(all))
	for _, i := range all {
		shaped = append(shaped, IncidentOf(i, now))
	}
	return shaped
}

// DeliveryOf is the JSON of a delivery with all its texts. Lists, and callers who may not read the texts, get it
// without: that is up to whoever answers.
func DeliveryOf(d *delivery.Delivery) Delivery {
	shaped := Delivery{
		ID: d.ID, State: d.State, Cluster: d.Cluster, Hook: Name(d.Hook), Config: d.Config, EventType: EventType(d.EventType), Group: d.Group,
		Agent: Name(d.Agent), IncidentID: d.IncidentID, CatchUp: d.CatchUp, Attempt: d.Attempt, TimeoutSeconds: d.Timeout.Seconds(),
		CreatedAt: d.CreatedAt, NextAt: d.NextAt, CalledAt: d.CalledAt, EndedAt: d.EndedAt, TaskID: d.TaskID, TaskState: d.TaskState,
		ContextID: d.ContextID, Dialect: d.Dialect, Error: d.Error, Outcome: d.Outcome, OutcomeAt: d.OutcomeAt, Prompt: d.Prompt, Answer: d.Answer,
		VerifyWindowSeconds: d.VerifyWindow.Seconds(), Skipped: d.Skipped, RetryOf: d.RetryOf, RequestedBy: d.RequestedBy, CancelRequestedBy: d.CancelRequestedBy,
		VerifyUntil: d.VerifyUntil, RecoveredAt: d.RecoveredAt, RecoveredIn: d.RecoveredIn(), RelapseSeconds: d.RelapsedAfter().Seconds(),
		StalledSince: d.StalledSince, Stop: d.Stop, StallAfterSeconds: d.StallAfter.Seconds(), OnStall: d.OnStall,
		QuestionID: d.QuestionID, NeedsApproval: d.NeedsApproval, Replies: d.Replies, Question: d.Question, HeldBack: (*HeldBack)(d.HeldBack),
	}
	if d.Outcome == delivery.OutcomeRecovered {
		shaped.RecoverySeconds = max(0, d.OutcomeAt.Sub(d.CreatedAt).Seconds())
	}
	if d.Usage.Reported() {
		shaped.Tokens = &Tokens{Total: d.Usage.Total, Prompt: d.Usage.Prompt, Completion: d.Usage.Completion}
	}
	if r := d.Reply; r != nil {
		shaped.Reply = &Reply{r.Text, r.Decision, r.By, r.At}
	}
	if d.State.Ended() {
		shaped.NextAt = time.Time{}
	}
	if json.Valid([]byte(d.Data)) {
		shaped.Data = json.RawMessage(d.Data)
	}
	return shaped
}

// LogOf is the JSON of a delivery's log, in its order; never nil.
func LogOf(entries []delivery.Entry) []LogEntry {
	shaped := make([]LogEntry, 0, len(entries))
	for _, e := range entries {
		shaped = append(shaped, LogEntry{At: e.At, Kind: e.Kind, State: e.State, By: e.By, Name: e.Name, Text: e.Text, Truncated: e.Truncated})
	}
	return shaped
}
