package dispatch

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/store"
)

type (
	storeTx      = store.Tx
	storeChanges = store.Changes
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
				t.Parallel()
				r := newRig(t, kagenttest.Options{Dialect: dialect, Script: acts(kagenttest.Act{Work: 10 * time.Millisecond, Answer: "done"})})
				r.kagent.Inject(fault)
				d := r.untilState(r.due(), delivery.Succeeded)
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
		for name, forget := range map[string]func(*delivery.Delivery){
			"before the task was recorded": func(d *delivery.Delivery) {
				d.State, d.TaskID, d.ContextID, d.Answer, d.EndedAt = delivery.Calling, "", "", "", time.Time{}
			},
			"after the task was recorded": func(d *delivery.Delivery) { d.State, d.Answer, d.EndedAt = delivery.Working, "", time.Time{} },
		} {
			t.Run(dialect+"/"+name, func(t *testing.T) {
				r := newRig(t, kagenttest.Options{Dialect: dialect, Script: acts(kagenttest.Act{Work: 10 * time.Millisecond, Answer: "done"})})
				d := r.untilState(r.due(), delivery.Succeeded)
				r.halt()
				d = r.change(d, forget)
				r.start()
				if d = r.untilState(d, delivery.Succeeded); d.Answer != "done" {
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
			d := r.due(func(d *delivery.Delivery) {
				d.State, d.Attempt, d.CalledAt, d.Data = delivery.Calling, 1, time.Now(), `{"warning":"x"}`
				d.Sent = &delivery.Sent{Dialect: dialect, At: time.Now(), Named: true}
			})
			r.start()
			r.untilState(d, delivery.Succeeded)
			r.once(d)
		})
	}
}

func TestAnUpgradeOfKagentWhileATaskRunsIsSurvived(t *testing.T) {
	dialects := agent.Dialects()
	for i, from := range dialects {
		for _, to := range dialects[i+1:] {
			t.Run(from+" to "+to, func(t *testing.T) {
				free := make(chan struct{})
				r := newRig(t, kagenttest.Options{Dialect: from, Script: acts(kagenttest.Act{Until: free, Answer: "done"})})
				d := r.untilState(r.due(), delivery.Working)
				r.kagent.SetDialect(to)
				close(free)
				if d = r.untilState(d, delivery.Succeeded); d.Answer != "done" {
					t.Errorf("answer %q", d.Answer)
				}
				r.once(d)
			})
		}
	}
}

func TestServerErrorsThatHealAreSurvived(t *testing.T) {
	for _, dialect := range agent.Dialects() {
		for name, fault := range map[string]kagenttest.Fault{
			"500":              {On: kagenttest.Send, Times: 3, Status: 500},
			"503":              {On: kagenttest.Send, Times: 7, Status: 503},
			"503 everywhere":   {Times: 7, Status: 503},
			"no answer":        {Times: 3, Drop: true},
			"garbage":          {On: kagenttest.Send, Times: 2, Body: "<html>"},
			"broken looks":     {On: kagenttest.Get, Times: 4, Status: 502},
			"garbage in looks": {On: kagenttest.Get, Times: 4, Body: "{}"},
		} {
			t.Run(dialect+"/"+name, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, kagenttest.Options{Dialect: dialect, Script: acts(kagenttest.Act{Work: 20 * time.Millisecond, Answer: "done"})})
				r.kagent.Inject(fault)
				d := r.untilState(r.due(), delivery.Succeeded)
				if d.Answer != "done" || d.Error != "" {
					t.Errorf("answer %q, error %q", d.Answer, d.Error)
				}
				r.once(d)
				r.nothingLeft()
			})
		}
	}
}

func TestKagentThatComesLaterIsCalledOnce(t *testing.T) {
	r := newRig(t, kagenttest.Options{})
	if err := r.kagent.Close(); err != nil {
		t.Fatal(err)
	}
	d := r.until(r.due(), "it says that kagent is not there", func(d *delivery.Delivery) bool {
		return strings.Contains(d.Error, "refuses connections") && d.Attempt > 2 && d.State == delivery.Pending
	})
	if d.Sent != nil {
		t.Error("a message that was certainly not sent is looked for")
	}
	r.kagent = kagenttest.New(t, kagenttest.Options{Addr: strings.TrimPrefix(r.kagent.URL, "http://")})
	r.untilState(d, delivery.Succeeded)
	r.once(d)
}

// TestALostAnswerIsRememberedAcrossCallsWithoutEffect loses an answer, makes the next attempts fail
// without effect, and stops in between: the message must still be looked for first.
func TestALostAnswerIsRememberedAcrossCallsWithoutEffect(t *testing.T) {
	for _, dialect := range agent.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			r := newRig(t, kagenttest.Options{Dialect: dialect, Script: acts(kagenttest.Act{Answer: "done"})})
			r.kagent.Inject(kagenttest.Fault{On: kagenttest.Send, Accept: true, Drop: true})
			for _, kind := range []string{kagenttest.Send, kagenttest.Tasks, kagenttest.List} {
				r.kagent.Inject(kagenttest.Fault{On: kind, Times: -1, Status: http.StatusTooManyRequests})
			}
			d := r.until(r.due(), "it is asked for again", func(d *delivery.Delivery) bool {
				return d.Sent != nil && (d.Attempt > 2 || d.Sent.Looks > 2)
			})
			if d.State != delivery.Calling {
				t.Error("it is forgotten that the message may have arrived")
			}
			r.halt()
			r.kagent.Heal()
			r.start()
			r.untilState(d, delivery.Succeeded)
			r.once(d)
		})
	}
}

// TestStoppedAtRandomMomentsEachMessageRunsOnce stops and starts the dispatcher while deliveries
// are under way.
func TestStoppedAtRandomMomentsEachMessageRunsOnce(t *testing.T) {
	for _, dialect := range agent.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			r := newRig(t, kagenttest.Options{Dialect: dialect, Script: func(kagenttest.Message) kagenttest.Act {
				return kagenttest.Act{Work: time.Duration(rand.IntN(30)) * time.Millisecond, Answer: "done"}
			}}, func(c *Config) { c.Concurrency = 8 })
			r.halt()
			r.cfg.CallLimit = 2 * time.Second // the client's own
			r.start()
			var ds []*delivery.Delivery
			for range 15 {
				for range 3 {
					ds = append(ds, r.due())
				}
				moment(t.Context(), time.Duration(rand.IntN(20))*time.Millisecond)
				r.halt()
				r.cfg.Grace = []time.Duration{-1, time.Second}[rand.IntN(2)] // killed, or told to end
				r.start()
			}
			for _, d := range ds {
				r.untilState(d, delivery.Succeeded)
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
