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
	if n := attempts(ds); n > 5+r.cfg.Workers {
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
	d := New(Config{}, nil, nil)
	for range 10 {
		d.returnPermit()
	}
	if !d.breaker.IsClosed() {
		t.Error("a store that fails stops the calls")
	}
	d.breaker.HalfOpen()
	if !d.breaker.TryAcquirePermit() || d.breaker.TryAcquirePermit() {
		t.Fatal("not exactly one call may try kagent")
	}
	if d.returnPermit(); !d.breaker.IsOpen() {
		t.Error("kagent is taken to be back although nobody called it")
	}
	d.queue.ShutDown()
}
