package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/hook"
)

// The times in which calls and tokens are counted against a budget.
const (
	budgetHour = time.Hour
	budgetDay  = 24 * time.Hour
)

// budgetScope is what a budget is of: a configuration, a Hook without one, or everything.
type budgetScope struct {
	hook   delivery.HookRef
	config string
}

// budget is a bound on the calls of a scope within an hour, or on their tokens within a day, with what was loaded of it. It is a
// value: whether it is used up follows from it and the time alone.
type budget struct {
	name   string
	of     string // calls or tokens
	within time.Duration
	most   int
	// used is how many calls were made within that time, those of this batch included, counted up to most; or how many tokens they took.
	// The tokens of calls under way are not known, and not in it.
	used int
	// oldest is when the oldest of the calls that count was created, if used reaches most; zero if all of them are
	// of this batch, and not in the history yet.
	oldest time.Time
}

// exceeded says whether the budget is used up at a time, and until when.
func (b budget) exceeded(now time.Time) (groupHold, bool) {
	if b.used < b.most {
		return groupHold{}, false
	}
	oldest := b.oldest
	if oldest.IsZero() {
		oldest = now
	}
	return groupHold{why: fmt.Sprintf("%s, %d, is used up", b.name, b.most), until: oldest.Add(b.within)}, true
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
		if loaded = append(loaded, one); one.used >= one.most {
			return loaded, nil
		}
	}
	if c.HookTokens == 0 {
		return loaded, nil
	}
	tokens, err := b.loadTokens(ctx, c)
	return append(loaded, tokens), err
}

// loadTokens loads the budget of tokens of a Hook. The history is asked once for each batch: what it decides about takes no tokens yet.
func (b *batch) loadTokens(ctx context.Context, c *hook.Config) (budget, error) {
	loaded := budget{name: delivery.TokensBudget, of: "tokens", within: budgetDay, most: c.HookTokens}
	spent, known := b.tokens[c.Hook]
	if !known {
		var err error
		if spent, err = b.history.TokensSpent(ctx, c.Hook, b.now.Add(-budgetDay), c.HookTokens); err != nil {
			return loaded, err
		}
		b.tokens[c.Hook] = spent
	}
	loaded.used, loaded.oldest = int(spent.Tokens), spent.Reached
	return loaded, nil
}

// loadBudget loads one budget. The history is asked once for each batch; calls of the batch itself are added by called.
func (b *batch) loadBudget(ctx context.Context, of budgetScope, most int) (budget, error) {
	since := b.now.Add(-budgetHour)
	loaded := budget{of: "calls", within: budgetHour, most: most}
	n, known := b.calls[of]
	if !known {
		var err error
		if n, err = b.history.CountDeliveries(ctx, of.hook, of.config, since, most); err != nil {
			return loaded, err
		}
		b.calls[of] = n
	}
	if loaded.used = n; n < most {
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
