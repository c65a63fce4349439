package dispatch

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
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
	end := outcomeOf(all, dl.VerifyUntil, dl.RecoveredAt, func() health { return d.health(ctx, all) })
	dl.Outcome, dl.OutcomeAt, dl.RecoveredAt = end.outcome, end.at, end.recoveredAt
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
	if d.health(ctx, all) != allHealthy {
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
func (d *Dispatcher) aftermath(ctx context.Context, dl *delivery.Delivery) ([]store.Aftermath, error) {
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
func (d *Dispatcher) failedAnew(ctx context.Context, dl *delivery.Delivery, a *store.Aftermath) error {
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

// health is how the workloads do whose failing resources were deleted.
type health int

const (
	unknown    health = iota // they have no Pods, or nobody can say
	unhealthy                // one of their Pods is not healthy
	allHealthy               // all their Pods are
)

// ending is the outcome of a delivery, when it became so, and when the incidents had recovered; zero times where nobody knows.
type ending struct {
	outcome         delivery.Outcome
	at, recoveredAt time.Time
}

// outcomeOf judges at the end of the window, or later: what ended after it, while nobody watched, was open at its end. Of what is open
// only because nothing is heard of its node nobody knows. A resource that was deleted is no proof of recovery: its workload must be
// healthy, which it may have been seen to be at a time.
//
// What goes on counts before what came back, and that before what nobody knows: one that failed again is enough for not claiming a recovery.
func outcomeOf(all []store.Aftermath, until, seenHealthy time.Time, workloads func() health) ending {
	sum, relapse := store.Aftermath{}, store.Aftermath{}
	for _, a := range all {
		if a.Relapse.IsZero() {
			sum.Add(a)
		} else if relapse.Relapse.IsZero() || a.Relapse.Before(relapse.Relapse) {
			relapse = a
		}
	}
	switch {
	case sum.Heard, sum.LastEnd.After(until):
		return ending{outcome: delivery.OutcomePersisting}
	case !relapse.Relapse.IsZero():
		return ending{delivery.OutcomeRelapsed, relapse.Relapse, relapse.LastRecovery}
	case sum.Open, sum.Quiet, len(all) == 0:
		return ending{outcome: delivery.OutcomeUnknown}
	case !sum.Gone:
		return ending{delivery.OutcomeRecovered, sum.LastEnd, sum.LastEnd}
	}
	switch is := workloads(); is {
	case unhealthy:
		return ending{outcome: delivery.OutcomePersisting}
	case unknown:
		return ending{outcome: delivery.OutcomeUnknown}
	}
	if seenHealthy.IsZero() || seenHealthy.Before(sum.LastEnd) {
		seenHealthy = until
	}
	return ending{delivery.OutcomeRecovered, seenHealthy, seenHealthy}
}

// health looks at the workloads whose failing resources were deleted.
func (d *Dispatcher) health(ctx context.Context, all []store.Aftermath) health {
	if d.cfg.Workload == nil {
		return unknown
	}
	type workload struct {
		namespace string
		incident.Workload
	}
	seen := map[workload]bool{}
	worst := allHealthy
	for _, a := range all {
		w := workload{a.Namespace, a.Workload}
		if !a.Gone || seen[w] {
			continue
		}
		seen[w] = true
		pods, well, known := d.cfg.Workload(ctx, w.namespace, w.Workload)
		switch {
		case !known || pods == 0:
			worst = min(worst, unknown)
		case well < pods && worst == allHealthy:
			worst = unhealthy
		}
	}
	return worst
}
