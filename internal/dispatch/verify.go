package dispatch

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// lookAgain is how often the Pods of a workload are looked at whose failing ones were deleted.
const lookAgain = 5 * time.Second

// verify watches the incidents after the agent's end. A delivery that never reached its agent has no
// outcome: what happened to its incidents says nothing about the agent.
func (d *Dispatcher) verify(ctx context.Context, dl *delivery.Delivery) (time.Duration, error) {
	if dl.Outcome != "" || dl.Skipped != "" || dl.TaskID == "" && dl.State != delivery.Succeeded {
		return 0, nil
	}
	incidents, err := d.store.DeliveryIncidents(ctx, dl.ID, maxIncidents)
	if err != nil {
		return 0, fmt.Errorf("read the incidents of delivery %s: %w", dl.ID, err)
	}
	window := dl.VerifyWindow
	if window == 0 {
		window = d.cfg.VerifyWindow
	}
	now, until := d.cfg.Clock.Now(), dl.EndedAt.Add(window)
	outcome, at := outcomeOf(incidents, until, now, func() health { return d.health(ctx, incidents) })
	if outcome == "" {
		return max(at.Sub(now), time.Millisecond), nil
	}
	dl.Outcome, dl.OutcomeAt = outcome, at
	if err := d.save(ctx, dl, Change{From: dl.State}, delivery.Entry{Kind: delivery.EntryOutcome, State: string(outcome)}); err != nil {
		return 0, err
	}
	d.cfg.Log.Info("outcome known", "delivery", dl.ID, "hook", dl.Hook, "agent", dl.Agent, "outcome", outcome)
	return 0, nil
}

// health is how the workloads do whose failing resources were deleted.
type health int

const (
	unknown    health = iota // they have no Pods, or nobody can say
	unhealthy                // one of their Pods is not healthy
	allHealthy               // all their Pods are
)

// outcomeOf judges the incidents of a delivery at now: "" while that is too early, with the time at
// which to judge again. What ended later than the window, while nobody watched, was open at its end. Of what is open only because
// nothing is heard of its node nobody knows. A resource that was deleted is no proof of recovery: its workload must be healthy.
func outcomeOf(incidents []*incident.Incident, until, now time.Time, workloads func() health) (delivery.Outcome, time.Time) {
	last, open, seen := time.Time{}, false, false
	ended := map[incident.Resolution]bool{}
	for _, inc := range incidents {
		open = open || inc.Open()
		seen = seen || inc.Open() && inc.UnheardSince.IsZero()
		ended[inc.Resolution] = true
		if inc.ResolvedAt.After(last) {
			last = inc.ResolvedAt
		}
	}
	switch {
	case open && now.Before(until):
		return "", until
	case seen, last.After(until):
		return delivery.OutcomePersisting, now
	case open, ended[incident.Quiet], len(incidents) == 0:
		return delivery.OutcomeUnknown, now
	case !ended[incident.WasGone]:
		return delivery.OutcomeRecovered, last
	}
	switch is := workloads(); {
	case is == allHealthy:
		return delivery.OutcomeRecovered, now
	case now.Before(until):
		return "", earlier(until, now.Add(wait.Jitter(lookAgain, 0.2)))
	case is == unhealthy:
		return delivery.OutcomePersisting, now
	}
	return delivery.OutcomeUnknown, now
}

// earlier is the first of two times.
func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// health looks at the workloads of the incidents whose resources were deleted.
func (d *Dispatcher) health(ctx context.Context, incidents []*incident.Incident) health {
	if d.cfg.Workload == nil {
		return unknown
	}
	type workload struct {
		namespace string
		incident.Workload
	}
	seen := map[workload]bool{}
	worst := allHealthy
	for _, inc := range incidents {
		w := workload{inc.Resource.Namespace, inc.Workload}
		if inc.Resolution != incident.WasGone || seen[w] {
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
