package detect

import (
	"slices"
	"time"

	"github.com/kagent-dev/khook/internal/incident"
)

// ongoingEvery is how often a problem that is still seen is told again: often enough that it does
// not end as quiet.
const ongoingEvery = 4 * time.Minute

// stillOngoing is the rule for open problems that the Pod still shows, without a new occurrence. While the
// cluster is not watched it says nothing: what was seen last may be over.
func stillOngoing(known state, seen observed) (state, []incident.Signal) {
	if known.problems == nil || !seen.live {
		return known, nil
	}
	var signals []incident.Signal
	open := slices.Clone(known.problems.open)
	for i, o := range open {
		if stillSeen(known.pod, o) && seen.now.Sub(o.lastSignal) >= ongoingEvery {
			open[i].lastSignal = seen.now
			signals = append(signals, known.about(seen, incident.Ongoing, o.containerSlot))
		}
	}
	return known.with(func(p *problems) { p.open = open }), signals
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
		return c != nil && c.has(containerCrashLoop)
	case incident.ProbeFailed:
		return c != nil && o.probes.has(readiness) && c.has(containerRunning) && !c.has(containerReady)
	}
	return false
}
