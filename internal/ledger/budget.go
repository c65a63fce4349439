package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/hook"
)

// budgetHour is the time in which calls are counted against a budget.
const budgetHour = time.Hour

// budgetScope is what a budget is of: a configuration, a Hook without one, or everything.
type budgetScope struct {
	hook   delivery.HookRef
	config string
}

// budget is a bound on the calls of a scope within an hour, with what was loaded of it. It is a value: whether it is
// used up follows from it and the time alone.
type budget struct {
	name string
	most int
	// called is how many calls were made within the hour, those of this batch included; counted up to most.
	called int
	// oldest is when the oldest of the calls that count was created, if called reaches most; zero if all of them are
	// of this batch, and not in the history yet.
	oldest time.Time
}

// exceeded says whether the budget is used up at a time, and until when.
func (b budget) exceeded(now time.Time) (groupHold, bool) {
	if b.called < b.most {
		return groupHold{}, false
	}
	oldest := b.oldest
	if oldest.IsZero() {
		oldest = now
	}
	return groupHold{why: fmt.Sprintf("%s, %d, is used up", b.name, b.most), until: oldest.Add(budgetHour)}, true
}

// firstExceeded is the hold of the first budget that is used up.
func firstExceeded(budgets []budget, now time.Time) (groupHold, bool) {
	for _, b := range budgets {
		if held, over := b.exceeded(now); over {
			return held, true
		}
	}
	return groupHold{}, false
}

// loadBudgets loads the budgets that a call of the configuration counts against, up to the first that is used up.
func (b *batch) loadBudgets(ctx context.Context, c *hook.Config) ([]budget, error) {
	var loaded []budget
	for _, bound := range []struct {
		budgetScope
		most int
		name string
	}{
		{budgetScope{c.Hook, c.Key}, c.MaxPerHour, "maxCallsPerHour of the configuration " + c.Key},
		{budgetScope{c.Hook, ""}, c.HookPerHour, "spec.maxCallsPerHour of the Hook"},
		{budgetScope{}, b.cfg.MaxCallsPerHour, "--max-calls-per-hour of khook"},
	} {
		if bound.most == 0 {
			continue
		}
		one, err := b.loadBudget(ctx, bound.budgetScope, bound.most)
		if err != nil {
			return nil, err
		}
		one.name = bound.name
		if loaded = append(loaded, one); one.called >= one.most {
			break
		}
	}
	return loaded, nil
}

// loadBudget loads one budget. The history is asked once for each batch; calls of the batch itself are added by called.
func (b *batch) loadBudget(ctx context.Context, of budgetScope, most int) (budget, error) {
	since := b.now.Add(-budgetHour)
	loaded := budget{most: most}
	n, known := b.calls[of]
	if !known {
		var err error
		if n, err = b.history.CountDeliveries(ctx, of.hook, of.config, since, most); err != nil {
			return loaded, err
		}
		b.calls[of] = n
	}
	if loaded.called = n; n < most {
		return loaded, nil
	}
	at, known := b.oldest[of]
	if !known {
		var err error
		if at, err = b.history.OldestDelivery(ctx, of.hook, of.config, since, most); err != nil {
			return loaded, err
		}
		b.oldest[of] = at
	}
	loaded.oldest = at
	return loaded, nil
}

// called counts a call of the configuration in all budgets that were loaded. loadBudgets must have loaded all that
// apply before a delivery is created: one that is loaded later asks the history, which lacks this batch's calls.
func (b *batch) called(c *hook.Config) {
	for _, key := range []budgetScope{{c.Hook, c.Key}, {c.Hook, ""}, {}} {
		if _, known := b.calls[key]; known {
			b.calls[key]++
		}
	}
}
