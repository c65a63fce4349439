package ledger

import (
	"context"
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

// guard says whether the loop guard holds the group's next call back.
func (b *batch) guard(c *hook.Config, g *group) (groupHold, bool) {
	n := b.repeats(c, g)
	if n >= dayCalls {
		return groupHold{why: fmt.Sprintf("agent %s was called %d times within a day for %s, and the failure came back each time", c.Agent, n, g.Group),
			until: g.past[dayCalls-1].CreatedAt.Add(guardDay), person: true}, true
	}
	if n == 0 {
		return groupHold{}, false
	}
	next := g.past[0].CreatedAt.Add(pause(c.Window, n))
	if !b.now.Before(next) {
		return groupHold{}, false
	}
	return groupHold{why: fmt.Sprintf("agent %s was called %d times within a day for %s: the next call waits until %s",
		c.Agent, n, g.Group, next.UTC().Format(time.RFC3339)), until: next}, true
}

// repeats counts the calls of the group that the loop guard minds.
func (b *batch) repeats(c *hook.Config, g *group) int {
	since := b.now.Add(-guardDay)
	for _, at := range []time.Time{g.ResumedAt, c.ResumedAt} {
		if at.After(since) && !at.After(b.now) {
			since = at
		}
	}
	n := 0
	for _, d := range g.past {
		if d.CreatedAt.After(since) {
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

// budget names what calls are counted of: a configuration, a Hook, or everything.
type budget struct {
	hook   delivery.HookRef
	config string
}

// overBudget says whether a limit of calls in an hour is used up.
func (b *batch) overBudget(ctx context.Context, c *hook.Config) (groupHold, bool, error) {
	since := b.now.Add(-time.Hour)
	for _, limit := range []struct {
		budget
		most int
		name string
	}{
		{budget{c.Hook, c.Key}, c.MaxPerHour, "maxCallsPerHour of the configuration " + c.Key},
		{budget{c.Hook, ""}, c.HookPerHour, "spec.maxCallsPerHour of the Hook"},
		{budget{}, b.cfg.MaxCallsPerHour, "--max-calls-per-hour of khook"},
	} {
		if limit.most == 0 {
			continue
		}
		n, known := b.calls[limit.budget]
		if !known {
			var err error
			if n, err = b.tx.CountDeliveries(ctx, limit.hook, limit.config, since, limit.most); err != nil {
				return groupHold{}, false, err
			}
			b.calls[limit.budget] = n
		}
		if n < limit.most {
			continue
		}
		oldest, err := b.oldestOf(ctx, limit.budget, since, limit.most)
		if oldest.IsZero() {
			oldest = b.now // all of them are of this batch
		}
		return groupHold{why: fmt.Sprintf("%s, %d, is used up", limit.name, limit.most), until: oldest.Add(time.Hour)}, true, err
	}
	return groupHold{}, false, nil
}

// oldestOf is when the oldest of the deliveries was made due that a budget counts. It is read once a
// batch: those of the batch itself are not in the history yet.
func (b *batch) oldestOf(ctx context.Context, of budget, since time.Time, most int) (time.Time, error) {
	if at, known := b.oldest[of]; known {
		return at, nil
	}
	at, err := b.tx.OldestDelivery(ctx, of.hook, of.config, since, most)
	if err == nil {
		b.oldest[of] = at
	}
	return at, err
}

// called counts a call of the configuration in all budgets that were looked at.
func (b *batch) called(c *hook.Config) {
	for _, key := range []budget{{c.Hook, c.Key}, {c.Hook, ""}, {}} {
		if _, known := b.calls[key]; known {
			b.calls[key]++
		}
	}
}
