package ledger

import (
	"fmt"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/hook"
)

// The loop guard: the calls of a group within a day are counted, whatever became of them, because a
// failure that comes back after each "fix" is a loop. After freeCalls of them the pause doubles each
// time, up to maxPause; after dayCalls, the first one and five repetitions, a person must let the
// next one through.
const (
	freeCalls = 3
	dayCalls  = 6
	guardDay  = 24 * time.Hour
	maxPause  = 6 * time.Hour
)

// loopGuard is what the loop guard knows of a group. It is a value: whether it holds the next call back follows from it
// and the time alone.
type loopGuard struct {
	agent  delivery.AgentRef
	group  string
	window time.Duration // between calls while the guard does not mind
	// calls are the times of the group's calls, the newest first; those made before a person let calls through, or more
	// than a day ago, do not count.
	calls   []time.Time
	resumed []time.Time // when a person let calls through again
}

// loopGuardOf is the loop guard of a group that was loaded.
func loopGuardOf(c *hook.Config, g *group) loopGuard {
	calls := make([]time.Time, len(g.past))
	for i, d := range g.past {
		calls[i] = d.CreatedAt
	}
	return loopGuard{agent: c.Agent, group: g.Group, window: c.Window, calls: calls, resumed: []time.Time{g.ResumedAt, c.ResumedAt}}
}

// holds says whether the group's next call is held back at a time.
func (l loopGuard) holds(now time.Time) (groupHold, bool) {
	n := l.repeats(now)
	if n >= dayCalls {
		return groupHold{why: fmt.Sprintf("agent %s was called %d times within a day for %s, and the failure came back each time", l.agent, n, l.group),
			until: l.calls[dayCalls-1].Add(guardDay), person: true}, true
	}
	if n == 0 {
		return groupHold{}, false
	}
	next := l.calls[0].Add(pause(l.window, n))
	if !now.Before(next) {
		return groupHold{}, false
	}
	return groupHold{why: fmt.Sprintf("agent %s was called %d times within a day for %s: the next call waits until %s",
		l.agent, n, l.group, next.UTC().Format(time.RFC3339)), until: next}, true
}

// repeats counts the calls that the guard minds.
func (l loopGuard) repeats(now time.Time) int {
	since := now.Add(-guardDay)
	for _, at := range l.resumed {
		if at.After(since) && !at.After(now) {
			since = at
		}
	}
	n := 0
	for _, at := range l.calls {
		if at.After(since) {
			n++
		}
	}
	return n
}

// pause is how long after the n-th call of a day the next one may be made.
func pause(window time.Duration, n int) time.Duration {
	p := window
	for ; n >= freeCalls && p < maxPause; n-- {
		p *= 2
	}
	return min(p, max(maxPause, window))
}
