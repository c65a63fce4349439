package detect

import (
	"container/heap"
	"time"
)

// lookAgain is how long after the loss of a watch is waited to see whether it is back.
const lookAgain = 30 * time.Second

// nextLook is the earliest time at which a rule may have something to say though the Pod has not
// changed; zero if there is none. It must not be later than what timeRules wait for: then a signal is late.
func nextLook(known state, seen observed) time.Time {
	var next time.Time
	earlier := func(due time.Time) {
		if !due.After(seen.now) {
			due = seen.now.Add(time.Second) // its condition is not met yet: look again
		}
		if next.IsZero() || due.Before(next) {
			next = due
		}
	}
	pod, p := known.pod, known.problems
	if p.pending.mayReport(pod) {
		earlier(latest(p.pending.due(pod, p, seen.timing), p.pending.notBefore))
	}
	for _, o := range p.open {
		if due, ok := recoveryDue(pod, p, o, seen.timing); ok {
			earlier(due)
		}
		if signOf(pod, o) != "" {
			due := o.lastSignal.Add(seen.timing.ongoingEvery())
			if !seen.live {
				due = latest(due, seen.now.Add(lookAgain))
			}
			earlier(due)
		}
	}
	for _, s := range p.streaks {
		if due, ok := s.startupOver(pod); ok {
			earlier(due)
		}
	}
	if next.IsZero() && len(p.open) == 0 && p.pending == nil {
		earlier(seen.now.Add(probeMemory)) // to forget the probes
	}
	return next
}

// timer is a time at which a Pod is looked at.
type timer struct {
	at  time.Time
	key podKey
}

// timers is a heap of timers. A Pod's newest one counts, see troubledPod.due; the others are passed
// over when they come up.
type timers []timer

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].at.Before(t[j].at) }
func (t timers) Swap(i, j int)      { t[i], t[j] = t[j], t[i] }

// Push is part of heap.Interface.
func (t *timers) Push(x any) {
	if v, ok := x.(timer); ok {
		*t = append(*t, v)
	}
}

// Pop is part of heap.Interface.
func (t *timers) Pop() any {
	last := (*t)[len(*t)-1]
	*t = (*t)[:len(*t)-1]
	return last
}

func (t *timers) push(next timer) { heap.Push(t, next) }

// pop removes the first timer and returns it; it must not be empty.
func (t *timers) pop() timer {
	first, _ := heap.Pop(t).(timer)
	return first
}
