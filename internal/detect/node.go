package detect

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kagent-dev/khook/internal/incident"
)

// readinessGatesNotReady is the reason that a kubelet gives where only a readiness gate keeps a Pod from being ready
// (pkg/kubelet/status/generate.go, GeneratePodReadyCondition).
const readinessGatesNotReady = "ReadinessGatesNotReady"

// nodeLost says whether nothing is heard of the Pod's node: the statuses of its containers are then old. The node's
// controller sets the condition Ready of its Pods to False, and leaves the rest, also the reason
// (pkg/controller/util/node/controller_utils.go, MarkPodsNotReady). A kubelet that is heard of sets Ready to False while all
// containers are ready for one reason only: a readiness gate is not met. The gates have controllers of their own, which go
// on while the node is lost: what one of them writes then is no sign of the node.
//
// The same function writes the Warning Event NodeNotReady of the Pod, after the condition and only where it has changed that.
// So the Event tells nothing more; and it stays for an hour, whether the node is back or not.
func nodeLost(pod *corev1.Pod, before *podState) bool {
	ready, containers := condition(pod, corev1.PodReady), condition(pod, corev1.ContainersReady)
	switch ready.Status {
	case corev1.ConditionUnknown:
		return true
	case corev1.ConditionFalse:
		if containers.Status != corev1.ConditionTrue || ready.Reason == readinessGatesNotReady {
			return false
		}
		return !gateUnmet(pod) || before != nil && before.has(podNodeLost)
	}
	return false
}

// gateUnmet says whether one of the Pod's readiness gates is not met.
func gateUnmet(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.ReadinessGates, func(g corev1.PodReadinessGate) bool {
		return condition(pod, g.ConditionType).Status != corev1.ConditionTrue
	})
}

// unheard says whether nobody knows how the Pod is, because nothing is heard of its node. One that has ended stays as it is.
// One that is to be deleted may still run: it is gone when its node is back, or when somebody forces it.
func (p *podState) unheard() bool {
	return p.has(podNodeLost) && p.phase != phaseSucceeded && p.phase != phaseFailed
}

// nodeHeard is the rule for open problems of a Pod whose node is lost, or is heard of again. Each is told at once, with the
// time since when, and again by stillOngoing. What the history says of it is among what khook starts with: the node may have been
// lost or come back meanwhile. An occurrence says that its incident is heard of, unless the history has it
// already (incident.Incident.Observe): so while the node is lost it is told after each, and that it is back is told in any case.
func nodeHeard(known state, seen observed) (state, []incident.Signal) {
	p := known.problems
	if p == nil {
		return known, nil
	}
	lost, since := known.pod.unheard(), p.lostSince
	switch {
	case !lost:
		since = time.Time{}
	case since.IsZero():
		since = seen.lostSince()
	}
	open := slices.Clone(p.open)
	var signals []incident.Signal
	for i, o := range open {
		switch {
		case lost && (!o.unheard || o.occurred):
			open[i].unheard, open[i].occurred, open[i].lastSignal = true, false, seen.now
			signals = append(signals, known.unheard(seen, o.containerSlot, since))
		case !lost && o.unheard:
			open[i].unheard, open[i].occurred = false, false
			signals = append(signals, known.about(seen, incident.Heard, o.containerSlot))
		}
	}
	if len(signals) == 0 && since.Equal(p.lostSince) {
		return known, nil
	}
	return known.with(func(p *problems) { p.open, p.lostSince = open, since }), signals
}

// lostSince is since when nothing is heard of the Pod's node: when its controller has said so.
func (l observed) lostSince() time.Time {
	if l.pod == nil {
		return l.now
	}
	at, _ := l.when(condition(l.pod, corev1.PodReady).LastTransitionTime.Time)
	return at
}

// unheard is the sign that nothing has been heard, since a time, of what could tell whether a problem goes on.
func (s state) unheard(seen observed, which containerSlot, since time.Time) incident.Signal {
	sig := s.about(seen, incident.Unheard, which)
	sig.At = since
	return sig
}
