package dispatch

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/delivery"
)

func TestKagentThatIsDownIsNotStormed(t *testing.T) {
	r := newRig(t, kagenttest.Options{}, func(c *Config) { c.Workers, c.BreakerDelay = 2, time.Hour })
	r.kagent.Inject(kagenttest.Fault{Times: -1, Status: http.StatusServiceUnavailable})
	attempts := func(ds []*delivery.Delivery) (n int) {
		for _, d := range ds {
			n += r.now(d).Attempt
		}
		return n
	}
	var ds []*delivery.Delivery
	for range 20 {
		ds = append(ds, r.due())
	}
	r.eventually("the circuit breaker is open", r.d.BreakerOpen, func() string { return fmt.Sprint(attempts(ds)) })
	r.halt()
	if n := attempts(ds); n > 5+stepsPerAgent {
		t.Errorf("%d calls before they stopped", n)
	}
	r.kagent.Heal()
	r.start() // knows nothing of the failures
	for _, d := range ds {
		r.untilState(d, delivery.Succeeded)
	}
	r.once(ds...)
	r.nothingLeft()
}

func TestKagentIsTriedNowAndThenAndNothingIsLost(t *testing.T) {
	r := newRig(t, kagenttest.Options{}, func(c *Config) { c.RetryMax, c.BreakerDelay = 20*time.Millisecond, 10*time.Millisecond })
	r.kagent.Inject(kagenttest.Fault{Times: -1, Status: http.StatusServiceUnavailable})
	var ds []*delivery.Delivery
	for range 20 {
		ds = append(ds, r.due())
	}
	r.eventually("the circuit breaker is open", r.d.BreakerOpen, func() string { return "closed" })
	seen := len(r.kagent.Requests())
	r.eventually("kagent is tried again", func() bool { return len(r.kagent.Requests()) > seen+2 }, func() string { return "not yet" })
	r.kagent.Heal()
	for _, d := range ds {
		r.untilState(d, delivery.Succeeded)
	}
	r.once(ds...)
	if r.d.BreakerOpen() {
		t.Error("the circuit breaker is still open")
	}
}

func TestAStepThatMadeNoCallSaysNothingOfKagent(t *testing.T) {
	b, medic := newBreakers(time.Hour), delivery.AgentRef{Namespace: "kagent", Name: "medic"}
	for range 10 {
		b.release(medic)
	}
	if b.open() {
		t.Error("a store that fails stops the calls")
	}
	b.all.HalfOpen()
	if _, ok := b.acquire(medic); !ok {
		t.Fatal("nobody may try kagent")
	}
	if _, ok := b.acquire(medic); ok {
		t.Fatal("more than one call may try kagent")
	}
	if b.release(medic); !b.all.IsOpen() {
		t.Error("kagent is taken to be back although nobody called it")
	}
}

// TestABreakerIsWhoseFaultItIs: what an agent or its way does not answer holds up that agent, and only where no connection comes about are
// all of them held up.
func TestABreakerIsWhoseFaultItIs(t *testing.T) {
	bad, good := delivery.AgentRef{Namespace: "kagent", Name: "bad"}, delivery.AgentRef{Namespace: "kagent", Name: "good"}
	for _, f := range delivery.Faults() {
		b := newBreakers(time.Hour)
		for range 10 {
			b.record(bad, f)
		}
		_, badMay := b.acquire(bad)
		_, goodMay := b.acquire(good)
		whose := f.Rule().Breaker
		if badMay != (whose == delivery.NoBreaker) || goodMay != (whose != delivery.OfAll) {
			t.Errorf("%s (breaker of %q): the agent itself may be called %t, others %t", f, whose, badMay, goodMay)
		}
	}
}

func TestTheBreakersThatAreKeptAreBounded(t *testing.T) {
	b := newBreakers(time.Hour)
	for n := range 3 * maxBreakers {
		b.record(delivery.AgentRef{Namespace: "kagent", Name: fmt.Sprint("a", n)}, "")
	}
	if len(b.byAgent) > maxBreakers {
		t.Errorf("%d", len(b.byAgent))
	}
}
