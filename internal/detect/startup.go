package detect

import (
	"time"

	"github.com/kagent-dev/khook/internal/incident"
)

// startupOver is when a streak that was not told because the container was starting may be; false if
// there is no such streak.
func (s streak) startupOver(p *podState) (time.Time, bool) {
	c := p.container(s.probe.container)
	if c == nil || s.reported || s.probe.kind != readiness || c.has(containerReady) || c.has(containerWasReady) || p.over() {
		return time.Time{}, false
	}
	if s.length < c.spec.Value().probes[readiness].threshold || s.instance != c.id {
		return time.Time{}, false
	}
	return c.startupOver()
}

// startupOverdue is the rule for containers whose time for starting is over while their readiness
// probe fails.
func startupOverdue(known state, seen observed) (state, []incident.Signal) {
	if known.problems == nil {
		return known, nil
	}
	var signals []incident.Signal
	for _, s := range known.problems.streaks {
		if due, ok := s.startupOver(known.pod); ok && !due.After(seen.now) {
			var more []incident.Signal
			known, more = streakDue(known, seen, s)
			signals = append(signals, more...)
		}
	}
	return known, signals
}
