package dispatch

import (
	"testing"
	"time"

	"github.com/a2aproject/a2a-go/v2/a2a"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/incident"
)

func acts(a kagenttest.Act) kagenttest.Script {
	return func(kagenttest.Message) kagenttest.Act { return a }
}

func TestEachEndOfATaskIsTheEndOfItsDelivery(t *testing.T) {
	for _, dialect := range agent.Dialects() {
		for name, tc := range map[string]struct {
			act           kagenttest.Act
			state         incident.DeliveryState
			answer, error string
		}{
			"completed": {kagenttest.Act{Work: 20 * time.Millisecond, Answer: "fixed it"}, incident.Succeeded, "fixed it", ""},
			"at once":   {kagenttest.Act{Answer: "fixed it"}, incident.Succeeded, "fixed it", ""},
			"no task":   {kagenttest.Act{Direct: "fixed it"}, incident.Succeeded, "fixed it", ""},
			"failed":    {kagenttest.Act{End: a2a.TaskStateFailed, Answer: "no rights"}, incident.Failed, "no rights", "the agent's task failed: no rights"},
			"rejected":  {kagenttest.Act{End: a2a.TaskStateRejected, Answer: "not mine"}, incident.Rejected, "not mine", "the agent rejected the task: not mine"},
			"canceled":  {kagenttest.Act{End: a2a.TaskStateCanceled}, incident.Canceled, "", "the agent's task was canceled"},
		} {
			t.Run(dialect+"/"+name, func(t *testing.T) {
				r := newRig(t, kagenttest.Options{Dialect: dialect, Script: acts(tc.act)})
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
	r := newRig(t, kagenttest.Options{})
	known := func(d *incident.Delivery) bool { return d.Outcome != "" }
	recovers, goes, stays := r.due(), r.due(), r.due()
	for _, d := range []*incident.Delivery{recovers, goes, stays} {
		r.untilState(d, incident.Succeeded)
	}
	r.resolve(recovers, incident.Recovered)
	r.resolve(goes, incident.WasGone)
	for d, want := range map[*incident.Delivery]incident.Outcome{
		recovers: incident.OutcomeRecovered, goes: incident.OutcomeUnknown, stays: incident.OutcomePersisting,
	} {
		if got := r.until(d, "its outcome is known", known); got.Outcome != want {
			t.Errorf("outcome %s, want %s", got.Outcome, want)
		}
	}
}

func TestAnOutcomeIsJudgedByWhatWasSeenInTime(t *testing.T) {
	end := time.Now()
	until := end.Add(10 * time.Minute)
	resolved := func(r incident.Resolution, after time.Duration) *incident.Incident {
		return &incident.Incident{Resolution: r, ResolvedAt: end.Add(after)}
	}
	open := &incident.Incident{}
	early, late := resolved(incident.Recovered, time.Minute), resolved(incident.Recovered, time.Hour)
	for name, tc := range map[string]struct {
		incidents []*incident.Incident
		now       time.Time
		want      incident.Outcome
	}{
		"one is still open":        {[]*incident.Incident{early, open}, until.Add(-1), ""},
		"open at the window's end": {[]*incident.Incident{early, open}, until, incident.OutcomePersisting},
		"all recovered":            {[]*incident.Incident{early, early}, end.Add(2 * time.Minute), incident.OutcomeRecovered},
		"recovered unwatched":      {[]*incident.Incident{early}, until.Add(time.Hour), incident.OutcomeRecovered},
		"recovered too late":       {[]*incident.Incident{early, late}, until.Add(time.Hour), incident.OutcomePersisting},
		"one is gone":              {[]*incident.Incident{early, resolved(incident.WasGone, time.Minute)}, until, incident.OutcomeUnknown},
		"one went quiet":           {[]*incident.Incident{resolved(incident.Quiet, time.Minute)}, until, incident.OutcomeUnknown},
		"all were pruned":          {nil, until, incident.OutcomeUnknown},
	} {
		if got, _ := outcomeOf(tc.incidents, until, tc.now); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}
