package detect

import "github.com/kagent-dev/khook/internal/incident"

// readinessRegained is the rule for containers that have become ready: it ends the streaks of their
// readiness probes, and tells nothing.
func readinessRegained(known state, seen observed) (state, []incident.Signal) {
	if known.problems == nil {
		return known, nil
	}
	for _, s := range known.problems.streaks {
		c := known.pod.container(s.probe.container)
		if s.probe.kind != readiness || c == nil || !c.has(containerReady) {
			continue
		}
		if was := seen.before.containerOrNil(s.probe.container); was == nil || !was.has(containerReady) || was.id != c.id {
			known = known.with(func(p *problems) { p.setStreak(s.ended()) })
		}
	}
	return known, nil
}
