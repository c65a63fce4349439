package detect

import (
	"slices"
	"time"

	"github.com/kagent-dev/khook/internal/incident"
)

// ongoingEvery is how often a problem that is still seen is told again, at most: often enough that it does
// not end as quiet.
const ongoingEvery = 4 * time.Minute

// ongoingEvery is how often a problem that is still seen is told again.
func (t Timing) ongoingEvery() time.Duration { return min(ongoingEvery, t.QuietAfter/2) }

// stillOngoing is the rule for open problems that the Pod still shows, without a new occurrence; and for those of a Pod whose
// node is not heard of, see nodeHeard. While the cluster is not watched it says nothing: what was seen last may be over.
func stillOngoing(known state, seen observed) (state, []incident.Signal) {
	if known.problems == nil || !seen.live {
		return known, nil
	}
	var signals []incident.Signal
	open := slices.Clone(known.problems.open)
	for i, o := range open {
		kind := signOf(known.pod, o)
		if kind != "" && seen.now.Sub(o.lastSignal) >= seen.timing.ongoingEvery() {
			open[i].lastSignal = seen.now
			sig := known.about(seen, kind, o.containerSlot)
			if kind == incident.Unheard {
				sig = known.unheard(seen, o.containerSlot, known.problems.lostSince)
			}
			signals = append(signals, sig)
		}
	}
	return known.with(func(p *problems) { p.open = open }), signals
}

// signOf is the sign that keeps a problem open while nothing new is seen of it; "" if there is none.
func signOf(p *podState, o openProblem) incident.SignalKind {
	switch {
	case p.unheard():
		return incident.Unheard
	case stillSeen(p, o):
		return incident.Ongoing
	}
	return ""
}

// stillSeen says whether the Pod's status shows that the problem goes on.
func stillSeen(p *podState, o openProblem) bool {
	if p.over() {
		return false
	}
	c := p.container(o.container)
	switch o.kind {
	case incident.PodPending:
		return p.phase == phasePending
	case incident.PodRestart, incident.OOMKill:
		return c != nil && c.has(containerHeld)
	case incident.ProbeFailed:
		return c != nil && (o.probes.has(readiness) && c.has(containerRunning) && !c.has(containerReady) ||
			o.probes.without(readiness) != 0 && c.has(containerHeld)) // the kubelet ends it again and again, and tells no more
	}
	return false
}
