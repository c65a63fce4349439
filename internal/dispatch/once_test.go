package dispatch

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

type (
	storeTx = store.Tx
	changes = store.Changes
)

func TestALostAnswerIsNoSecondCall(t *testing.T) {
	for _, dialect := range agent.Dialects() {
		for name, fault := range map[string]kagenttest.Fault{
			"dropped":     {On: kagenttest.Send, Accept: true, Drop: true},
			"cut":         {On: kagenttest.Send, Accept: true, CutAfter: 20, Drop: true},
			"bad gateway": {On: kagenttest.Send, Accept: true, Status: 502},
			"twice":       {On: kagenttest.Send, Accept: true, Drop: true, Times: 2},
		} {
			t.Run(dialect+"/"+name, func(t *testing.T) {
				r := newRig(t, kagenttest.Options{Dialect: dialect, Script: acts(kagenttest.Act{Work: 10 * time.Millisecond, Answer: "done"})})
				r.kagent.Inject(fault)
				d := r.untilState(r.due(), incident.Succeeded)
				if d.Answer != "done" {
					t.Errorf("answer %q", d.Answer)
				}
				r.once(d)
			})
		}
	}
}

// TestARestartAtEachStepIsNoSecondCall puts the row where a crash would have left it, and starts
// anew.
func TestARestartAtEachStepIsNoSecondCall(t *testing.T) {
	for _, dialect := range agent.Dialects() {
		for name, forget := range map[string]func(*incident.Delivery){
			"before the task was recorded": func(d *incident.Delivery) {
				d.State, d.TaskID, d.ContextID, d.Answer, d.EndedAt = incident.Calling, "", "", "", time.Time{}
			},
			"after the task was recorded": func(d *incident.Delivery) { d.State, d.Answer, d.EndedAt = incident.Working, "", time.Time{} },
		} {
			t.Run(dialect+"/"+name, func(t *testing.T) {
				r := newRig(t, kagenttest.Options{Dialect: dialect, Script: acts(kagenttest.Act{Work: 10 * time.Millisecond, Answer: "done"})})
				d := r.untilState(r.due(), incident.Succeeded)
				r.halt()
				forget(d)
				r.write(func(*storeTx) *changes { return &changes{Deliveries: []*incident.Delivery{d}} })
				r.start()
				if d = r.untilState(d, incident.Succeeded); d.Answer != "done" {
					t.Errorf("answer %q", d.Answer)
				}
				r.once(d)
			})
		}
	}
}

func TestAnnouncedButNotSentIsSent(t *testing.T) {
	for _, dialect := range agent.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			r := newRig(t, kagenttest.Options{Dialect: dialect})
			r.halt()
			d := r.due(func(d *incident.Delivery) {
				d.State, d.Attempt, d.CalledAt, d.Data = incident.Calling, 1, time.Now(), `{"warning":"x"}`
			})
			r.start()
			r.untilState(d, incident.Succeeded)
			r.once(d)
		})
	}
}

func TestAnUpgradeOfKagentWhileATaskRunsIsSurvived(t *testing.T) {
	free := make(chan struct{})
	r := newRig(t, kagenttest.Options{Dialect: agent.Kagent05, Script: acts(kagenttest.Act{Until: free, Answer: "done"})})
	d := r.untilState(r.due(), incident.Working)
	r.kagent.SetDialect(agent.Kagent097)
	close(free)
	if d = r.untilState(d, incident.Succeeded); d.Answer != "done" {
		t.Errorf("answer %q", d.Answer)
	}
	r.once(d)
}

// TestStoppedAtRandomMomentsEachMessageRunsOnce stops and starts the dispatcher while deliveries
// are under way.
func TestStoppedAtRandomMomentsEachMessageRunsOnce(t *testing.T) {
	for _, dialect := range agent.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			r := newRig(t, kagenttest.Options{Dialect: dialect, Script: func(kagenttest.Message) kagenttest.Act {
				return kagenttest.Act{Work: time.Duration(rand.IntN(30)) * time.Millisecond, Answer: "done"}
			}}, func(c *Config) { c.Concurrency = 8 })
			var ds []*incident.Delivery
			for range 15 {
				for range 3 {
					ds = append(ds, r.due())
				}
				moment(t.Context(), time.Duration(rand.IntN(20))*time.Millisecond)
				r.halt()
				r.start()
			}
			for _, d := range ds {
				r.untilState(d, incident.Succeeded)
			}
			r.once(ds...)
		})
	}
}

// moment lets time go on: when the dispatcher is stopped is what is random here.
func moment(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func TestFirstComeFirstServed(t *testing.T) {
	s := newSlots(1)
	a := incident.AgentRef{Name: "a"}
	if !s.acquire(a, "1") || s.acquire(a, "2") || s.acquire(a, "3") {
		t.Fatal("the limit is not kept")
	}
	if got := fmt.Sprint(s.release(a, "1")); got != "[2]" {
		t.Errorf("%s is let in", got)
	}
	if s.acquire(a, "2"); s.waiting() != 1 {
		t.Errorf("%d wait", s.waiting())
	}
	if s.release(a, "3"); s.waiting() != 0 {
		t.Error("one that ended while it waited still waits")
	}
}
