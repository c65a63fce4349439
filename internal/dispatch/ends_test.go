package dispatch

import (
	"context"
	"testing"
	"time"

	"github.com/a2aproject/a2a-go/v2/a2a"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

func acts(a kagenttest.Act) kagenttest.Script {
	return func(kagenttest.Message) kagenttest.Act { return a }
}

func TestEachEndOfATaskIsTheEndOfItsDelivery(t *testing.T) {
	for _, dialect := range agent.Dialects() {
		for name, tc := range map[string]struct {
			act           kagenttest.Act
			state         delivery.State
			answer, error string
		}{
			"completed": {kagenttest.Act{Work: 20 * time.Millisecond, Answer: "fixed it"}, delivery.Succeeded, "fixed it", ""},
			"at once":   {kagenttest.Act{Answer: "fixed it"}, delivery.Succeeded, "fixed it", ""},
			"no task":   {kagenttest.Act{Direct: "fixed it"}, delivery.Succeeded, "fixed it", ""},
			"failed":    {kagenttest.Act{End: a2a.TaskStateFailed, Answer: "no rights"}, delivery.Failed, "no rights", "the agent's task failed: no rights"},
			"rejected":  {kagenttest.Act{End: a2a.TaskStateRejected, Answer: "not mine"}, delivery.Rejected, "not mine", "the agent rejected the task: not mine"},
			"canceled":  {kagenttest.Act{End: a2a.TaskStateCanceled}, delivery.Canceled, "", "the agent's task was canceled"},
		} {
			t.Run(dialect+"/"+name, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, kagenttest.Options{Dialect: dialect, Script: acts(tc.act)}, func(c *Config) {
					c.CallLimit = time.Minute // a slow machine is no reason to try again
				})
				d := r.untilState(r.due(), tc.state)
				if d.Answer != tc.answer || d.Error != tc.error {
					t.Errorf("answer %q, error %q", d.Answer, d.Error)
				}
				if d.Attempt != 1 || d.CalledAt.IsZero() || d.EndedAt.Before(d.CalledAt) || d.Dialect != dialect {
					t.Errorf("%+v", d)
				}
				r.once(d)
			})
		}
	}
}

func TestTheOutcomeIsWatched(t *testing.T) {
	r := newRig(t, kagenttest.Options{}, func(c *Config) {
		c.Workload = func(_ context.Context, namespace string, w incident.Workload) (pods, healthy int, known bool) {
			switch w.Name {
			case "well":
				return 2, 2, namespace == "shop"
			case "ill":
				return 2, 1, true
			case "scaled-down":
				return 0, 0, true
			}
			return 0, 0, false
		}
	})
	known := func(d *delivery.Delivery) bool { return d.Outcome != "" }
	recovers, stays := r.due(), r.due()
	well, ill, none, nobodyKnows := r.dueOf("well"), r.dueOf("ill"), r.dueOf("scaled-down"), r.dueOf("other")
	for _, d := range []*delivery.Delivery{recovers, stays, well, ill, none, nobodyKnows} {
		r.untilState(d, delivery.Succeeded)
	}
	r.resolve(recovers, incident.Recovered)
	for _, d := range []*delivery.Delivery{well, ill, none, nobodyKnows} {
		r.resolve(d, incident.WasGone)
	}
	for d, want := range map[*delivery.Delivery]delivery.Outcome{
		recovers: delivery.OutcomeRecovered, stays: delivery.OutcomePersisting, well: delivery.OutcomeRecovered,
		ill: delivery.OutcomePersisting, none: delivery.OutcomeUnknown, nobodyKnows: delivery.OutcomeUnknown,
	} {
		if got := r.until(d, "its outcome is known", known); got.Outcome != want {
			t.Errorf("outcome %s, want %s", got.Outcome, want)
		}
	}
}

// TestWhateverEndsTheAgentTheOutcomeIsWatched: an agent that failed may have mended it all the same.
func TestWhateverEndsTheAgentTheOutcomeIsWatched(t *testing.T) {
	r := newRig(t, kagenttest.Options{Script: func(m kagenttest.Message) kagenttest.Act {
		switch m.Text {
		case "fail":
			return kagenttest.Act{End: "TASK_STATE_FAILED"}
		case "reject":
			return kagenttest.Act{End: "TASK_STATE_REJECTED"}
		}
		return kagenttest.Act{Never: true}
	}})
	prompt := func(text string) func(*delivery.Delivery) {
		return func(d *delivery.Delivery) { d.Prompt = text }
	}
	for d, want := range map[*delivery.Delivery]delivery.State{
		r.due(prompt("fail")): delivery.Failed, r.due(prompt("reject")): delivery.Rejected,
		r.due(func(d *delivery.Delivery) { d.Timeout = 50 * time.Millisecond }): delivery.Expired,
	} {
		r.untilState(d, want)
		d = r.until(d, "its outcome is known", func(d *delivery.Delivery) bool { return d.Outcome != "" })
		if d.Outcome != delivery.OutcomePersisting {
			t.Errorf("%s: outcome %s", want, d.Outcome)
		}
	}
}
