package dispatch

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

const (
	// lookAgain is how often the Pods of a workload are looked at whose failing ones were deleted.
	lookAgain = 5 * time.Second
	// looksAtMost bounds how often that is within a window.
	looksAtMost = 120
)

// verify decides the outcome at the end of the window, and not before: what has recovered may fail again. A delivery that never reached
// its agent has no outcome: what happened to its incidents says nothing about the agent.
func (d *Dispatcher) verify(ctx context.Context, dl *delivery.Delivery) (time.Duration, error) {
	if dl.Outcome != "" || dl.VerifyUntil.IsZero() {
		return 0, nil
	}
	now := d.cfg.Clock.Now()
	if now.Before(dl.VerifyUntil) {
		return d.watch(ctx, dl, now)
	}
	if pause := d.unwatched(dl, now); pause > 0 {
		return pause, nil
	}
	all, err := d.aftermath(ctx, dl)
	if err != nil {
		return 0, err
	}
	end := delivery.Judge(all, dl.VerifyUntil, dl.RecoveredAt, func() delivery.Health { return d.health(ctx, all) })
	dl.Outcome, dl.OutcomeAt, dl.RecoveredAt = end.Outcome, end.At, end.RecoveredAt
	if dl.OutcomeAt.IsZero() {
		dl.OutcomeAt = now
	}
	if err := d.save(ctx, dl, Change{From: dl.State}, delivery.Entry{Kind: delivery.EntryOutcome, State: string(dl.Outcome)}); err != nil {
		return 0, err
	}
	d.cfg.Log.Info("outcome known", "delivery", dl.ID, "hook", dl.Hook, "agent", dl.Agent, "outcome", dl.Outcome)
	return 0, nil
}

// verifyUntil is when the outcome of a delivery that has ended just now is to be decided; zero if there is none to come.
func (d *Dispatcher) verifyUntil(dl *delivery.Delivery) time.Time {
	if dl.Skipped != "" || dl.TaskID == "" && dl.State != delivery.Succeeded {
		return time.Time{}
	}
	window := dl.VerifyWindow
	if window == 0 {
		window = d.cfg.VerifyWindow
	}
	return dl.EndedAt.Add(window)
}

// watch notes before the end of the window that the workloads of deleted resources are healthy: no incident tells that, and at
// the end nobody would know since when. All the rest is in the history.
func (d *Dispatcher) watch(ctx context.Context, dl *delivery.Delivery, now time.Time) (time.Duration, error) {
	rest := dl.VerifyUntil.Sub(now)
	if !dl.RecoveredAt.IsZero() {
		return rest, nil
	}
	all, err := d.store.Aftermath(ctx, dl.ID, dl.VerifyUntil)
	if err != nil {
		return 0, fmt.Errorf("read what became of delivery %s: %w", dl.ID, err)
	}
	gone := false
	for _, a := range all {
		if a.Open || a.Quiet {
			return rest, nil // the end of an incident wakes the delivery
		}
		gone = gone || a.Gone
	}
	if !gone {
		return rest, nil
	}
	if d.health(ctx, all) != delivery.AllHealthy {
		return min(rest, max(wait.Jitter(lookAgain, 0.2), dl.VerifyUntil.Sub(dl.EndedAt)/looksAtMost)), nil
	}
	dl.RecoveredAt = now
	return rest, d.save(ctx, dl, Change{From: dl.State})
}

// unwatched is how long the outcome must wait although the window is over: while nobody watches, as after a restart, the history does not
// say yet what happened before the end. What the first lists tell needs a moment to get there.
func (d *Dispatcher) unwatched(dl *delivery.Delivery, now time.Time) time.Duration {
	if d.cfg.WatchedSince == nil {
		return 0
	}
	since, watched := d.cfg.WatchedSince()
	if !watched {
		return wait.Jitter(lookAgain, 0.2)
	}
	return since.Add(min(2*lookAgain, dl.VerifyUntil.Sub(dl.EndedAt))).Sub(now)
}

// aftermath is what became, within the window, of all that a delivery is about, and of what failed anew of it: also of failures that no
// call was made for, as when another window was over or the Hook was suspended meanwhile.
func (d *Dispatcher) aftermath(ctx context.Context, dl *delivery.Delivery) ([]delivery.Aftermath, error) {
	all, err := d.store.Aftermath(ctx, dl.ID, dl.VerifyUntil)
	for i := range all {
		if err == nil {
			err = d.failedAnew(ctx, dl, &all[i])
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read what became of delivery %s: %w", dl.ID, err)
	}
	return all, nil
}

// failedAnew adds to what became of a failure what began of it within the window, and when it failed again after it had recovered.
func (d *Dispatcher) failedAnew(ctx context.Context, dl *delivery.Delivery, a *delivery.Aftermath) error {
	anew, err := d.store.FailedAnew(ctx, a.Failure, dl.EndedAt, dl.VerifyUntil)
	if err != nil || anew == nil {
		return err
	}
	a.Add(*anew)
	if a.FirstRecovery.IsZero() && a.Gone {
		a.FirstRecovery = dl.RecoveredAt // seen by its workload
	}
	if a.FirstRecovery.IsZero() {
		return nil // it failed on, as another Pod
	}
	after := a.FirstRecovery
	if dl.EndedAt.After(after) {
		after = dl.EndedAt
	}
	if a.Relapse, err = d.store.FirstFailure(ctx, a.Failure, after, dl.VerifyUntil); err != nil || a.Relapse.IsZero() {
		return err
	}
	a.LastRecovery = a.FirstRecovery
	last, err := d.store.LastRecovery(ctx, dl.ID, a.Failure, a.Relapse)
	if last.After(a.LastRecovery) {
		a.LastRecovery = last
	}
	return err
}

// health looks at the workloads whose failing resources were deleted.
func (d *Dispatcher) health(ctx context.Context, all []delivery.Aftermath) delivery.Health {
	if d.cfg.Workload == nil {
		return delivery.HealthUnknown
	}
	type workload struct {
		namespace string
		incident.Workload
	}
	seen := map[workload]bool{}
	worst := delivery.AllHealthy
	for _, a := range all {
		w := workload{a.Namespace, a.Workload}
		if !a.Gone || seen[w] {
			continue
		}
		seen[w] = true
		pods, well, known := d.cfg.Workload(ctx, w.namespace, w.Workload)
		switch {
		case !known || pods == 0:
			worst = min(worst, delivery.HealthUnknown)
		case well < pods && worst == delivery.AllHealthy:
			worst = delivery.Unhealthy
		}
	}
	return worst
}
