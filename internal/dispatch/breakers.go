package dispatch

import (
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"

	"github.com/kagent-dev/khook/internal/delivery"
)

// breakers are the circuit breakers: one of each agent, for what it or the way to it does not answer, and one of all, for connections to
// kagent that do not come about. So an agent that hangs or says 502 holds up nobody else.
type breakers struct {
	delay time.Duration
	all   breaker

	mu      sync.Mutex
	byAgent map[delivery.AgentRef]breaker
}

type breaker = circuitbreaker.CircuitBreaker[any]

// maxBreakers bounds the agents whose breakers are kept; above it those that are closed are forgotten.
const maxBreakers = 1000

func newBreakers(delay time.Duration) *breakers {
	return &breakers{delay: delay, all: newBreaker(delay), byAgent: map[delivery.AgentRef]breaker{}}
}

func newBreaker(delay time.Duration) breaker {
	return circuitbreaker.NewBuilder[any]().WithFailureThreshold(5).WithSuccessThreshold(1).WithDelay(delay).Build()
}

func (b *breakers) of(a delivery.AgentRef) breaker {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.byAgent[a] == nil {
		for ref, known := range b.byAgent {
			if len(b.byAgent) >= maxBreakers && known.IsClosed() {
				delete(b.byAgent, ref)
			}
		}
		b.byAgent[a] = newBreaker(b.delay)
	}
	return b.byAgent[a]
}

// acquire takes a permit for a call of the agent, or says how long to wait for one. The agent's own is asked first: where only one call
// is let through to try kagent, an agent that may not be called must not take it.
func (b *breakers) acquire(a delivery.AgentRef) (after time.Duration, ok bool) {
	own := b.of(a)
	if !own.TryAcquirePermit() {
		return own.RemainingDelay(), false
	}
	if !b.all.TryAcquirePermit() {
		giveBack(own)
		return b.all.RemainingDelay(), false
	}
	return 0, true
}

// release gives back a permit that led to no call.
func (b *breakers) release(a delivery.AgentRef) {
	giveBack(b.of(a))
	giveBack(b.all)
}

// giveBack returns a permit. Where only one call is let through the next one waits as if it had failed.
func giveBack(one breaker) {
	if one.IsHalfOpen() {
		one.RecordFailure()
	}
}

// waits is how long the calls of an agent wait for a breaker; open says that they do not.
func (b *breakers) waits(a delivery.AgentRef) (after time.Duration, open bool) {
	own := b.of(a)
	return max(own.RemainingDelay(), b.all.RemainingDelay()), own.IsClosed() && b.all.IsClosed()
}

// record tells whose breaker what became of a call, by the table of faults; "" is a call that was answered. It says whether kagent is back.
func (b *breakers) record(a delivery.AgentRef, f delivery.Fault) (back bool) {
	was := b.all.IsClosed()
	defer func() { back = !was && b.all.IsClosed() }()
	whose := delivery.NoBreaker
	if f != "" {
		whose = f.Rule().Breaker
	}
	own := b.of(a)
	switch whose {
	case delivery.OfAll:
		b.all.RecordFailure()
		giveBack(own)
	case delivery.OfTheAgent:
		b.all.RecordSuccess()
		own.RecordFailure()
	default:
		b.all.RecordSuccess()
		own.RecordSuccess()
	}
	return back
}

// open says whether any calls wait for a breaker.
func (b *breakers) open() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, own := range b.byAgent {
		if own.IsOpen() {
			return true
		}
	}
	return b.all.IsOpen()
}
