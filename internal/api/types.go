package api

import (
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// Base is the path below which all routes are, but those of pprof.
const Base = "/api/v1"

// TokenHeader is the header of a request that carries the bearer token, bare, where Authorization does not arrive: the API server's proxy for
// Services authenticates by it, and takes it away.
const TokenHeader = "X-Khook-Token" //nolint:gosec // the name of a header

// Page is one page of a list.
type Page[T any] struct {
	Items             []T    `json:"items" nullable:"false" doc:"What was found, in the order of the sort parameter."`
	Total             int    `json:"total" doc:"How many there are in all, also beyond this page. Exact, unless totalIsLowerBound is set." minimum:"0"`
	TotalIsLowerBound bool   `json:"totalIsLowerBound,omitempty" doc:"There are more than total: they were not counted any further."`
	Limit             int    `json:"limit" doc:"The most items that the page could have."`
	Offset            int    `json:"offset" doc:"How many were passed over."`
	Next              string `json:"next,omitempty" doc:"The cursor of the next page; absent on the last one."`
}

// Workload is the controller that owns a resource.
type Workload struct {
	Kind string `json:"kind" doc:"Deployment, StatefulSet, DaemonSet, Job, CronJob and so on, or Pod if nothing owns it." example:"Deployment"`
	Name string `json:"name" example:"cart"`
}

// Name names an object in a namespace: a Hook or an agent.
type Name struct {
	Namespace string `json:"namespace" example:"shop"`
	Name      string `json:"name" example:"memory"`
}

// Subject is what an event or an incident is about.
type Subject struct {
	EventType    EventType `json:"eventType" doc:"The kind of problem."`
	Namespace    string    `json:"namespace" example:"shop"`
	ResourceKind string    `json:"resourceKind" example:"Pod"`
	ResourceName string    `json:"resourceName" doc:"Name of the Kubernetes resource." example:"cart-7d4b9c-x2x9k"`
	ResourceUID  string    `json:"resourceUid"`
	Container    string    `json:"container,omitempty" doc:"The container; absent if the whole Pod is meant."`
	Workload     Workload  `json:"workload" doc:"The controller that owns the resource, or the resource itself."`
	Node         string    `json:"node,omitempty"`
	Cluster      string    `json:"cluster,omitempty" doc:"Name of the cluster, if khook was given one."`
	Reason       string    `json:"reason" doc:"One word, such as OOMKilled or Unschedulable."`
	Message      string    `json:"message" doc:"What happened, in a sentence; at most 1,024 bytes."`
	RestartCount int32     `json:"restartCount"`
	ExitCode     *int32    `json:"exitCode,omitempty" doc:"Of the container's last termination, if there was one."`
}

// Event is khook's record of one occurrence.
type Event struct {
	ID         int64           `json:"id" doc:"Grows with the time of recording."`
	IncidentID string          `json:"incidentId" doc:"The incident that it opened or repeated."`
	Status     incident.Status `json:"status" enum:"firing,duplicate,resolved" doc:"firing: it opened an incident that is still open. duplicate: it repeated an open incident. resolved: it opened an incident that has ended."`
	Timestamp  time.Time       `json:"timestamp" doc:"When it happened, as the cluster tells it."`
	RecordedAt time.Time       `json:"recordedAt" doc:"When khook recorded it."`
	Subject
	Count        int32      `json:"count" doc:"How many occurrences this one record stands for."`
	ChangedAt    time.Time  `json:"changedAt,omitzero" required:"false" doc:"When the status became what it is, such as resolved; in live streams only."`
	Dispositions []Decision `json:"dispositions,omitempty" doc:"Why Hooks called or did not call their agents for it; only where one Hook or one incident is asked for."`
}

// Decision is why a Hook did or did not call its agent for an event.
type Decision struct {
	EventID     int64                `json:"eventId,omitempty" doc:"Absent if it was not made for an event."`
	MadeFor     delivery.MadeFor     `json:"madeFor" enum:"event,ongoing,released,resumed,retried,stalled" doc:"What it was made for: an event; a sign that the incident goes on; what held the call back is over; a person let calls through again; a person wanted the call once more; the task of the call before stalled, and has ended since. All but the first make a call."`
	Hook        Name                 `json:"hook"`
	Config      string               `json:"config" doc:"The Hook's configuration: its name or, if it has none, its event type with eight hex digits that stand for its event type, agent, selector, match and groupBy."`
	Disposition delivery.Disposition `json:"disposition" enum:"delivered,duplicate,grouped,explained,over-budget,loop-guard,recovered-before,suspended,paused,invalid"`
	DeliveryID  string               `json:"deliveryId,omitempty" doc:"The delivery that covers the event."`
	At          time.Time            `json:"at"`
}

// Incident is one problem on one resource, from its first event to its end.
type Incident struct {
	ID     string `json:"id"`
	Status string `json:"status" enum:"firing,resolved" doc:"firing while it is open."`
	Subject
	Labels          map[string]string   `json:"labels,omitempty" doc:"Of the Pod when the incident opened."`
	FirstSeen       time.Time           `json:"firstSeen"`
	LastSeen        time.Time           `json:"lastSeen" doc:"The newest event, or the newest sign that it goes on, as the cluster tells the time."`
	ObservedAt      time.Time           `json:"observedAt,omitzero" required:"false" doc:"When khook last saw either, by its own clock: it ends as quiet by that."`
	UnheardSince    time.Time           `json:"unheardSince,omitzero" required:"false" doc:"Since when nothing is heard of the Pod's node: nobody knows whether it goes on, and it does not end."`
	Reopenings      int64               `json:"reopenings,omitempty" doc:"How often it had ended as quiet, and was seen to go on."`
	ReopenedAt      time.Time           `json:"reopenedAt,omitzero" required:"false" doc:"When that was last."`
	ResolvedAt      time.Time           `json:"resolvedAt,omitzero" required:"false"`
	Resolution      incident.Resolution `json:"resolution,omitempty" enum:"recovered,quiet,gone" doc:"Why it ended."`
	DurationSeconds float64             `json:"durationSeconds" doc:"From the first event to the end, or to now."`
	CausedBy        string              `json:"causedBy,omitempty" doc:"ID of the incident that caused this one."`
	Events          int64               `json:"events" doc:"All its events, the duplicates included."`
	Duplicates      int64               `json:"duplicates"`
}

// IncidentDetail is an incident with its whole story.
type IncidentDetail struct {
	Incident
	Effects    []Incident      `json:"effects" nullable:"false" doc:"The incidents that this one caused."`
	Deliveries []Delivery      `json:"deliveries" nullable:"false" doc:"The calls that cover it, with prompt, answer and outcome."`
	Timeline   []TimelineEntry `json:"timeline" nullable:"false" doc:"What happened, in the order of time."`
	Truncated  bool            `json:"truncated,omitempty" doc:"There is more than the timeline shows."`
}

// TimelineEntry is one moment of an incident or a delivery.
type TimelineEntry struct {
	At         time.Time `json:"at"`
	Kind       string    `json:"kind" enum:"event,decision,delivery,resolution,reopened,unheard,notice" doc:"What the entry is about."`
	Text       string    `json:"text" doc:"A sentence for people."`
	Event      *Event    `json:"event,omitempty"`
	Decision   *Decision `json:"decision,omitempty"`
	DeliveryID string    `json:"deliveryId,omitempty"`
}

// Delivery is one call to one agent.
type Delivery struct {
	ID             string           `json:"id"`
	State          delivery.State   `json:"state" enum:"pending,calling,working,input-required,succeeded,failed,rejected,canceled,expired"`
	Cluster        string           `json:"cluster,omitempty"`
	Hook           Name             `json:"hook"`
	Config         string           `json:"config" doc:"The Hook's configuration: its name or, if it has none, its event type with eight hex digits that stand for its event type, agent, selector, match and groupBy."`
	EventType      EventType        `json:"eventType"`
	Group          string           `json:"group" doc:"What the call is about, such as Deployment/cart." example:"Deployment/cart"`
	Agent          Name             `json:"agent"`
	IncidentID     string           `json:"incidentId" doc:"The incident that it was scheduled for."`
	CatchUp        bool             `json:"catchUp,omitempty" doc:"It is about what had happened before khook started."`
	Attempt        int              `json:"attempt" doc:"How often the message was begun to be sent."`
	TimeoutSeconds float64          `json:"timeoutSeconds" doc:"How long the agent may take, from the call on."`
	CreatedAt      time.Time        `json:"createdAt" doc:"When it was scheduled."`
	NextAt         time.Time        `json:"nextAt,omitzero" required:"false" doc:"When its next step is due."`
	CalledAt       time.Time        `json:"calledAt,omitzero" required:"false"`
	EndedAt        time.Time        `json:"endedAt,omitzero" required:"false"`
	TaskID         string           `json:"taskId,omitempty" doc:"The agent's task; in lists, and where texts are withheld, only if it is a UUID."`
	TaskState      string           `json:"taskState,omitempty" doc:"As the agent last told it."`
	ContextID      string           `json:"contextId,omitempty" doc:"The agent's session."`
	Dialect        string           `json:"dialect,omitempty" doc:"Which version of kagent took it."`
	Error          string           `json:"error,omitempty" doc:"Why it failed or waits, in a sentence: in lists, and where texts are withheld, without what the agent said."`
	Outcome        delivery.Outcome `json:"outcome,omitempty" enum:"recovered,relapsed,persisting,unknown" doc:"What became of the incidents after the agent finished, decided at verifyUntil. relapsed: they recovered, and it failed again before."`
	OutcomeAt      time.Time        `json:"outcomeAt,omitzero" required:"false" doc:"When all had recovered or, if they did not, when it failed again or when that was found."`
	VerifyUntil    time.Time        `json:"verifyUntil,omitzero" required:"false" doc:"End of the window after which the outcome is decided; absent if none is to come."`
	RecoveredAt    time.Time        `json:"recoveredAt,omitzero" required:"false" doc:"When they had recovered, also if it failed again later."`
	RecoveredIn    delivery.Phase   `json:"recoveredIn,omitempty" enum:"before-call,during-task,after-task" doc:"Of the outcome recovered: whether that was before the message left, while the agent worked, or after it had ended."`
	RelapseSeconds float64          `json:"relapseSeconds,omitempty" doc:"Of the outcome relapsed: how long it was well before it failed again."`

	RecoverySeconds     float64          `json:"recoverySeconds,omitempty" doc:"How long after it was scheduled everything had recovered, if it did."`
	Tokens              *Tokens          `json:"tokens,omitempty" doc:"Tokens of the language model that the task took so far; absent while the agent has not reported any."`
	VerifyWindowSeconds float64          `json:"verifyWindowSeconds,omitempty" doc:"How long the incidents are watched after the agent's end, where the Hook says so."`
	Skipped             delivery.Skip    `json:"skipped,omitempty" enum:"recovered-before,hook-suspended,hook-deleted,agent-forbidden,canceled" doc:"Why the agent was not called after all."`
	RetryOf             string           `json:"retryOf,omitempty" doc:"The delivery that is asked again: a person wanted it, or its task had stalled."`
	RequestedBy         string           `json:"requestedBy,omitempty" doc:"Who wanted it again; khook where the Hook wants that of stalled tasks."`
	CancelRequestedBy   string           `json:"cancelRequestedBy,omitempty" doc:"Who wants it to end; absent once it has, and once the agent was told."`
	StalledSince        time.Time        `json:"stalledSince,omitzero" required:"false" doc:"Since when nothing new is seen of the agent's task, while it is stalled: for stallAfterSeconds or longer. Its state stays working."`
	Stop                delivery.Stop    `json:"stop,omitempty" enum:"asking,asked,in-vain,left" doc:"What khook does by itself about a stalled task: it asks the agent to stop; it has asked, and waits for the task's end; that was in vain, and a person is asked; or nothing more, because a person canceled the delivery."`
	StallAfterSeconds   float64          `json:"stallAfterSeconds,omitempty" doc:"How long nothing new may be seen of the task before it is stalled; 15 minutes if absent."`
	OnStall             delivery.OnStall `json:"onStall,omitempty" enum:"wait,cancel,retry" doc:"What is done about a stalled task."`
	QuestionID          string           `json:"questionId,omitempty" doc:"ID of the agent's question, while it waits for a person."`
	NeedsApproval       bool             `json:"needsApproval,omitempty" doc:"The question is to be approved or rejected."`
	Replies             int              `json:"replies,omitempty" doc:"How many answers people gave."`

	TextsWithheld string `json:"textsWithheld,omitempty" doc:"The caller may not read what was asked and said: prompt, data, answer, question, the text of a reply and the log's texts are left out. It says which right to ask for."`

	Question string    `json:"question,omitempty" doc:"What the agent asks, while it waits for a person; untrusted, and not in lists."`
	Reply    *Reply    `json:"reply,omitempty" doc:"A person's answer that has not reached the agent yet; not in lists."`
	HeldBack *HeldBack `json:"heldBack,omitempty" doc:"What the agent was not told of before, because the budget was used up, because of the loop guard or while calls were paused; not in lists."`

	Prompt string `json:"prompt,omitempty" doc:"What the agent was asked; not in lists."`
	Answer string `json:"answer,omitempty" doc:"What the agent answered; not in lists."`
	Data   any    `json:"data,omitempty" doc:"The structured part that went with the prompt; not in lists."`
}

// Tokens counts tokens of a language model, as an agent reported them.
type Tokens struct {
	Total      int64 `json:"total"`
	Prompt     int64 `json:"prompt" doc:"What the model read."`
	Completion int64 `json:"completion" doc:"What the model wrote, with what it thought."`
}

// Reply is a person's answer to an agent's question.
type Reply struct {
	Text     string           `json:"text,omitempty"`
	Decision delivery.Verdict `json:"decision,omitempty" enum:"approve,reject"`
	By       string           `json:"by"`
	At       time.Time        `json:"at"`
}

// HeldBack sums up the events for which an agent was not called.
type HeldBack struct {
	OverBudget int64     `json:"overBudget,omitempty" doc:"Events for which there was no budget."`
	LoopGuard  int64     `json:"loopGuard,omitempty" doc:"Events that the loop guard held back."`
	Paused     int64     `json:"paused,omitempty" doc:"Events while calls were paused."`
	Since      time.Time `json:"since"`
	Until      time.Time `json:"until"`
	Resources  []string  `json:"resources,omitempty" doc:"Names, at most 20."`
}

// LogEntry is one thing that happened in a delivery.
type LogEntry struct {
	At        time.Time          `json:"at"`
	Kind      delivery.EntryKind `json:"kind" enum:"call,state,message,artifact,tool-call,tool-answer,question,reply,person,stall,outcome,more" doc:"stall: nothing new was seen of the task for long, or something is again. more: further entries of the agent were not kept."`
	State     string             `json:"state,omitempty" doc:"Of the agent's task, or a person's decision."`
	By        string             `json:"by,omitempty" doc:"The person, or agent."`
	Name      string             `json:"name,omitempty" doc:"Of an artifact, or of a tool that the agent calls; untrusted."`
	Text      string             `json:"text,omitempty" doc:"Untrusted where it is the agent's; at most 16 KiB."`
	Truncated bool               `json:"truncated,omitempty" doc:"The text was longer."`
}

// DeliveryDetail is a delivery with its whole story.
type DeliveryDetail struct {
	Delivery
	Incidents []Incident      `json:"incidents" nullable:"false" doc:"The incidents that it covers; first the one that it was scheduled for."`
	Log       []LogEntry      `json:"log" nullable:"false" doc:"The conversation with the agent, and what people did; bounded."`
	Timeline  []TimelineEntry `json:"timeline" nullable:"false" doc:"What happened, in the order of time."`
}
