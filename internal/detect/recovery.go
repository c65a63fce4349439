package detect

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/kagent-dev/khook/internal/incident"
)

// recovered tells the open problems of the Pod that are over.
func (b *builder) recovered() {
	tr := b.d.trouble[b.key]
	if tr == nil {
		return
	}
	switch {
	case !b.pod.has(podHealthy):
		tr.healthy = time.Time{}
	case tr.healthy.IsZero():
		tr.healthy = b.now
	}
	for _, s := range tr.slots() {
		o := tr.open[s]
		if c := b.pod.container(s.container); c != nil && !c.has(containerReady) {
			o.unready = true
		}
		due, ok := b.d.recoveryDue(b.pod, tr, s, o)
		if !ok || due.After(b.now) {
			continue
		}
		delete(tr.open, s)
		b.sign(incident.Healthy, s, b.now)
	}
}

// slots are those that are open, in a fixed order.
func (t *trouble) slots() []slot {
	return slices.SortedFunc(maps.Keys(t.open), func(a, b slot) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.container, b.container))
	})
}

// recoveryDue is when an open problem is over, if the Pod stays as it is; false if it is not
// about to end.
func (d *Detector) recoveryDue(p *podState, t *trouble, s slot, o *openState) (time.Time, bool) {
	switch s.kind {
	case incident.PodPending:
		return time.Time{}, p.phase == phaseRunning || p.phase == phaseSucceeded
	case incident.PodRestart, incident.OOMKill:
		if p.phase == phaseSucceeded {
			return time.Time{}, true
		}
		return latest(t.healthy, t.restart, o.told).Add(d.timing.Stabilization), !t.healthy.IsZero()
	case incident.ProbeFailed:
		return d.probeRecoveryDue(p, t, s, o)
	}
	return time.Time{}, false
}

// probeRecoveryDue: a container whose readiness probe failed is over it when it is ready; one
// whose liveness or startup probe failed when it has run for a while with no new failure.
func (d *Detector) probeRecoveryDue(p *podState, t *trouble, s slot, o *openState) (time.Time, bool) {
	c := p.container(s.container)
	if c == nil || p.over() {
		return time.Time{}, false
	}
	if o.probes&(1<<readiness) != 0 && !c.has(containerReady) {
		return time.Time{}, false
	}
	if o.probes&^(1<<readiness) == 0 {
		if o.unready {
			return time.Time{}, true
		}
		// The Event may come before the status that shows what it says.
		return o.failed.Add(span(c.spec.Value().probes[readiness], 1) + probeSlack), true
	}
	if !c.has(containerRunning) || t.doomed(c) {
		return time.Time{}, false
	}
	return latest(o.failed, o.told, time.Unix(int64(c.started), 0)).Add(max(d.timing.Stabilization, c.slowest(o.probes))), true
}

// doomed says whether the kubelet is about to end the container's current instance, because its
// liveness or startup probe has failed: only the next one can be well.
func (t *trouble) doomed(c *containerState) bool {
	spec := c.spec.Value()
	for _, kind := range []probeKind{liveness, startup} {
		track := t.probes[probeKey{spec.name, kind}]
		if track != nil && track.fired && track.instance == c.id && spec.probes[kind].threshold > 0 {
			return true
		}
	}
	return false
}

// slowest is how long a new instance may run before the slowest of the probes could fail for good.
func (c *containerState) slowest(probes uint8) time.Duration {
	var most time.Duration
	for k, spec := range c.spec.Value().probes {
		if probes&(1<<k) != 0 {
			most = max(most, time.Duration(spec.initialDelay)*time.Second+span(spec, spec.threshold))
		}
	}
	return most
}

func latest(times ...time.Time) time.Time {
	var l time.Time
	for _, t := range times {
		if t.After(l) {
			l = t
		}
	}
	return l
}

// ongoing tells the open problems that are still to be seen.
func (b *builder) ongoing() {
	tr := b.d.trouble[b.key]
	if tr == nil || !b.d.live {
		return
	}
	for _, s := range tr.slots() {
		if o := tr.open[s]; stillSeen(b.pod, s, o) && b.now.Sub(o.told) >= ongoingEvery {
			o.told = b.now
			b.sign(incident.Ongoing, s, b.now)
		}
	}
}

// stillSeen says whether the Pod's status shows that the problem goes on.
func stillSeen(p *podState, s slot, o *openState) bool {
	if p.over() {
		return false
	}
	c := p.container(s.container)
	switch s.kind {
	case incident.PodPending:
		return p.phase == phasePending
	case incident.PodRestart, incident.OOMKill:
		return c != nil && c.has(containerCrashLoop)
	case incident.ProbeFailed:
		return c != nil && o.probes&(1<<readiness) != 0 && c.has(containerRunning) && !c.has(containerReady)
	}
	return false
}
