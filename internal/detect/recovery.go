package detect

import (
	"time"

	"github.com/kagent-dev/khook/internal/incident"
)

// recovered is the rule for open problems of the Pod that are over.
func recovered(known state, seen observed) (state, []incident.Signal) {
	if known.problems == nil {
		return known, nil
	}
	p := *known.problems
	switch {
	case !known.pod.has(podHealthy):
		p.healthySince = time.Time{}
	case p.healthySince.IsZero():
		p.healthySince = seen.now
	}
	var signals []incident.Signal
	p.open = make([]openProblem, 0, len(known.problems.open))
	for _, o := range known.problems.open {
		if c := known.pod.container(o.container); c != nil && !c.has(containerReady) {
			o.seenUnready = true
		}
		if due, ok := recoveryDue(known.pod, &p, o, seen.timing); ok && !due.After(seen.now) {
			signals = append(signals, known.about(seen, incident.Healthy, o.containerSlot))
			continue
		}
		p.open = append(p.open, o)
	}
	return state{known.pod, &p}, signals
}

// recoveryDue is when an open problem is over, if the Pod stays as it is; false if it is not
// about to end. Nothing ends while nothing is heard of the Pod's node: what its status says is old.
func recoveryDue(pod *podState, p *problems, o openProblem, timing Timing) (time.Time, bool) {
	if pod.unheard() {
		return time.Time{}, false
	}
	switch o.kind {
	case incident.PodPending:
		return time.Time{}, pod.phase == phaseRunning || pod.phase == phaseSucceeded
	case incident.PodRestart, incident.OOMKill:
		if pod.phase == phaseSucceeded {
			return time.Time{}, true
		}
		return latest(p.healthySince, p.lastRestart, o.lastSignal).Add(timing.Stabilization), !p.healthySince.IsZero()
	case incident.ProbeFailed:
		return probeRecoveryDue(pod, p, o, timing)
	}
	return time.Time{}, false
}

// probeRecoveryDue: a container whose readiness probe failed is over it when it is ready; one
// whose liveness or startup probe failed when it has run for a while with no new failure.
func probeRecoveryDue(pod *podState, p *problems, o openProblem, timing Timing) (time.Time, bool) {
	c := pod.container(o.container)
	if c == nil || pod.over() {
		return time.Time{}, false
	}
	if o.probes.has(readiness) && !c.has(containerReady) {
		return time.Time{}, false
	}
	if o.probes.without(readiness) == 0 {
		if o.seenUnready {
			return time.Time{}, true
		}
		// The Event may come before the status that shows what it says.
		return o.lastFailure.Add(c.spec.Value().probes[readiness].longestStreak(1) + maxJitter), true
	}
	if !c.has(containerRunning) || p.doomed(c) {
		return time.Time{}, false
	}
	started := time.Unix(int64(c.started), 0)
	return latest(o.lastFailure, o.lastSignal, started).Add(max(timing.Stabilization, c.slowestFailure(o.probes))), true
}

// doomed says whether the kubelet is about to end the container's current instance, because its
// liveness or startup probe has failed: only the next one can be well.
func (p *problems) doomed(c *containerState) bool {
	spec := c.spec.Value()
	for _, kind := range [...]probeKind{liveness, startup} {
		s := p.streak(probe{spec.name, kind})
		if s.reported && s.instance == c.id && spec.probes[kind].threshold > 0 {
			return true
		}
	}
	return false
}

// slowestFailure is how long a new instance may run before the slowest of some probes could fail for good.
func (c *containerState) slowestFailure(probes probeSet) time.Duration {
	var most time.Duration
	for kind, spec := range c.spec.Value().probes {
		if probes.has(probeKind(kind)) {
			most = max(most, time.Duration(spec.initialDelay)*time.Second+spec.longestStreak(spec.threshold))
		}
	}
	return most
}
