package delivery

import (
	"time"

	"github.com/kagent-dev/khook/internal/incident"
)

// Failure is what can fail again: a type of failure of a workload's container, whichever of its Pods has it. A Pod that was
// replaced fails on as another one.
type Failure struct {
	Type      incident.EventType
	Namespace string
	Workload  incident.Workload
	Container string
}

// Aftermath sums up incidents of one Failure. It has only what more incidents, and the same ones once more, can be added to.
type Aftermath struct {
	Failure
	Open, Heard   bool      // one is open; and of such a one something is heard
	Quiet, Gone   bool      // one ended so
	LastEnd       time.Time // the newest end
	FirstRecovery time.Time // the first end as recovered
	Relapse       time.Time // when it failed again after a recovery, the first time; zero if it did not. Add leaves it
	LastRecovery  time.Time // before Relapse
}

// Add takes over other incidents of the same failure.
func (a *Aftermath) Add(b Aftermath) {
	a.Open, a.Heard, a.Quiet, a.Gone = a.Open || b.Open, a.Heard || b.Heard, a.Quiet || b.Quiet, a.Gone || b.Gone
	if b.LastEnd.After(a.LastEnd) {
		a.LastEnd = b.LastEnd
	}
	if a.FirstRecovery.IsZero() || !b.FirstRecovery.IsZero() && b.FirstRecovery.Before(a.FirstRecovery) {
		a.FirstRecovery = b.FirstRecovery
	}
}

// Health is how the workloads do whose failing resources were deleted.
type Health int

// The healths.
const (
	HealthUnknown Health = iota // they have no Pods, or nobody can say
	Unhealthy                   // one of their Pods is not healthy
	AllHealthy                  // all their Pods are
)

// Ending is an outcome, when it became so, and when the incidents had recovered; zero times where nobody knows.
type Ending struct {
	Outcome         Outcome
	At, RecoveredAt time.Time
}

// Judge decides about an outcome at the end of the window, or later: what ended after it, while nobody watched, was open at its end. Of what is open
// only because nothing is heard of its node nobody knows. A resource that was deleted is no proof of recovery: its workload must be
// healthy, which it may have been seen to be at a time.
//
// What goes on counts before what came back, and that before what nobody knows: one that failed again is enough for not claiming a recovery.
func Judge(all []Aftermath, until, seenHealthy time.Time, workloads func() Health) Ending {
	sum, relapse := Aftermath{}, Aftermath{}
	for _, a := range all {
		if a.Relapse.IsZero() {
			sum.Add(a)
		} else if relapse.Relapse.IsZero() || a.Relapse.Before(relapse.Relapse) {
			relapse = a
		}
	}
	switch {
	case sum.Heard, sum.LastEnd.After(until):
		return Ending{Outcome: OutcomePersisting}
	case !relapse.Relapse.IsZero():
		return Ending{OutcomeRelapsed, relapse.Relapse, relapse.LastRecovery}
	case sum.Open, sum.Quiet, len(all) == 0:
		return Ending{Outcome: OutcomeUnknown}
	case !sum.Gone:
		return Ending{OutcomeRecovered, sum.LastEnd, sum.LastEnd}
	}
	switch is := workloads(); is {
	case Unhealthy:
		return Ending{Outcome: OutcomePersisting}
	case HealthUnknown:
		return Ending{Outcome: OutcomeUnknown}
	}
	if seenHealthy.IsZero() || seenHealthy.Before(sum.LastEnd) {
		seenHealthy = until
	}
	return Ending{OutcomeRecovered, seenHealthy, seenHealthy}
}
