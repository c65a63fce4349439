package detect

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/kagent-dev/khook/internal/incident"
)

// probe is one probe of a Pod.
type probe struct {
	container string
	kind      probeKind
}

func compareProbes(a, b probe) int {
	return cmp.Or(cmp.Compare(a.container, b.container), cmp.Compare(a.kind, b.kind))
}

type probeKind uint8

const (
	liveness probeKind = iota
	readiness
	startup
)

func (k probeKind) String() string { return [...]string{"liveness", "readiness", "startup"}[k] }

// reason is what a signal about the probe has as its reason.
func (k probeKind) reason() string {
	return [...]string{"LivenessProbeFailed", "ReadinessProbeFailed", "StartupProbeFailed"}[k]
}

// probeSet is some kinds of probes, as bits.
type probeSet uint8

func (s probeSet) has(k probeKind) bool         { return s&(1<<k) != 0 }
func (s probeSet) with(k probeKind) probeSet    { return s | 1<<k }
func (s probeSet) without(k probeKind) probeSet { return s &^ (1 << k) }

// probesOf guesses from an open incident which probe failed.
func probesOf(inc *incident.Incident) probeSet {
	var none probeSet
	if inc.Type != incident.ProbeFailed {
		return none
	}
	for _, kind := range [...]probeKind{readiness, startup} {
		if inc.Reason == kind.reason() {
			return none.with(kind)
		}
	}
	return none.with(liveness)
}

// probeFailed is the rule for failed probes: it counts them, and tells a streak when the probe's
// threshold is reached, which is when the kubelet acts (pkg/kubelet/prober/worker.go, doProbe).
func probeFailed(known state, seen observed) (state, []incident.Signal) {
	failed := seen.failure
	if failed == nil || known.pod.over() || known.pod.has(podWindingDown) || seen.tooOld(failed.last) || failed.errored && withoutResult(known.pod, failed.probe) {
		return known, nil
	}
	was := known.problems.streak(failed.probe)
	s := was.with(known.pod, failed)
	known = known.with(func(p *problems) {
		p.resource = known.pod.resource(seen.key)
		p.setStreak(s)
	})
	if s.event == was.event && s.count == was.count && s.length == was.length {
		return known, nil // seen before: startupOverdue tells what only had to wait
	}
	return streakDue(known, seen, s)
}

// withoutResult says whether a probe that could not be made changes nothing: the kubelet throws
// its result away (pkg/kubelet/prober/worker.go, doProbe). But then a container that was never ready, or never
// started, stays so.
func withoutResult(p *podState, of probe) bool {
	c := p.container(of.container)
	switch {
	case c == nil || of.kind == liveness:
		return true
	case of.kind == startup:
		return c.has(containerStarted)
	}
	return c.has(containerWasReady)
}

// streakDue tells a probe's failure if its streak is long enough, and a long streak again now and then.
func streakDue(known state, seen observed, s streak) (state, []incident.Signal) {
	threshold, repeatAfter := int32(1), int32(1)
	c := known.pod.container(s.probe.container)
	if c != nil {
		spec := c.spec.Value().probes[s.probe.kind]
		threshold = max(threshold, spec.threshold)
		repeatAfter = spec.repeatAfter(threshold)
		if s.probe.kind == readiness && spec.threshold > 0 && !countsForReadiness(c, s, seen) {
			if c.has(containerReady) { // it has passed since
				known = known.with(func(p *problems) { p.setStreak(s.ended()) })
			}
			return known, nil
		}
	}
	if s.length < threshold {
		return known, nil
	}
	if s.reported && !s.mayRepeat(repeatAfter) {
		return stillFailing(known, s), nil
	}
	s, id := s.report(threshold, repeatAfter)
	known = known.with(func(p *problems) { p.setStreak(s) })
	known, sig := known.occurred(seen, streakSignal(known, seen, s, id))
	return stillFailing(known, s), []incident.Signal{sig}
}

func streakSignal(known state, seen observed, s streak, id string) incident.Signal {
	container, kind := s.probe.container, s.probe.kind
	sig := incident.Signal{
		Key:  fmt.Sprintf("probe-failed/%s/%s/%s/%s", known.pod.resource(seen.key).UID, container, kind, id),
		Type: incident.ProbeFailed, At: s.lastFailure, Count: s.length,
		Observation: incident.Observation{Container: container, Reason: kind.reason(), Message: strings.TrimSpace(s.message)},
	}
	c := known.pod.container(container)
	if c == nil {
		return sig
	}
	sig.Attributes = podAttributes(c.restarts, nil)
	p := known.problems
	if kind == readiness && c.restarts > 0 && (p.isOpen(incident.OOMKill, container) || p.isOpen(incident.PodRestart, container)) {
		sig.Causes = []incident.EventType{incident.OOMKill, incident.PodRestart}
	}
	return sig
}

// stillFailing notes the streak's newest failure on the open problem.
func stillFailing(known state, s streak) state {
	return known.with(func(p *problems) {
		o, _ := p.find(containerSlot{incident.ProbeFailed, s.probe.container})
		o.lastFailure = latest(o.lastFailure, s.lastFailure)
		o.probes = o.probes.with(s.probe.kind)
		if c := known.pod.container(s.probe.container); c != nil && !c.has(containerReady) {
			o.seenUnready = true
		}
		p.setOpen(o)
	})
}

// countsForReadiness says whether the failures of a readiness probe count. Those of a container that was not
// ready yet count after the time that the probe itself allows for starting. What is found at the
// start of khook may have come before the container was ready.
func countsForReadiness(c *containerState, s streak, seen observed) bool {
	if c.has(containerWasReady) && !seen.catchUp {
		return true
	}
	at := seen.now
	if c.has(containerReady) {
		at = s.lastFailure
	}
	over, started := c.startupOver()
	return started && !at.Before(over)
}

// startupOver is when a container has had the time that its readiness probe allows for starting;
// false while it has not started. With a startup probe, the kubelet makes the others only after that one
// has succeeded (pkg/kubelet/prober/worker.go, doProbe).
func (c *containerState) startupOver() (time.Time, bool) {
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
