package app

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/dispatch"
	"github.com/kagent-dev/khook/internal/ledger"
)

// runEvery calls do now and then, until ctx ends.
func runEvery(ctx context.Context, period time.Duration, do func(context.Context)) error {
	wait.JitterUntilWithContext(ctx, do, period, 0.1, true)
	return nil
}

// endQuiet ends the incidents of which nothing new is seen. Only while the cluster is watched can
// one say that nothing was seen.
func (a *App) endQuiet(ctx context.Context, leader *leaderParts) error {
	var awake wakefulness
	return runEvery(ctx, quietEvery, func(ctx context.Context) {
		woke := awake.since(time.Now())
		since, watched := leader.sources.WatchedSince()
		if !watched {
			return
		}
		if woke.After(since) {
			since = woke
		}
		if at, some := leader.ledger.NextQuiet(since); !some || at.After(time.Now()) {
			return
		}
		if err := leader.ledger.EndQuiet(ctx, since); err != nil && ctx.Err() == nil {
			a.log.Error(err, "cannot record that incidents ended, will retry")
		}
	})
}

// quietEvery is how often is looked for incidents that should end as quiet.
const quietEvery = 5 * time.Second

// wakefulness finds out since when this process runs without a break. One that was halted, or whose machine was paused,
// does not notice that its watches stood still: they are up, and silent.
type wakefulness struct{ last, from time.Time }

// since takes the time of now, each quietEvery, and returns since when that was not missed; zero if it never was. It goes
// by the wall clock: the other one stands still while the machine does.
func (w *wakefulness) since(now time.Time) time.Time {
	now = now.Round(0) // without the monotonic clock
	if missed := now.Sub(w.last); !w.last.IsZero() && (missed < 0 || missed > 6*quietEvery) {
		w.from = now
	}
	w.last = now
	return w.from
}

// reconsider makes calls due that were held back and may be made by now.
func (a *App) reconsider(ctx context.Context, leader *leaderParts) error {
	return runEvery(ctx, ledger.ReconsiderEvery, func(ctx context.Context) {
		if err := leader.ledger.Reconsider(ctx); err != nil && ctx.Err() == nil {
			a.log.Error(err, "cannot look again at what is held back, will retry")
		}
	})
}

// replayDeadLetters tries again what a person wants to be tried.
func (a *App) replayDeadLetters(ctx context.Context, leader *leaderParts) error {
	return runEvery(ctx, ledger.ReplayEvery, func(ctx context.Context) {
		if err := leader.ledger.ReplayWanted(ctx); err != nil && ctx.Err() == nil {
			a.log.Error(err, "cannot replay dead letters, will retry")
		}
	})
}

// prune deletes what is older than the retention.
func (a *App) prune(ctx context.Context) error {
	return runEvery(ctx, 10*time.Minute, func(ctx context.Context) {
		deleted, err := a.store.Prune(ctx, time.Now().Add(-a.options.Retention))
		if err != nil && ctx.Err() == nil {
			a.log.Error(err, "cannot delete old history, will retry")
		}
		if deleted > 0 {
			a.log.Info("deleted old history", "rows", deleted, "olderThan", a.options.Retention)
		}
	})
}

// checkAgents looks whether the agents that Hooks name can be found.
func (a *App) checkAgents(ctx context.Context) error {
	known := map[delivery.AgentRef]bool{}
	return runEvery(ctx, min(a.options.AgentCheckEvery, 2*time.Second), func(ctx context.Context) {
		due := time.Since(a.checked) >= a.options.AgentCheckEvery
		if due {
			a.checked = time.Now()
		}
		for _, ref := range a.hooks.AllAgents() {
			if ctx.Err() != nil || known[ref] && !due {
				continue
			}
			known[ref] = true
			a.status.AgentHealth(ref, reachable(a.agents.Exists(ctx, ref)))
		}
	})
}

// measure samples what no commit tells.
func (a *App) measure(ctx context.Context, d *dispatch.Dispatcher) error {
	return runEvery(ctx, 10*time.Second, func(ctx context.Context) {
		a.publisher.metrics.queued.WithLabelValues("due").Set(float64(d.Queued()))
		a.publisher.metrics.queued.WithLabelValues("waiting-for-agent").Set(float64(d.Waiting()))
		a.measureStore(ctx)
		if err := a.measureHolds(ctx); err != nil && ctx.Err() == nil {
			a.log.Error(err, "cannot count what is held back")
		}
		if age, err := oldestPending(ctx, a.store); err == nil {
			a.publisher.metrics.oldest.Set(age.Seconds())
		}
	})
}

func (a *App) measureStore(ctx context.Context) {
	m := a.publisher.metrics
	if size, err := a.store.Size(ctx); err == nil {
		m.storeSize.Set(float64(size))
	}
	if letters, err := a.deadLetters(ctx, a.store); err == nil {
		m.deadLetters.Set(float64(letters))
	}
	if size, free, err := a.store.Disk(); err == nil && size > 0 {
		m.diskSize.WithLabelValues().Set(float64(size))
		m.diskFree.WithLabelValues().Set(float64(free))
	}
	if n, err := a.store.Stalled(ctx); err == nil {
		m.stalled.Set(float64(n))
	}
	if counts, err := a.store.Unfinished(ctx); err == nil {
		for _, state := range delivery.States() {
			if !state.Ended() {
				m.unfinished.WithLabelValues(string(state)).Set(float64(counts[state]))
			}
		}
	}
}

// backlog is what both the metrics and the HTTP API tell of the history. Metrics read it through the store, and people
// through its Reader, so that nobody who asks takes a connection that khook needs.
type backlog interface {
	OldestPending(ctx context.Context) (time.Time, error)
	CountDeadLetters(ctx context.Context) (int, error)
}

// deadLetters is how many signals were put aside and wait for a person.
func (a *App) deadLetters(ctx context.Context, history backlog) (int, error) {
	n, err := history.CountDeadLetters(ctx)
	if work := a.leader.Load(); work != nil {
		n += work.ledger.Unsaved()
	}
	return n, err
}

// maxHoldsMeasured bounds how many groups that are held back are counted.
const maxHoldsMeasured = 10_000

func (a *App) measureHolds(ctx context.Context) error {
	held, err := a.store.HeldGroups(ctx, delivery.HookRef{}, time.Now().Add(-delivery.HeldFor), maxHoldsMeasured)
	if err != nil {
		return err
	}
	counts := map[string]int{"over-budget": 0, "loop-guard": 0, "needs-person": 0, "paused": 0}
	for _, g := range held {
		why := string(g.Hold)
		if g.NeedsPerson {
			why = "needs-person"
		}
		counts[why]++
	}
	for why, n := range counts {
		a.publisher.metrics.held.WithLabelValues(why).Set(float64(n))
	}
	return nil
}

// oldestPending is how long the oldest delivery has waited whose agent was not reached yet; 0 if there
// is none.
func oldestPending(ctx context.Context, history backlog) (time.Duration, error) {
	since, err := history.OldestPending(ctx)
	if err != nil || since.IsZero() {
		return 0, err
	}
	return max(0, time.Since(since)), nil
}
