package delivery

import (
	"log/slog"
	"time"

	"github.com/kagent-dev/khook/internal/incident"
)

// HookRef names a Hook.
type HookRef struct {
	Namespace string
	Name      string
}

// String is "namespace/name".
func (h HookRef) String() string { return h.Namespace + "/" + h.Name }

// LogValue is how a log shows it.
func (h HookRef) LogValue() slog.Value { return slog.StringValue(h.String()) }

// AgentRef names an agent of kagent.
type AgentRef struct {
	Namespace string
	Name      string
}

// String is "namespace/name".
func (a AgentRef) String() string { return a.Namespace + "/" + a.Name }

// LogValue is how a log shows it.
func (a AgentRef) LogValue() slog.Value { return slog.StringValue(a.String()) }

// State is how far a delivery has come.
type State string

// The states of deliveries, in the order in which they are passed.
const (
	Pending       State = "pending"        // waits for its call
	Calling       State = "calling"        // the message may have been sent, its answer is not known
	Working       State = "working"        // the agent has a task for it
	InputRequired State = "input-required" // the agent waits for a person
	Succeeded     State = "succeeded"      // the agent completed its task
	Failed        State = "failed"         // the call or the task failed for good
	Rejected      State = "rejected"       // the agent refused the task
	Canceled      State = "canceled"       // the task was canceled
	Expired       State = "expired"        // the time limit passed
)

// Ended says whether the state is final.
func (s State) Ended() bool {
	switch s {
	case Succeeded, Failed, Rejected, Canceled, Expired:
		return true
	}
	return false
}

// States lists all states in order.
func States() []State {
	return []State{Pending, Calling, Working, InputRequired, Succeeded, Failed, Rejected, Canceled, Expired}
}

// Outcome is what became of the incidents after the agent finished; empty until it is known.
type Outcome string

// The outcomes of deliveries.
const (
	OutcomeRecovered  Outcome = "recovered"  // all its incidents ended as recovered
	OutcomeRelapsed   Outcome = "relapsed"   // they recovered, and it failed again within the verify window
	OutcomePersisting Outcome = "persisting" // one was still open after the verify window
	OutcomeUnknown    Outcome = "unknown"    // they ended, but nothing healthy was seen; or their nodes are not heard of
)

// Outcomes lists all outcomes.
func Outcomes() []Outcome {
	return []Outcome{OutcomeRecovered, OutcomeRelapsed, OutcomePersisting, OutcomeUnknown}
}

// MaxDown is how long after the end of its window an outcome is still decided, if khook was down: later nobody can say what was at
// the end.
const MaxDown = 24 * time.Hour

// Phase is how far a delivery had come when its incidents recovered: what they recovered by can't be the agent's work before
// it was called.
type Phase string

// The phases, in their order.
const (
	BeforeCall Phase = "before-call" // the message had not left
	DuringTask Phase = "during-task" // the agent worked
	AfterTask  Phase = "after-task"  // the agent had ended
)

// Phases lists all phases.
func Phases() []Phase { return []Phase{BeforeCall, DuringTask, AfterTask} }

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
	ID      string
	Cluster string
	State   State

	Hook       HookRef
	HookUID    string
	Config     string // the key of the Hook's configuration, see Configuration
	EventType  incident.EventType
	Group      string // such as "Deployment/shop" or "Pod/shop-1" or "Node/n1", in the hook's namespace
	Workload   string // of the incident, such as "Deployment/shop": the loop guard counts calls by it too
	Agent      AgentRef
	IncidentID string // the incident whose event made it due
	CatchUp    bool   // it is about what had happened before khook started

	Prompt  string
	Data    string        // the structured part as JSON; set when it is sent
	Timeout time.Duration // for the agent's task, from CalledAt on

	EvenIfRecovered bool          // also call when the incidents ended before the call
	VerifyWindow    time.Duration // how long the incidents are watched after the agent's end; the default if zero
	StallAfter      time.Duration // how long nothing new may be seen of the task before it is stalled; DefaultStallAfter if zero
	OnStall         OnStall       // what is done about it then
	HeldBack        *HeldBack     // what was not delivered before, because a budget was used up or the loop guard objected
	RetryOf         string        // the delivery that a person wanted again
	RequestedBy     string        // the person who wanted it
	Skipped         Skip          // why its agent was not called after all

	Attempt   int   // to send it, also those that found no way to kagent
	Sent      *Sent // the message that may be with the agent; nil if certainly none is
	CreatedAt time.Time
	NextAt    time.Time // when its next step is due
	CalledAt  time.Time
	EndedAt   time.Time

	Dialect   string // of the kagent that it was sent to
	ContextID string
	TaskID    string
	TaskState string // as the agent last told it
	Answer    string
	Usage     Usage // tokens of the task so far

	HeardAt      time.Time // when something new was last seen of the task
	HeardSum     int64     // digest of what was seen of it; 0 if an earlier khook did not keep it
	StalledSince time.Time // HeardAt while it is stalled: nothing new was seen of the task since, for StallAfter or longer
	Stop         Stop      // how far khook has come with stopping it, if it is to
	StopAt       time.Time // when its agent was asked to stop; before that, when khook began to

	// Why it failed or waits, in a sentence. Failure is in khook's own words, for everybody who may know of
	// the delivery; Error may quote what kagent or the agent said, for those who may read its texts.
	Failure string
	Error   string

	Question          string    // what the agent waits for, while it does
	QuestionID        string    // of that question
	NeedsApproval     bool      // it must be approved or rejected
	Replies           int       // that people gave so far
	Reply             *Reply    // one that has not reached the agent yet
	CancelRequestedBy string    // the person who wants it to end, until it does
	CancelTries       int       // how often the agent was asked to stop, and did not
	CancelAt          time.Time // when it was last asked

	// VerifyUntil is the end of the window after which the outcome is decided, from the agent's end on; zero if none
	// is to come.
	VerifyUntil time.Time
	// RecoveredAt is when its incidents had recovered, the last of them; if it failed again, the last time before. It is
	// known before the outcome where it was seen that the workload of deleted resources was healthy.
	RecoveredAt time.Time
	Outcome     Outcome
	OutcomeAt   time.Time // when it became so: when they had recovered, or when it failed again

	// Version is the number of the change that the row is of, 0 for a delivery that is not
	// recorded. A row that was changed since can't be overwritten.
	Version int64
}

// MayHaveArrived says whether the agent may have got the message, as far as is known.
func (d *Delivery) MayHaveArrived() bool {
	return d.State != Pending || d.Sent != nil || d.TaskID != ""
}

// RecoveredIn says when the incidents of a delivery recovered; empty unless that is its outcome. Of a message that was sent again it is the
// last time that counts: an agent is rather denied a recovery than given one.
func (d *Delivery) RecoveredIn() Phase {
	switch {
	case d.Outcome != OutcomeRecovered:
		return ""
	case d.CalledAt.IsZero() || !d.RecoveredAt.After(d.CalledAt):
		return BeforeCall
	case !d.RecoveredAt.After(d.EndedAt):
		return DuringTask
	}
	return AfterTask
}

// RelapsedAfter is how long it was well before it failed again; 0 unless that is its outcome.
func (d *Delivery) RelapsedAfter() time.Duration {
	if d.Outcome != OutcomeRelapsed {
		return 0
	}
	return d.OutcomeAt.Sub(d.RecoveredAt)
}

// MessageID is the A2A message ID of the delivery: the same at each attempt.
func (d *Delivery) MessageID() string { return incident.DeriveID("message", d.ID) }

// SessionID is the A2A context ID that the client chooses where it may: the same at each attempt.
func (d *Delivery) SessionID() string { return incident.DeriveID("session", d.ID) }

// MaxWait is how long a delivery waits for its agent to be reached before it expires.
const MaxWait = 24 * time.Hour

// Deadline is when the delivery expires: Timeout after the call, or MaxWait after it was created
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
	Duplicate       Disposition = "duplicate"        // it repeated an incident that was delivered, within the window
	Grouped         Disposition = "grouped"          // another incident of its group was delivered, within the window
	Explained       Disposition = "explained"        // the hook calls for the cause
	OverBudget      Disposition = "over-budget"      // a limit of calls or tokens is used up
	LoopGuard       Disposition = "loop-guard"       // the group was delivered again and again
	RecoveredBefore Disposition = "recovered-before" // it ended before its agent could be called
	Suspended       Disposition = "suspended"        // spec.suspend
	Paused          Disposition = "paused"           // a person stopped the calls for a while, see Pause
	Invalid         Disposition = "invalid"          // the configuration can't be used; the Ready condition says why
)

// Dispositions lists all dispositions.
func Dispositions() []Disposition {
	return []Disposition{Delivered, Duplicate, Grouped, Explained, OverBudget, LoopGuard, RecoveredBefore, Suspended, Paused, Invalid}
}

// MadeFor is what a decision was made for.
type MadeFor string

// What decisions are made for. All but the first make a call without a new event.
const (
	ForEvent   MadeFor = "event"    // one occurrence
	ForOngoing MadeFor = "ongoing"  // a sign that the incident goes on, after the window of the last call
	ForRelease MadeFor = "released" // what held the call back is over: a budget, or the loop guard's pause
	ForResume  MadeFor = "resumed"  // a person let calls through again
	ForRetry   MadeFor = "retried"  // a person wanted the call once more
	ForStall   MadeFor = "stalled"  // the task of the call before stalled, and has ended since
)

// Decision is the disposition of one event for one hook configuration; or of a call that no event asked for, whose
// disposition is always Delivered.
type Decision struct {
	EventID     int64 // 0 if it was not made for an event
	MadeFor     MadeFor
	EventType   incident.EventType
	IncidentID  string
	Hook        HookRef
	HookUID     string
	Config      string
	Disposition Disposition
	DeliveryID  string // the delivery that covers the event, if any
	At          time.Time
}
