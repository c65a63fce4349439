package incident

import (
	"log/slog"
	"time"
)

// HookRef names a Hook.
type HookRef struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// String is "namespace/name".
func (h HookRef) String() string { return h.Namespace + "/" + h.Name }

// LogValue is how a log shows it.
func (h HookRef) LogValue() slog.Value { return slog.StringValue(h.String()) }

// AgentRef names an agent of kagent.
type AgentRef struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// String is "namespace/name".
func (a AgentRef) String() string { return a.Namespace + "/" + a.Name }

// LogValue is how a log shows it.
func (a AgentRef) LogValue() slog.Value { return slog.StringValue(a.String()) }

// DeliveryState is how far a delivery has come.
type DeliveryState string

// The states of deliveries, in the order in which they are passed.
const (
	Pending       DeliveryState = "pending"        // waits for its call
	Calling       DeliveryState = "calling"        // the message may have been sent, its answer is not known
	Working       DeliveryState = "working"        // the agent has a task for it
	InputRequired DeliveryState = "input-required" // the agent waits for a person
	Succeeded     DeliveryState = "succeeded"      // the agent completed its task
	Failed        DeliveryState = "failed"         // the call or the task failed for good
	Rejected      DeliveryState = "rejected"       // the agent refused the task
	Canceled      DeliveryState = "canceled"       // the task was canceled
	Expired       DeliveryState = "expired"        // the time limit passed
)

// Ended says whether the state is final.
func (s DeliveryState) Ended() bool {
	switch s {
	case Succeeded, Failed, Rejected, Canceled, Expired:
		return true
	}
	return false
}

// DeliveryStates lists all states in order.
func DeliveryStates() []DeliveryState {
	return []DeliveryState{Pending, Calling, Working, InputRequired, Succeeded, Failed, Rejected, Canceled, Expired}
}

// Outcome is what became of the incidents after the agent finished; empty until it is known.
type Outcome string

// The outcomes of deliveries.
const (
	OutcomeRecovered  Outcome = "recovered"  // all its incidents ended as recovered
	OutcomePersisting Outcome = "persisting" // one was still open after the verify window
	OutcomeUnknown    Outcome = "unknown"    // they ended, but nothing healthy was seen
)

// Bounds of the texts that a delivery keeps; longer ones are cut, with a mark.
const (
	MaxPrompt   = 32 << 10 // bytes of Delivery.Prompt
	MaxData     = 64 << 10 // bytes of Delivery.Data
	MaxAnswer   = 64 << 10 // bytes of Delivery.Answer
	MaxError    = 1 << 10  // bytes of Delivery.Error
	MaxQuestion = 16 << 10 // bytes of Delivery.Question
	MaxReply    = 16 << 10 // bytes of Reply.Text
	MaxPerson   = 256      // bytes of a person's name
)

// Skip says why a delivery that was due did not call its agent; empty if it did or may have.
type Skip string

// The reasons for which agents are not called after all.
const (
	SkipRecovered Skip = "recovered-before" // its incidents ended before its agent was called
	SkipSuspended Skip = "hook-suspended"
	SkipDeleted   Skip = "hook-deleted"
	SkipForbidden Skip = "agent-forbidden" // the policy does not allow the agent any more
	SkipCanceled  Skip = "canceled"        // a person did not want it
)

// Delivery is one call to one agent, for one hook configuration, about one group of incidents.
type Delivery struct {
	// ID is a UUID derived from the hook, the configuration, the group and the event that
	// made it due. The A2A message ID and context ID are derived from it in turn.
	ID      string        `json:"id"`
	Cluster string        `json:"cluster,omitempty"`
	State   DeliveryState `json:"state"`

	Hook       HookRef   `json:"hook"`
	HookUID    string    `json:"hookUid"`
	Config     string    `json:"config"` // the event type, with "#2" and so on for further ones of that type
	EventType  EventType `json:"eventType"`
	Group      string    `json:"group"` // such as "Deployment/shop" or "Pod/shop-1" or "Node/n1", in the hook's namespace
	Agent      AgentRef  `json:"agent"`
	IncidentID string    `json:"incidentId"` // the incident whose event made it due
	CatchUp    bool      `json:"catchUp,omitempty"`

	Prompt  string        `json:"prompt"`
	Data    string        `json:"data,omitempty"` // the structured part as JSON; set when it is sent
	Timeout time.Duration `json:"timeout"`        // for the agent's task, from CalledAt on

	EvenIfRecovered bool          `json:"evenIfRecovered,omitempty"` // also call when the incidents ended before the call
	VerifyWindow    time.Duration `json:"verifyWindow,omitempty"`    // how long the incidents are watched after the agent's end; the default if zero
	HeldBack        *HeldBack     `json:"heldBack,omitempty"`        // what was not delivered before, for want of budget or because of the loop guard
	RetryOf         string        `json:"retryOf,omitempty"`         // the delivery that a person wanted again
	By              string        `json:"by,omitempty"`              // the person who wanted it
	Skipped         Skip          `json:"skipped,omitempty"`         // why its agent was not called after all

	Attempt   int       `json:"attempt"` // sends that were begun
	CreatedAt time.Time `json:"createdAt"`
	NextAt    time.Time `json:"nextAt,omitzero"` // when its next step is due
	CalledAt  time.Time `json:"calledAt,omitzero"`
	EndedAt   time.Time `json:"endedAt,omitzero"`

	Dialect   string `json:"dialect,omitempty"` // of the kagent that took it
	ContextID string `json:"contextId,omitempty"`
	TaskID    string `json:"taskId,omitempty"`
	TaskState string `json:"taskState,omitempty"` // as the agent last told it
	Answer    string `json:"answer,omitempty"`

	// Why it failed or waits, in a sentence. Failure is in khook's own words, for everybody who may know of
	// the delivery; Error may quote what kagent or the agent said, for those who may read its texts.
	Failure string `json:"failure,omitempty"`
	Error   string `json:"error,omitempty"`

	Question   string `json:"question,omitempty"`   // what the agent waits for, while it does
	QuestionID string `json:"questionId,omitempty"` // of that question
	Approval   bool   `json:"approval,omitempty"`   // it is to be approved or rejected
	Replies    int    `json:"replies,omitempty"`    // that people gave so far
	Reply      *Reply `json:"reply,omitempty"`      // one that has not reached the agent yet
	CancelBy   string `json:"cancelBy,omitempty"`   // the person who wants it to end, until it does

	Outcome   Outcome   `json:"outcome,omitempty"`
	OutcomeAt time.Time `json:"outcomeAt,omitzero"`

	// Version is the number of the change that the row is of, 0 for a delivery that is not
	// recorded. A row that was changed since can't be overwritten.
	Version int64 `json:"-"`
}

// MayHaveArrived says whether the agent may have got the message, as far as is known.
func (d *Delivery) MayHaveArrived() bool {
	return d.State != Pending || d.TaskID != "" || d.CatchUp && d.Attempt > 0
}

// MessageID is the A2A message ID of the delivery: the same at each attempt.
func (d *Delivery) MessageID() string { return DeriveID("message", d.ID) }

// SessionID is the A2A context ID that the client chooses where it may: the same at each attempt.
func (d *Delivery) SessionID() string { return DeriveID("session", d.ID) }

// MaxWait is how long a delivery waits for its agent to be reached before it expires.
const MaxWait = 24 * time.Hour

// Deadline is when the delivery expires: Timeout after the call, or MaxWait after it was made due
// while its agent has not been reached.
func (d *Delivery) Deadline() time.Time {
	if d.State == Pending || d.State == Calling || d.CalledAt.IsZero() {
		return d.CreatedAt.Add(MaxWait)
	}
	return d.CalledAt.Add(d.Timeout)
}

// Disposition says why a hook did or did not call its agent for an event.
type Disposition string

// The dispositions.
const (
	Delivered       Disposition = "delivered"        // it made a delivery due
	DupOfOpen       Disposition = "duplicate"        // it repeated an incident that was delivered, within the window
	Grouped         Disposition = "grouped"          // another incident of its group was delivered, within the window
	Explained       Disposition = "explained"        // the hook calls for the cause
	OverBudget      Disposition = "over-budget"      // a limit of calls in an hour is used up
	LoopGuard       Disposition = "loop-guard"       // the group was delivered again and again
	RecoveredBefore Disposition = "recovered-before" // it ended before its agent could be called
	Suspended       Disposition = "suspended"        // spec.suspend
	InvalidConfig   Disposition = "invalid"          // the configuration can't be used; the Ready condition says why
)

// Dispositions lists all dispositions.
func Dispositions() []Disposition {
	return []Disposition{Delivered, DupOfOpen, Grouped, Explained, OverBudget, LoopGuard, RecoveredBefore, Suspended, InvalidConfig}
}

// Decision is the disposition of one event for one hook configuration.
type Decision struct {
	EventID     int64       `json:"eventId"`
	IncidentID  string      `json:"incidentId"`
	Hook        HookRef     `json:"hook"`
	HookUID     string      `json:"hookUid"`
	Config      string      `json:"config"`
	Disposition Disposition `json:"disposition"`
	DeliveryID  string      `json:"deliveryId,omitempty"` // the delivery that covers the event, if any
	At          time.Time   `json:"at"`
}
