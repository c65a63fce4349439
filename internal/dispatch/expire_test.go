package dispatch

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/delivery"
)

func TestATaskThatNeverEndsExpiresAndIsCanceled(t *testing.T) {
	for _, dialect := range agent.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			r := newRig(t, kagenttest.Options{Dialect: dialect, Script: acts(kagenttest.Act{Never: true})})
			d := r.due(func(d *delivery.Delivery) { d.Timeout = 200 * time.Millisecond })
			if d = r.untilState(d, delivery.Expired); d.Error != "the agent did not finish within 200ms (spec.eventConfigurations[].timeout)" {
				t.Errorf("%q", d.Error)
			}
			if len(r.kagent.Requests(kagenttest.Cancel)) != 1 {
				t.Error("the agent was not told to stop")
			}
			r.once(d)
			r.nothingLeft()
		})
	}
}

// TestWhatEndedWhileKhookWasDownCounts lets the deadline pass while nobody looks.
func TestWhatEndedWhileKhookWasDownCounts(t *testing.T) {
	for _, dialect := range agent.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			free := make(chan struct{})
			r := newRig(t, kagenttest.Options{Dialect: dialect, Script: acts(kagenttest.Act{Until: free, Answer: "done"})})
			d := r.untilState(r.due(), delivery.Working)
			r.halt()
			close(free)
			d = r.change(d, func(d *delivery.Delivery) { d.CalledAt = d.CalledAt.Add(-d.Timeout) })
			r.kagent.Inject(kagenttest.Fault{Times: 3, Status: http.StatusBadGateway}) // it was down too
			r.start()
			if d = r.untilState(d, delivery.Succeeded); d.Answer != "done" || d.Error != "" {
				t.Errorf("answer %q, error %q", d.Answer, d.Error)
			}
			if len(r.kagent.Requests(kagenttest.Cancel)) != 0 {
				t.Error("a task that had ended was canceled")
			}
			r.once(d)
		})
	}
}

// What nobody can look at may have finished, or have been answered, long ago: khook claims neither that it was nor that it was not.
func TestATaskThatNobodyCanLookAtExpiresInTheEnd(t *testing.T) {
	for state, act := range map[delivery.State]kagenttest.Act{delivery.Working: {Never: true}, delivery.InputRequired: {Ask: "may I?"}} {
		t.Run(string(state), func(t *testing.T) {
			r := newRig(t, kagenttest.Options{Script: acts(act)})
			d := r.untilState(r.due(), state)
			r.halt()
			r.kagent.Inject(kagenttest.Fault{Times: -1, Status: http.StatusBadGateway})
			d = r.change(d, func(d *delivery.Delivery) { d.CalledAt = d.CalledAt.Add(-d.Timeout - lateLook) })
			r.start()
			if d = r.untilState(d, delivery.Expired); !strings.HasPrefix(d.Error, "it is not known whether the agent finished within 1h0m0s") {
				t.Errorf("%q", d.Error)
			}
		})
	}
}

func TestWhatWasNotReachedInADayExpiresAndSaysWhatIsKnown(t *testing.T) {
	old := func(change func(*delivery.Delivery)) func(*delivery.Delivery) {
		return func(d *delivery.Delivery) {
			d.CreatedAt = d.CreatedAt.Add(-delivery.MaxWait - time.Minute)
			change(d)
		}
	}
	for name, tc := range map[string]struct {
		change func(*delivery.Delivery)
		want   string
	}{
		"never called":  {func(*delivery.Delivery) {}, "the agent was not reached within 24h0m0s"},
		"after refusal": {func(d *delivery.Delivery) { d.Attempt, d.Error = 9, "no connection" }, "the agent was not reached within 24h0m0s; last error: no connection"},
		"called": {func(d *delivery.Delivery) {
			d.State, d.Attempt, d.CalledAt = delivery.Calling, 1, d.CreatedAt
			d.Sent = &delivery.Sent{At: d.CalledAt}
		},
			"the agent gave no answer within 24h0m0s: it is not known whether it got the message"},
		"lost, then refused": {func(d *delivery.Delivery) {
			d.State, d.Attempt, d.Sent, d.Error = delivery.Calling, 2, &delivery.Sent{At: d.CreatedAt}, "no connection"
		},
			"the agent gave no answer within 24h0m0s: it is not known whether it got the message; last error: no connection"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, kagenttest.Options{})
			if d := r.untilState(r.due(old(tc.change)), delivery.Expired); d.Error != tc.want {
				t.Errorf("%q", d.Error)
			}
			r.nothingLeft()
		})
	}
}

func TestATaskThatVanishesEndsInASentence(t *testing.T) {
	for _, dialect := range agent.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			r := newRig(t, kagenttest.Options{Dialect: dialect, Script: acts(kagenttest.Act{Never: true})})
			r.halt()
			r.vanishAfter = 50 * time.Millisecond
			r.start()
			d := r.untilState(r.due(), delivery.Working)
			r.kagent.Vanish(d.TaskID)
			d = r.untilState(d, delivery.Failed)
			if want := "kagent no longer knows the task " + d.TaskID + ": its answer is lost"; d.Error != want {
				t.Errorf("%q, want %q", d.Error, want)
			}
			r.once(d)
		})
	}
}

func TestATaskThatIsBackInTimeIsFollowed(t *testing.T) {
	free := make(chan struct{})
	r := newRig(t, kagenttest.Options{Script: acts(kagenttest.Act{Until: free, Answer: "done"})}, func(c *Config) { c.Follow = false })
	d := r.untilState(r.due(), delivery.Working)
	d = r.change(d, func(d *delivery.Delivery) { d.CalledAt = d.CalledAt.Add(-10 * time.Minute) }) // it has run for a while
	gone := `{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"task not found"}}`
	r.kagent.Inject(kagenttest.Fault{On: kagenttest.Get, Times: 3, Header: map[string]string{"Content-Type": "application/json"}, Body: gone})
	r.until(d, "the task is missed", func(d *delivery.Delivery) bool { return strings.Contains(d.Error, "task not found") })
	close(free)
	if d = r.untilState(d, delivery.Succeeded); d.Answer != "done" || d.Error != "" {
		t.Errorf("answer %q, error %q", d.Answer, d.Error)
	}
}
