package dispatch

import (
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/delivery"
)

func TestFirstComeFirstServed(t *testing.T) {
	s := newAgentLimiter(1)
	a := delivery.AgentRef{Name: "a"}
	acquire := func(id string) bool {
		ok, _ := s.acquire(a, place{id: id})
		return ok
	}
	if !acquire("1") || acquire("2") || acquire("3") {
		t.Fatal("the limit is not kept")
	}
	if got := fmt.Sprint(s.release(a, "1")); got != "[2]" {
		t.Errorf("%s is let in", got)
	}
	if acquire("4") {
		t.Error("a later one takes the place of one that waits")
	}
	if !acquire("2") || s.waiting() != 2 {
		t.Errorf("%d wait", s.waiting())
	}
	s.release(a, "4")
	if got := fmt.Sprint(s.forget("2")); got != "[3]" || s.waiting() != 0 {
		t.Errorf("%s is let in, %d wait", got, s.waiting())
	}
	if s.release(a, "3"); s.size() != 0 {
		t.Errorf("%d are left", s.size())
	}
}

func TestThoseUnderWayAtTheStartCountToTheLimit(t *testing.T) {
	s := newAgentLimiter(1)
	a := delivery.AgentRef{Name: "a"}
	s.hold(a, "1")
	s.hold(a, "2")
	s.acquire(a, place{id: "3"})
	if got := s.release(a, "1"); got != nil {
		t.Errorf("%s is let in beside another", got)
	}
	if got := fmt.Sprint(s.release(a, "2")); got != "[3]" {
		t.Errorf("%s is let in", got)
	}
}

func TestDeliveriesOfAnAgentAreServedInTheirOrder(t *testing.T) {
	free := make(chan struct{})
	r := newRig(t, kagenttest.Options{Script: acts(kagenttest.Act{Until: free})}, func(c *Config) { c.Concurrency = 1 })
	var ds []*delivery.Delivery
	var want []string
	for i := range 6 {
		ds = append(ds, r.due())
		want = append(want, ds[i].MessageID())
		if i == 0 {
			r.untilState(ds[0], delivery.Working)
		}
		r.eventually("it is in the line", func() bool { return r.d.Waiting() == i }, func() string { return fmt.Sprint(r.d.Waiting()) })
	}
	close(free)
	var got []string
	for _, d := range ds {
		r.untilState(d, delivery.Succeeded)
	}
	for _, m := range r.kagent.Messages() {
		got = append(got, m.ID)
	}
	if !slices.Equal(got, want) {
		t.Errorf("served %v, want %v", got, want)
	}
	r.nothingLeft()
}

func TestAnAgentHasNoMoreTasksThanItMay(t *testing.T) {
	var running, most atomic.Int32
	free := make(chan struct{})
	r := newRig(t, kagenttest.Options{Script: func(m kagenttest.Message) kagenttest.Act {
		if m.Agent.Name == "quick" {
			return kagenttest.Act{}
		}
		if n := running.Add(1); n > most.Load() {
			most.Store(n)
		}
		return kagenttest.Act{Until: free}
	}}, func(c *Config) { c.Concurrency = 3 })
	var ds []*delivery.Delivery
	for range 10 {
		ds = append(ds, r.due())
	}
	full := func() bool { return running.Load() == 3 && r.d.Waiting() == 7 }
	r.eventually("three are at work, seven wait", full, func() string { return "not yet" })
	quick := r.due(func(d *delivery.Delivery) { d.Agent.Name = "quick" })
	r.untilState(quick, delivery.Succeeded) // another agent is not held up
	r.halt()
	r.start()
	r.eventually("seven wait after a restart too", full, func() string { return fmt.Sprint(r.d.Waiting()) })
	if most.Load() != 3 {
		t.Errorf("%d ran at a time", most.Load())
	}
	close(free)
	for _, d := range ds {
		r.untilState(d, delivery.Succeeded)
	}
	r.once(ds...)
	r.nothingLeft()
}

// TestADeliveryWhoseAnswersGetLostLetsOthersTry keeps one that fails again and again from holding
// the agent's only slot for a day.
func TestADeliveryWhoseAnswersGetLostLetsOthersTry(t *testing.T) {
	r := newRig(t, kagenttest.Options{}, func(c *Config) { c.Concurrency, c.RetryMax = 1, 10*time.Millisecond })
	r.kagent.Inject(kagenttest.Fault{On: kagenttest.Send, Times: -1, Status: http.StatusInternalServerError})
	first := r.until(r.due(), "it was tried", func(d *delivery.Delivery) bool { return d.Attempt > 0 })
	second := r.until(r.due(), "it is tried too", func(d *delivery.Delivery) bool { return d.Attempt > 0 })
	if first = r.now(first); first.State != delivery.Calling || first.Attempt <= maxHeld {
		t.Errorf("the first is %s after %d attempts", first.State, first.Attempt)
	}
	r.kagent.Heal()
	r.untilState(first, delivery.Succeeded)
	r.untilState(second, delivery.Succeeded)
	r.once(first, second)
	r.nothingLeft()
}

func TestADeliveryThatIsPrunedGivesItsPlaceBack(t *testing.T) {
	r := newRig(t, kagenttest.Options{}, func(c *Config) { c.Concurrency = 1 })
	ref := delivery.AgentRef{Namespace: "kagent", Name: "medic"}
	r.d.slots.hold(ref, "pruned")
	d := r.due()
	r.eventually("it waits", func() bool { return r.d.Waiting() == 1 }, func() string { return "not yet" })
	r.d.Wake("pruned")
	r.untilState(d, delivery.Succeeded)
}

// TestOneThatFailsKeepsNobodyFromTrying: while calls of an agent fail they try in turn, and keep their order for when it is back.
func TestOneThatFailsKeepsNobodyFromTrying(t *testing.T) {
	s, a, now := newAgentLimiter(1), delivery.AgentRef{Name: "a"}, time.Now()
	first, second := place{id: "1", due: now}, place{id: "2", due: now.Add(time.Second)}
	s.acquire(a, first)
	s.acquire(a, second)
	s.close(a, place{}, now)
	s.release(a, "1") // its call failed
	s.rest(a, first)
	s.acquire(a, first) // its own pause is over
	if next, _ := s.tryOne(a, now); fmt.Sprint(next) != "[2]" {
		t.Fatalf("%s tries", next)
	}
	s.close(a, second, now) // it may not call yet
	if next, _ := s.tryOne(a, now); fmt.Sprint(next) != "[2]" {
		t.Fatalf("%s tries, and has not yet", next)
	}
	s.open(a)
	if next := s.release(a, "2"); fmt.Sprint(next) != "[1]" {
		t.Errorf("%s is let in when the agent is back", next)
	}
}
