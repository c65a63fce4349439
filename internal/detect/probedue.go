package detect

import (
	"fmt"
	"strings"
	"time"

	"github.com/kagent-dev/khook/internal/incident"
)

// probeDue tells the probe's failure if its streak is long enough, and a long streak again now
// and then.
func (b *builder) probeDue(k probeKey, t *probeTrack) {
	threshold, step := int32(1), int32(1)
	if c := b.pod.container(k.container); c != nil {
		spec := c.spec.Value().probes[k.kind]
		threshold = max(threshold, spec.threshold)
		step = stepOf(spec, threshold)
		if k.kind == readiness && spec.threshold > 0 && !b.allowed(c, t) {
			if c.has(containerReady) {
				t.reset() // it has passed since
			}
			return
		}
	}
	if t.streak < threshold {
		return
	}
	if t.fired && !t.again(step) {
		b.stillFailing(k, t)
		return
	}
	s := incident.Signal{
		Key:  fmt.Sprintf("probe-failed/%s/%s/%s/%s", b.pod.resource(b.key).UID, k.container, k.kind, t.tell(threshold, step)),
		Type: incident.ProbeFailed, At: t.failed, Container: k.container, Count: t.streak,
		Reason:  map[probeKind]string{liveness: "LivenessProbeFailed", readiness: "ReadinessProbeFailed", startup: "StartupProbeFailed"}[k.kind],
		Message: strings.TrimSpace(t.message),
	}
	if c := b.pod.container(k.container); c != nil {
		s.RestartCount = c.restarts
		if k.kind == readiness && c.restarts > 0 && (b.isOpen(incident.OOMKill, k.container) || b.isOpen(incident.PodRestart, k.container)) {
			s.Causes = []incident.EventType{incident.OOMKill, incident.PodRestart}
		}
	}
	b.observe(s)
	b.stillFailing(k, t)
}

// stillFailing notes a failure on the open incident.
func (b *builder) stillFailing(k probeKey, t *probeTrack) {
	o := b.slotOf(incident.ProbeFailed, k.container)
	o.failed = latest(o.failed, t.failed)
	o.probes |= 1 << k.kind
	if c := b.pod.container(k.container); c != nil && !c.has(containerReady) {
		o.unready = true
	}
}

// allowed says whether the failures of a readiness probe count. Those of a container that was not
// ready yet count after the time that the probe itself allows for starting. What is found at the
// start of khook may have come before the container was ready.
func (b *builder) allowed(c *containerState, t *probeTrack) bool {
	if c.has(containerWasReady) && !b.catchUp {
		return true
	}
	at := b.now
	if c.has(containerReady) {
		at = t.failed
	}
	over, ok := startupOver(c)
	return ok && !at.Before(over)
}

// startupOver is when a container has had the time that its readiness probe allows for starting;
// false while it has not started.
func startupOver(c *containerState) (time.Time, bool) {
	spec := c.spec.Value()
	ready, from := spec.probes[readiness], c.started
	if spec.probes[startup].threshold > 0 {
		if from = c.readyAt; !c.has(containerStarted) {
			return time.Time{}, false
		}
	}
	if from == 0 {
		return time.Time{}, false
	}
	wait := time.Duration(ready.initialDelay)*time.Second + time.Duration(ready.threshold)*time.Duration(ready.period)*time.Second
	return time.Unix(int64(from), 0).Add(wait), true
}

// startupOver is when a streak that was not told because the container was starting may be.
func (t *probeTrack) startupOver(p *podState, k probeKey) (time.Time, bool) {
	c := p.container(k.container)
	if c == nil || t.fired || k.kind != readiness || c.has(containerReady) || c.has(containerWasReady) || p.over() {
		return time.Time{}, false
	}
	if t.streak < c.spec.Value().probes[readiness].threshold || t.instance != c.id {
		return time.Time{}, false
	}
	return startupOver(c)
}

// probesDue tells the failures of containers whose time for starting is over.
func (b *builder) probesDue() {
	tr := b.d.trouble[b.key]
	if tr == nil {
		return
	}
	for k, track := range tr.probes {
		if due, ok := track.startupOver(b.pod, k); ok && !due.After(b.now) {
			b.probeDue(k, track)
		}
	}
}

// readied ends the streak of a readiness probe whose container has become ready.
func (b *builder) readied(old *podState) {
	tr := b.d.trouble[b.key]
	if tr == nil {
		return
	}
	for k, track := range tr.probes {
		c := b.pod.container(k.container)
		if k.kind != readiness || c == nil || !c.has(containerReady) {
			continue
		}
		if was := old.containerOrNil(k.container); was == nil || !was.has(containerReady) || was.id != c.id {
			track.reset()
		}
	}
}

func (p *podState) containerOrNil(name string) *containerState {
	if p == nil {
		return nil
	}
	return p.container(name)
}

// probesQuiet says whether no probe of the Pod has failed lately.
func (t *trouble) probesQuiet(_ *podState, now time.Time) bool {
	for _, track := range t.probes {
		if now.Sub(track.failed) < probeMemory {
			return false
		}
	}
	return true
}

// seededProbes guesses from an open incident which probe failed.
func seededProbes(inc *incident.Incident) uint8 {
	if inc.Type != incident.ProbeFailed {
		return 0
	}
	for kind, reason := range map[probeKind]string{readiness: "ReadinessProbeFailed", startup: "StartupProbeFailed"} {
		if inc.Reason == reason {
			return 1 << kind
		}
	}
	return 1 << liveness
}
