package incident

import (
	"time"
)

// EventType is a kind of problem that a Hook can name.
type EventType string

// The event types of the Hook API.
const (
	PodRestart  EventType = "pod-restart"  // a container of the Pod restarted
	PodPending  EventType = "pod-pending"  // the Pod is stuck in phase Pending
	OOMKill     EventType = "oom-kill"     // a container was killed because it ran out of memory
	ProbeFailed EventType = "probe-failed" // a liveness, readiness or startup probe failed
)

// EventTypes lists all event types, in the order of the Hook API.
func EventTypes() []EventType {
	return []EventType{PodRestart, PodPending, OOMKill, ProbeFailed}
}

// Valid says whether t is a known event type.
func (t EventType) Valid() bool {
	switch t {
	case PodRestart, PodPending, OOMKill, ProbeFailed:
		return true
	}
	return false
}

// SignalKind says what a Signal observed.
type SignalKind string

// The kinds of signals.
const (
	// Observed is one occurrence of an event type. It becomes an Event, once per Key.
	Observed SignalKind = "observed"
	// Ongoing says that the problem is still seen, without a new occurrence: it keeps the
	// incident from ending as quiet. It makes no Event.
	Ongoing SignalKind = "ongoing"
	// Unheard says that nothing is heard, since At, of what could tell whether the problem goes on, such as a node
	// that is lost: it keeps the incident from ending as quiet, and nothing else.
	Unheard SignalKind = "unheard"
	// Heard takes Unheard back.
	Heard SignalKind = "heard"
	// Healthy says that the resource was seen healthy again: the incident of Type on
	// Resource and Container ends as recovered.
	Healthy SignalKind = "healthy"
	// Gone says that the resource was deleted: all its incidents end as gone. Type and
	// Container are empty.
	Gone SignalKind = "gone"
)

// Resource is the object that a signal is about.
type Resource struct {
	Kind      string `json:"kind"` // "Pod"
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
}

// Workload is the controller that owns a resource, or the resource itself if nothing owns it.
type Workload struct {
	Kind string `json:"kind"` // Deployment, StatefulSet, DaemonSet, Job, CronJob, ..., Pod
	Name string `json:"name"`
}

// String is "Kind/Name".
func (w Workload) String() string { return w.Kind + "/" + w.Name }

// Bounds of the texts that a signal carries; a source truncates, see Clean.
const (
	MaxMessage = 1024 // bytes of Signal.Message
	MaxReason  = 128  // bytes of Signal.Reason
)

// Observation is what was seen of a resource. Signals, events and incidents have it in common.
type Observation struct {
	Resource   Resource
	Container  string // "" if the whole resource is meant
	Workload   Workload
	Node       string     // "" while not scheduled
	Reason     string     // one CamelCase word, such as OOMKilled or Unschedulable
	Message    string     // a sentence for people; untrusted, cleaned and bounded
	Attributes Attributes // of the resource, by its kind
}

// Signal is one observation from a source.
type Signal struct {
	// Key identifies what was observed. It is deterministic: the same occurrence seen twice
	// (after a relist, a restart of khook, by a new leader) has the same key. Only Observed
	// signals need one; at most 253 bytes.
	Key  string
	Kind SignalKind
	Type EventType
	// At is when it happened, as the cluster tells it; when it was seen, if it does not.
	At time.Time
	Observation
	Count int32 // how many occurrences this one observation stands for; at least 1

	// Causes are the event types whose open incident on the same Pod caused this one, the
	// most likely first. Where CauseContainer is set, the cause is on that container.
	Causes         []EventType
	CauseContainer string

	// CatchUp marks what was found on the first list after a start: it may be the repetition
	// of something that an earlier khook knew.
	CatchUp bool
}
