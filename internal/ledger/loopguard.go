package ledger

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// The loop guard: the calls of a group within a day are counted, whatever became of them, because a
// failure that comes back after each "fix" is a loop. After freeCalls of them the pause doubles each
// time, up to maxPause; after dayCalls, the first one and five repetitions, a person must let the
// next one through.
//
// Where a group is not a workload, the workload's calls are counted too: a Deployment that replaces its Pods has a
// new resource each time. There the calls about several groups that fail together, within togetherFor, count as one.
const (
	freeCalls = 3
	dayCalls  = 6
	guardDay  = 24 * time.Hour
	maxPause  = 6 * time.Hour

	togetherFor   = 2 * time.Minute
	maxGuardCalls = 500 // of a workload that are looked at
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

// guardedFrom says whether the loop guard holds back the next call of a group, which is about a workload.
func (b *batch) guardedFrom(ctx context.Context, c *hook.Config, g *group, workload string) (groupHold, bool, error) {
	held, guarded := loopGuardOf(c, g).holds(b.now)
	if guarded || g.Group == workload {
		return held, guarded, nil
	}
	key := delivery.GroupKey{Hook: c.Hook, Config: c.Key, Group: workload}
	if _, loaded := b.guarded[key]; !loaded {
		if err := b.loadGuarded(ctx, key); err != nil {
			return groupHold{}, false, err
		}
	}
	calls := b.guarded[key]
	whole, err := b.group(ctx, key)
	if err != nil {
		return groupHold{}, false, err
	}
	rounds, joins := roundsOf(calls, g.Group, b.now)
	l := loopGuard{agent: c.Agent, group: workload, window: c.Window, calls: rounds, resumed: []time.Time{whole.ResumedAt, c.ResumedAt}}
	if joins || l.repeats(b.now) < freeCalls {
		return groupHold{}, false, nil
	}
	held, guarded = l.holds(b.now)
	return held, guarded, nil
}

// guardCall counts a new call for the guard of its workload, if that was loaded; else it is loaded with it.
func (b *batch) guardCall(d *delivery.Delivery) {
	key := delivery.GroupKey{Hook: d.Hook, Config: d.Config, Group: d.Workload}
	if calls, loaded := b.guarded[key]; loaded {
		b.guarded[key] = append([]store.GroupCall{{Group: d.Group, CreatedAt: d.CreatedAt}}, calls...)
	}
}

// roundsOf are the times of a workload's calls, the newest first, those of groups that failed together taken as one: the time of
// its first. joins says whether a call for the group of that name would be one more of the newest round.
func roundsOf(calls []store.GroupCall, name string, now time.Time) (rounds []time.Time, joins bool) {
	in := map[string]bool{} // the groups of the newest round
	var begun time.Time
	for _, call := range slices.Backward(calls) {
		if begun.IsZero() || call.CreatedAt.Sub(begun) > togetherFor || in[call.Group] {
			begun = call.CreatedAt
			rounds = append(rounds, begun)
			clear(in)
		}
		in[call.Group] = true
	}
	slices.Reverse(rounds)
	return rounds, !begun.IsZero() && now.Sub(begun) <= togetherFor && !in[name]
}

// holds says whether the group's next call is held back at a time.
func (l loopGuard) holds(now time.Time) (groupHold, bool) {
	n := l.repeats(now)
	if n >= dayCalls {
		return groupHold{why: fmt.Sprintf("agent %s was called %s within a day for %s, and the failure came back each time", l.agent, incident.Counted(n, "time"), l.group),
			until: l.calls[dayCalls-1].Add(guardDay), person: true}, true
	}
	if n == 0 {
		return groupHold{}, false
	}
	next := l.calls[0].Add(pause(l.window, n))
	if !now.Before(next) {
		return groupHold{}, false
	}
	return groupHold{why: fmt.Sprintf("agent %s was called %s within a day for %s: the next call waits until %s",
		l.agent, incident.Counted(n, "time"), l.group, next.UTC().Format(time.RFC3339)), until: next}, true
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
