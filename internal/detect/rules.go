package detect

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kagent-dev/khook/internal/incident"
)

// A rule decides what one look at a Pod means: from what was known and what is seen now to what is
// known then, and the signals that say so. It is a pure function. It changes neither known nor what
// that points to, but returns a changed copy, and reads no clock but seen.now: the same look at the same state
// always means the same.
type detectionRule func(known state, seen observed) (state, []incident.Signal)

// observed is what a rule sees besides what is known.
type observed struct {
	key    podKey
	now    time.Time
	timing Timing
	live   bool // the cluster is being watched: a problem that is still there can be seen

	// pod is the new version, from which known.pod was made; nil if the Pod has not changed.
	pod    *corev1.Pod
	before *podState // the version before pod; nil if there was none

	failure  *probeFailure  // what an Event says of a probe; nil in other looks
	warning  *volumeWarning // what an Event says of a volume or the sandbox; nil in other looks
	progress *progress      // what an Event says is done about the Pod; nil in other looks

	// catchUp marks a look at what may be old: the first list after a start, or a Pod's first version.
	catchUp bool

	// justMade marks the first version of a Pod of which the API server has just said that it was made.
	justMade bool
}

// The order of the rules is load-bearing in two places; TestTheOrderOfTheRules fails if either is
// changed.
//
//  1. A cause comes before its effect: oomKills before restarts. The ledger explains a restart by an
//     incident that is open already. In the other order a container that was OOM-killed makes two
//     incidents, each of which calls an agent.
//  2. Ends come last: recovered after all rules that find occurrences. It judges what they have just
//     noted. In the other order a problem whose time to recover is up in the very look that shows it
//     again ends and opens anew, which calls an agent a second time.
//
// The others are in the order in which a Pod lives; nothing depends on it.
var (
	// versionRules run for each new version of a Pod.
	versionRules = []detectionRule{oomKills, restarts, readinessRegained, longPending, nodeHeard, recovered}
	// timeRules run when a Pod has been left alone until nextLook.
	timeRules = []detectionRule{pendingOverdue, startupOverdue, nodeHeard, recovered, stillOngoing}
	// eventRules run for each Event about a Pod.
	eventRules = []detectionRule{probeFailed, volumeWarned, progressed, nodeHeard}
)

// apply runs rules one after the other, each on what the former ones know.
func apply(rules []detectionRule, known state, seen observed) (state, []incident.Signal) {
	var signals []incident.Signal
	for _, r := range rules {
		var more []incident.Signal
		known, more = r(known, seen)
		signals = append(signals, more...)
	}
	return known, signals
}

// tooOld says whether what happened at a time is beyond what is caught up with after a start.
func (l observed) tooOld(at time.Time) bool {
	start := l.timing.Start
	if start.IsZero() {
		start = l.now
	}
	return l.catchUp && at.Before(start.Add(-l.timing.CatchUp))
}

// when is when something happened: the first of the times told of it that can be true, and whether there is one. They are
// what a node's clock or a runtime said. containerd tells 1970 of a container that never ran, and a clock may be
// off: so a time is none from before the Pod was made, and none after now. If none is left, it is now, when khook saw it.
func (l observed) when(told ...time.Time) (at time.Time, believed bool) {
	for _, t := range told {
		if !t.IsZero() && !t.After(l.now) && !t.Before(l.pod.CreationTimestamp.Time) {
			return t, true
		}
	}
	return l.now, false
}

// ofFormerMirror says whether what the first status of a mirror Pod's container tells happened before the Pod was made. A
// mirror Pod that is deleted is made anew for the same containers, and its status shows their former ends: they
// were the former one's.
func (l observed) ofFormerMirror(container string, told []time.Time) bool {
	if was := l.before.containerOrNil(container); !isMirror(l.pod) || was != nil && was.id != 0 {
		return false
	}
	return slices.ContainsFunc(told, func(t time.Time) bool {
		return t.Unix() > 0 && t.Before(l.pod.CreationTimestamp.Time)
	})
}

// occurred completes the signal of an occurrence, and notes that its problem is open since, or still.
func (s state) occurred(seen observed, sig incident.Signal) (state, incident.Signal) {
	sig.Kind = incident.Observed
	sig.Resource = s.pod.resource(seen.key)
	sig.Workload = s.pod.workload.Value()
	sig.Node = s.pod.node.Value()
	pod := sig.Attributes.PodOrZero()
	pod.Labels = s.pod.labelMap()
	sig.Attributes.Pod = &pod
	sig.Reason = incident.Clean(sig.Reason, incident.MaxReason)
	sig.Message = incident.Clean(sig.Message, incident.MaxMessage)
	sig.CatchUp = seen.catchUp
	sig.Count = max(1, sig.Count)
	if sig.At.After(seen.now) {
		sig.At = seen.now // a node's clock may be ahead
	}
	return s.with(func(p *problems) {
		o, _ := p.find(containerSlot{sig.Type, sig.Container})
		o.lastSignal = seen.now
		o.occurred = true
		p.setOpen(o)
	}), sig
}

// about is a signal about an open problem that is no occurrence of it.
func (s state) about(seen observed, kind incident.SignalKind, which containerSlot) incident.Signal {
	return incident.Signal{
		Kind: kind, Type: which.kind, At: seen.now, Observation: incident.Observation{
			Resource: s.pod.resource(seen.key), Container: which.container, Workload: s.pod.workload.Value(), Node: s.pod.node.Value(),
			Attributes: incident.Attributes{Pod: &incident.PodAttributes{Labels: s.pod.labelMap()}},
		},
	}
}

// podAttributes are those of an occurrence, without the labels, which occurred adds.
func podAttributes(count int32, code *int32) incident.Attributes {
	return incident.Attributes{Pod: &incident.PodAttributes{RestartCount: count, ExitCode: code}}
}
