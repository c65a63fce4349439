package main

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/dispatch"
	"github.com/kagent-dev/khook/internal/ledger"
	"github.com/kagent-dev/khook/internal/source"
)

// every calls do now and then, until ctx ends.
func every(ctx context.Context, period time.Duration, do func(context.Context)) error {
	wait.JitterUntilWithContext(ctx, do, period, 0.1, true)
	return nil
}

// endQuiet ends the incidents of which nothing new is seen. Only while the cluster is watched can
// one say that nothing was seen.
func (p *pipeline) endQuiet(ctx context.Context, book *ledger.Ledger, sources source.List) error {
	return every(ctx, 5*time.Second, func(ctx context.Context) {
		since, watched := sources.WatchedSince()
		if !watched {
			return
		}
		if at, any := book.NextQuiet(since); !any || at.After(time.Now()) {
			return
		}
		if err := book.EndQuiet(ctx, since); err != nil && ctx.Err() == nil {
			p.log.Error(err, "cannot record that incidents ended, will retry")
		}
	})
}

// reconsider makes calls due that were held back and may be made by now.
func (p *pipeline) reconsider(ctx context.Context, book *ledger.Ledger) error {
	return every(ctx, ledger.ReconsiderEvery, func(ctx context.Context) {
		if err := book.Reconsider(ctx); err != nil && ctx.Err() == nil {
			p.log.Error(err, "cannot look again at what is held back, will retry")
		}
	})
}

// replayDeadLetters tries again what a person wants to be tried.
func (p *pipeline) replayDeadLetters(ctx context.Context, book *ledger.Ledger) error {
	return every(ctx, ledger.ReplayEvery, func(ctx context.Context) {
		if err := book.ReplayWanted(ctx); err != nil && ctx.Err() == nil {
			p.log.Error(err, "cannot replay dead letters, will retry")
		}
	})
}

// prune deletes what is older than the retention.
func (p *pipeline) prune(ctx context.Context) error {
	return every(ctx, 10*time.Minute, func(ctx context.Context) {
		deleted, err := p.store.Prune(ctx, time.Now().Add(-p.options.Retention))
		if err != nil && ctx.Err() == nil {
			p.log.Error(err, "cannot delete old history, will retry")
		}
		if deleted > 0 {
			p.log.Info("deleted old history", "rows", deleted, "olderThan", p.options.Retention)
		}
	})
}

// checkAgents looks whether the agents that Hooks name can be found.
func (p *pipeline) checkAgents(ctx context.Context) error {
	known := map[delivery.AgentRef]bool{}
	return every(ctx, min(p.options.AgentCheckEvery, 2*time.Second), func(ctx context.Context) {
		due := time.Since(p.checked) >= p.options.AgentCheckEvery
		if due {
			p.checked = time.Now()
		}
		for _, a := range p.hooks.AllAgents() {
			if ctx.Err() != nil || known[a] && !due {
				continue
			}
			known[a] = true
			p.status.AgentHealth(a, reachable(p.agents.Exists(ctx, a)))
		}
	})
}

// measure samples what no commit tells.
func (p *pipeline) measure(ctx context.Context, d *dispatch.Dispatcher) error {
	return every(ctx, 10*time.Second, func(ctx context.Context) {
		p.story.meters.queued.WithLabelValues("due").Set(float64(d.Queued()))
		p.story.meters.queued.WithLabelValues("waiting-for-agent").Set(float64(d.Waiting()))
		p.measureStore(ctx)
		if err := p.measureHolds(ctx); err != nil && ctx.Err() == nil {
			p.log.Error(err, "cannot count what is held back")
		}
		if age, err := p.oldestPending(ctx); err == nil {
			p.story.meters.oldest.Set(age.Seconds())
		}
	})
}

func (p *pipeline) measureStore(ctx context.Context) {
	m := p.story.meters
	if size, err := p.store.Size(ctx); err == nil {
		m.storeSize.Set(float64(size))
	}
	if letters, err := p.deadLetters(ctx); err == nil {
		m.deadLetters.Set(float64(letters))
	}
	if size, free, err := p.store.Disk(); err == nil && size > 0 {
		m.diskSize.WithLabelValues().Set(float64(size))
		m.diskFree.WithLabelValues().Set(float64(free))
	}
	if counts, err := p.store.Unfinished(ctx); err == nil {
		for _, state := range delivery.States() {
			if !state.Ended() {
				m.unfinished.WithLabelValues(string(state)).Set(float64(counts[state]))
			}
		}
	}
}

// deadLetters is how many signals were put aside and wait for a person.
func (p *pipeline) deadLetters(ctx context.Context) (int, error) {
	n, err := p.store.CountDeadLetters(ctx)
	if work := p.working.Load(); work != nil {
		n += work.book.Unsaved()
	}
	return n, err
}

// maxHoldsMeasured bounds how many groups that are held back are counted.
const maxHoldsMeasured = 10_000

func (p *pipeline) measureHolds(ctx context.Context) error {
	held, err := p.store.HeldGroups(ctx, delivery.HookRef{}, time.Now(), maxHoldsMeasured)
	if err != nil {
		return err
	}
	counts := map[string]int{"over-budget": 0, "loop-guard": 0, "needs-person": 0}
	for _, g := range held {
		why := string(g.Hold)
		if g.NeedsPerson {
			why = "needs-person"
		}
		counts[why]++
	}
	for why, n := range counts {
		p.story.meters.held.WithLabelValues(why).Set(float64(n))
	}
	return nil
}

// oldestPending is how long the oldest delivery has waited whose agent was not reached yet; 0 if there
// is none.
func (p *pipeline) oldestPending(ctx context.Context) (time.Duration, error) {
	since, err := p.store.OldestPending(ctx)
	if err != nil || since.IsZero() {
		return 0, err
	}
	return max(0, time.Since(since)), nil
}
