package v1alpha2

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// HookSpec says which events call which agents.
type HookSpec struct {
	// EventConfigurations lists the events to watch for in the Hook's namespace, and the agent
	// to call for each. At least one, at most 50. Two configurations may name the same event
	// type: both are called.
	// +kubebuilder:validation:Required
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=50
	// +listType=atomic
	// +kubebuilder:validation:XValidation:rule="self.all(c, !has(c.name) || self.exists_one(other, has(other.name) && other.name == c.name))",message="two configurations have the same name: names must be unique within the Hook"
	EventConfigurations []EventConfiguration `json:"eventConfigurations"`

	// Suspend stops all calls of this Hook. Events are still recorded, with the disposition
	// "suspended".
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// MaxCallsPerHour is how often this Hook may call agents within an hour, all its configurations
	// together. What is held back has the disposition "over-budget", and the agent is told of it
	// with the next call. No limit if unset.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	MaxCallsPerHour *int32 `json:"maxCallsPerHour,omitempty"`

	// MaxTokensPerDay is how many tokens of the language model the agents' tasks of this Hook may have
	// taken within 24 hours; further calls are held back as with maxCallsPerHour. What a task takes is known
	// once its agent tells, so a call that is under way goes on. Agents that report no tokens count as none.
	// No limit if unset.
	// +optional
	// +kubebuilder:validation:Minimum=1
	MaxTokensPerDay *int64 `json:"maxTokensPerDay,omitempty"`

	// OnePerCause makes the Hook call for the cause only, when one event causes another (an
	// OOM kill causes a restart) and the Hook names both. The agent gets the effects as data.
	// Set it to false to be called for each.
	// +optional
	// +kubebuilder:default=true
	OnePerCause *bool `json:"onePerCause,omitempty"`
}

// GroupBy says which failing resources share one call.
// +kubebuilder:validation:Enum=workload;resource;node
type GroupBy string

// The ways of grouping.
const (
	// GroupByWorkload makes one call for all Pods of a Deployment, StatefulSet and so on.
	GroupByWorkload GroupBy = "workload"
	// GroupByResource makes one call for each Pod.
	GroupByResource GroupBy = "resource"
	// GroupByNode makes one call for all Pods on a node.
	GroupByNode GroupBy = "node"
)

// EventConfiguration names one event type, the agent to call for it, and what to ask.
// +kubebuilder:validation:XValidation:rule="has(self.agentId) || has(self.agentRef)",message="name the agent to call: set agentId (\"namespace/name\" or \"name\") or agentRef"
// +kubebuilder:validation:XValidation:rule="!(has(self.agentId) && has(self.agentRef))",message="agentId and agentRef both name an agent: keep one and remove the other"
// +kubebuilder:validation:XValidation:rule="!has(self.dedupWindow) || duration(self.dedupWindow) >= duration('1s') && duration(self.dedupWindow) <= duration('24h')",message="dedupWindow must be from 1s to 24h",fieldPath=".dedupWindow"
// +kubebuilder:validation:XValidation:rule="!has(self.groupWait) || duration(self.groupWait) >= duration('0s') && duration(self.groupWait) <= duration('1h')",message="groupWait must be from 0s to 1h",fieldPath=".groupWait"
// +kubebuilder:validation:XValidation:rule="!has(self.verifyWindow) || duration(self.verifyWindow) >= duration('1s') && duration(self.verifyWindow) <= duration('24h')",message="verifyWindow must be from 1s to 24h",fieldPath=".verifyWindow"
// +kubebuilder:validation:XValidation:rule="!has(self.stallAfter) || duration(self.stallAfter) >= duration('1m') && duration(self.stallAfter) <= duration('24h')",message="stallAfter must be from 1m to 24h",fieldPath=".stallAfter"
// +kubebuilder:validation:XValidation:rule="!has(self.timeout) || duration(self.timeout) >= duration('10s') && duration(self.timeout) <= duration('24h')",message="timeout must be from 10s to 24h",fieldPath=".timeout"
type EventConfiguration struct {
	// Name tells the configuration from the others of its Hook, so that an edit of it or of its place in
	// the list takes nothing from its history: dedup, budget and loop guard go on. Lower-case letters,
	// digits and '-', at most 63. Without one khook knows it by what it is about (event type, agent,
	// selector, match, groupBy).
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')",message="name must be lower-case letters, digits and '-', and must begin and end with a letter or digit"
	Name string `json:"name,omitempty"`

	// EventType is the kind of event: pod-restart, pod-pending, oom-kill or probe-failed.
	// +kubebuilder:validation:Required
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self in ['pod-restart', 'pod-pending', 'oom-kill', 'probe-failed']",message="unknown event type: use pod-restart, pod-pending, oom-kill or probe-failed"
	EventType string `json:"eventType"`

	// AgentId names the agent as "namespace/name", or "name" for one in the Hook's namespace.
	// Either agentId or agentRef must be set.
	// +optional
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:XValidation:rule="size(self) > 0",message="agentId is empty: write the agent's \"namespace/name\" or \"name\""
	// +kubebuilder:validation:XValidation:rule="size(self) == 0 || self.matches('^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/)?[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$')",message="agentId must be \"namespace/name\" or \"name\", in lower-case letters, digits, '-' and '.'"
	AgentId *string `json:"agentId,omitempty"` //nolint:revive // the contract spells it so

	// AgentRef names the agent by an object, as the original khook's manifests do.
	// +optional
	AgentRef *ObjectReference `json:"agentRef,omitempty"`

	// Prompt is what the agent is asked: a Go template over the variables of the event, such
	// as {{.ResourceName}}, {{.Namespace}}, {{.EventTime}} and {{.EventMessage}}. At most
	// 10,000 characters.
	// +kubebuilder:validation:Required
	// +kubebuilder:validation:MaxLength=10000
	// +kubebuilder:validation:XValidation:rule="size(self) > 0",message="prompt is empty: write what the agent should do"
	Prompt string `json:"prompt"`

	// PlainValues asks for a prompt that shows what the cluster says (messages, reasons, names) as it
	// is, without the marks that tell the agent that it is data and never an instruction. It counts
	// only where the operator allows it (--allow-plain-values); elsewhere the values stay marked,
	// and the condition Ready says so. False if unset.
	// +optional
	PlainValues bool `json:"plainValues,omitempty"`

	// Selector restricts the configuration to Pods with these labels.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`

	// Match restricts the configuration to events for which this CEL expression is true. It
	// sees the variable event, with the fields type, reason, message, namespace, name,
	// container, node, workloadKind, workloadName, restartCount, exitCode, count and labels,
	// such as: event.restartCount >= 3 && event.exitCode != 0. The reason is OOMKilled for oom-kill;
	// LivenessProbeFailed, ReadinessProbeFailed or StartupProbeFailed for probe-failed; and worded by
	// Kubernetes and container runtimes for pod-restart, such as Error, Completed or StartError, and for
	// pod-pending, such as Unschedulable, ImagePullBackOff or FailedMount.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Match string `json:"match,omitempty"`

	// DedupWindow is how long a call keeps further events of its group from calling the agent
	// again. From 1s to 24h; 10m if unset.
	// +optional
	DedupWindow *metav1.Duration `json:"dedupWindow,omitempty"`

	// GroupBy says which failing Pods share one call: those of a workload (the default), each
	// one alone (resource), or those of a node.
	// +optional
	// +kubebuilder:default=workload
	GroupBy GroupBy `json:"groupBy,omitempty"`

	// GroupWait is how long a call waits for further failures of its group, so that one call tells
	// of them all. From 0s to 1h; 0s if unset.
	// +optional
	GroupWait *metav1.Duration `json:"groupWait,omitempty"`

	// EvenIfRecovered calls the agent also when everything that the call is about has ended before
	// it can be made, as after an outage of kagent. False if unset: such events have the
	// disposition "recovered-before".
	// +optional
	EvenIfRecovered bool `json:"evenIfRecovered,omitempty"`

	// VerifyWindow is how long the failures are watched after the agent's end, to see whether they
	// recovered. From 1s to 24h; the controller's --verify-window (10m) if unset.
	// +optional
	VerifyWindow *metav1.Duration `json:"verifyWindow,omitempty"`

	// MaxCallsPerHour is how often this configuration may call its agent within an hour. What
	// is held back has the disposition "over-budget", and the agent is told of it with the next
	// call. No limit if unset.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	MaxCallsPerHour *int32 `json:"maxCallsPerHour,omitempty"`

	// Timeout is how long the agent may take for its task, from the call on. From 10s to 24h;
	// 1h if unset.
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`

	// StallAfter is how long nothing new may be seen of the agent's task (no state, no message, no
	// artifact) before it is told as stalled, as when the agent has died. From 1m to 24h; 15m if unset.
	// A stalled task is never ended before its timeout.
	// +optional
	StallAfter *metav1.Duration `json:"stallAfter,omitempty"`

	// OnStall says what is done about a stalled task: wait leaves it to a person (the default), cancel
	// asks the agent to stop, and retry does that and calls the agent again, once, when the task has ended.
	// +optional
	OnStall OnStall `json:"onStall,omitempty"`
}

// OnStall says what is done about a stalled task.
// +kubebuilder:validation:Enum=wait;cancel;retry
type OnStall string

// What can be done about a stalled task.
const (
	// OnStallWait leaves it to a person.
	OnStallWait OnStall = "wait"
	// OnStallCancel asks the agent to stop.
	OnStallCancel OnStall = "cancel"
	// OnStallRetry asks the agent to stop, and calls it again once the task has ended.
	OnStallRetry OnStall = "retry"
)

// ObjectReference names an agent.
type ObjectReference struct {
	// Name of the agent.
	// +kubebuilder:validation:Required
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="size(self) > 0",message="agentRef.name is empty: write the agent's name"
	// +kubebuilder:validation:XValidation:rule="size(self) == 0 || self.matches('^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$')",message="agentRef.name must be lower-case letters, digits, '-' and '.'"
	Name string `json:"name"`

	// Namespace of the agent; the Hook's namespace if unset.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="size(self) == 0 || self.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')",message="agentRef.namespace must be lower-case letters, digits and '-'"
	Namespace *string `json:"namespace,omitempty"`
}

// HookStatus is what khook says of a Hook.
type HookStatus struct {
	// ActiveEvents are the events that are firing, and those that were resolved within the
	// last ten minutes; the newest first, at most 100.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	ActiveEvents []ActiveEventStatus `json:"activeEvents,omitempty"`

	// Active is how many events are firing, also where ActiveEvents does not list them all.
	// +optional
	Active int32 `json:"active"`

	// Suspended says what keeps the Hook from calling agents: "spec.suspend", or "paused" if a person has paused
	// its calls (khook pause); empty if nothing does.
	// +optional
	Suspended string `json:"suspended,omitempty"`

	// LastFired is when the Hook last made a call due.
	// +optional
	LastFired *metav1.Time `json:"lastFired,omitempty"`

	// LastUpdated is when the status was last written.
	// +optional
	LastUpdated metav1.Time `json:"lastUpdated,omitempty,omitzero"`

	// ObservedGeneration is the generation of the Hook that the status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions holds Ready, with the reason HookConfigured, InvalidConfiguration or
	// KagentAPIError; OverBudget while calls are held back because a budget is used up; LoopGuard while calls
	// pause because the same failure came back after each of the former ones; MatchTooCostly
	// while match expressions cost too much to be evaluated; Stalled while nothing new is seen of
	// the task of an agent; AgentAsks while an agent waits for a person; and Paused while a person has paused the calls.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// ActiveEventStatus is one active event.
type ActiveEventStatus struct {
	// EventType is the kind of event.
	EventType string `json:"eventType"`
	// ResourceName is the name of the Pod.
	ResourceName string `json:"resourceName"`
	// Container is the container of the Pod, if the event is about one.
	// +optional
	Container string `json:"container,omitempty"`
	// FirstSeen is when the event was first observed.
	FirstSeen metav1.Time `json:"firstSeen"`
	// LastSeen is when the event was last observed.
	LastSeen metav1.Time `json:"lastSeen"`
	// Status is firing or resolved.
	// +kubebuilder:validation:Enum=firing;resolved
	Status string `json:"status"`
}

// The condition of a Hook and its reasons.
const (
	ConditionReady = "Ready"

	ReasonHookConfigured       = "HookConfigured"       // Ready is True
	ReasonInvalidConfiguration = "InvalidConfiguration" // Ready is False: the message says what to change
	ReasonKagentAPIError       = "KagentAPIError"       // Ready is False: kagent or an agent can't be reached

	// ConditionOverBudget is True while calls are held back because a budget is used up.
	ConditionOverBudget   = "OverBudget"
	ReasonMaxTokensPerDay = "MaxTokensPerDay" //nolint:gosec // OverBudget is True: the Hook's tokens of 24 hours are used up
	ReasonMaxCallsPerHour = "MaxCallsPerHour" // OverBudget is True: the message names the limit
	ReasonWithinBudget    = "WithinBudget"    // OverBudget is False

	// ConditionLoopGuard is True while calls pause because a failure came back after each of them.
	ConditionLoopGuard = "LoopGuard"
	ReasonNeedsPerson  = "NeedsPerson" // LoopGuard is True: only a person lets the next call through
	ReasonPausing      = "Pausing"     // LoopGuard is True: the next call waits
	ReasonNoLoop       = "NoLoop"      // LoopGuard is False

	// ConditionMatchTooCostly is True while events could not be matched because evaluating the match
	// expressions costs too much.
	ConditionMatchTooCostly = "MatchTooCostly"
	ReasonOverMatchBudget   = "OverMatchBudget"   // MatchTooCostly is True: the message names the configuration
	ReasonWithinMatchBudget = "WithinMatchBudget" // MatchTooCostly is False
)

// The condition about tasks of which nothing new is seen, and its reasons.
const (
	ConditionStalled    = "Stalled"
	ReasonTaskSilent    = "TaskSilent"      // Stalled is True: nothing new was seen of a task for stallAfter
	ReasonCantBeStopped = "CannotBeStopped" // Stalled is True: a task did not end after its agent was asked to stop; a person is asked
	ReasonNoTaskStalled = "NoTaskStalled"   // Stalled is False
)

// The condition about agents that wait for a person, and its reasons.
const (
	ConditionAgentAsks = "AgentAsks"
	ReasonQuestionOpen = "QuestionOpen" // AgentAsks is True: an agent waits for an answer
	ReasonApprovalOpen = "ApprovalOpen" // AgentAsks is True: an agent waits for an approval
	ReasonNobodyAsks   = "NobodyAsks"   // AgentAsks is False
)

// The condition about calls that a person has paused, and its reasons.
const (
	ConditionPaused      = "Paused"
	ReasonPausedByPerson = "PausedByPerson" // Paused is True: who, since when, until when and why is in the message
	ReasonResumed        = "Resumed"        // Paused is False
)

// What HookStatus.Suspended says.
const (
	SuspendedBySpec  = "spec.suspend"
	SuspendedByPause = "paused" // a person has paused the calls; the condition Paused says who
)

// AnnotationResumedAt lets the loop guard forget the calls of a Hook from before a time, in RFC 3339:
// a person has looked at the failure, and the agent may be called again. A time that has not come
// yet does not count.
const AnnotationResumedAt = "kagent.dev/resumed-at"

// Hook calls agents for events in its namespace.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=hk,categories=kagent
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,priority=1
// +kubebuilder:printcolumn:name="Suspended",type=string,JSONPath=`.status.suspended`
// +kubebuilder:printcolumn:name="Active",type=integer,JSONPath=`.status.active`
// +kubebuilder:printcolumn:name="Last Fired",type=date,JSONPath=`.status.lastFired`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Hook struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says which events call which agents.
	// +kubebuilder:validation:Required
	Spec HookSpec `json:"spec"`

	// Status is what khook says of the Hook.
	// +optional
	Status HookStatus `json:"status,omitempty"`
}

// HookList is a list of Hooks.
//
// +kubebuilder:object:root=true
type HookList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Hook `json:"items"`
}
