package dispatch

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

func TestPausesGrowUpToTheirBound(t *testing.T) {
	d := New(Config{RetryMin: time.Second, RetryMax: time.Minute}, nil, nil)
	defer d.queue.ShutDown()
	for attempt, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 4: 8 * time.Second, 7: time.Minute, 1000: time.Minute} {
		if got := d.retryPause(attempt); got < want || got > want*3/2 {
			t.Errorf("%s after attempt %d, want %s and up to half of it more", got, attempt, want)
		}
	}
}

func TestKagentSaysWhenToComeBack(t *testing.T) {
	r := newRig(t, kagenttest.Options{})
	r.kagent.Inject(kagenttest.Fault{On: kagenttest.Send, Status: http.StatusTooManyRequests, Header: map[string]string{"Retry-After": "1"}})
	d := r.until(r.due(), "it was told to wait", func(d *delivery.Delivery) bool { return d.Error != "" })
	if pause := d.NextAt.Sub(d.CalledAt); d.State != delivery.Pending || pause < time.Second || pause > 10*time.Second {
		t.Errorf("%s, again after %s", d.State, pause)
	}
	d = r.untilState(d, delivery.Succeeded)
	if d.Attempt != 2 {
		t.Errorf("%d attempts", d.Attempt)
	}
	r.once(d)
}

// hurry takes away the pauses that an absent agent makes, so that the test is quick.
func (r *rig) hurry(d *delivery.Delivery, what string, ok func(*delivery.Delivery) bool) *delivery.Delivery {
	r.Helper()
	return r.until(d, what, func(now *delivery.Delivery) bool {
		if now.State == delivery.Pending && time.Until(now.NextAt) > time.Second {
			r.change(d, func(now *delivery.Delivery) {
				if now.State == delivery.Pending {
					now.NextAt = time.Now()
				}
			})
			r.d.Wake(d.ID)
		}
		return ok(now)
	})
}

func TestAnswersThatAreNoneEndInASentence(t *testing.T) {
	json := map[string]string{"Content-Type": "application/json"}
	for name, tc := range map[string]struct {
		agents   []delivery.AgentRef
		fault    kagenttest.Fault
		attempts int
		want     string
	}{
		"no such agent": {[]delivery.AgentRef{{Namespace: "kagent", Name: "other"}}, kagenttest.Fault{}, maxBadAnswers, "kagent has no such agent"},
		"refused":       {nil, kagenttest.Fault{Status: 422, Body: "bad request"}, 1, "kagent answered 422"},
		"a redirect":    {nil, kagenttest.Fault{Status: 302, Header: map[string]string{"Location": "/login"}}, maxBadAnswers, "302 Found to /login"},
		"a web page":    {nil, kagenttest.Fault{Body: "<html>\x00\x1b[31mlogin</html>"}, maxBadAnswers, "login"},
		"no task":       {nil, kagenttest.Fault{Header: json, Body: `{"jsonrpc":"2.0","id":1,"result":{"task":{}}}`}, maxBadAnswers, "call agent kagent/medic"},
		"endless":       {nil, kagenttest.Fault{Header: json, Huge: 9 << 20, Body: "{}"}, maxBadAnswers, "call agent kagent/medic"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, kagenttest.Options{Agents: tc.agents})
			tc.fault.On, tc.fault.Times = kagenttest.Send, -1
			if tc.agents == nil {
				r.kagent.Inject(tc.fault)
			}
			d := r.hurry(r.due(), "it has ended", func(d *delivery.Delivery) bool { return d.State.Ended() })
			if d.State != delivery.Failed || d.Attempt != tc.attempts || !strings.Contains(d.Error, tc.want) {
				t.Errorf("%s after %d attempts: %q", d.State, d.Attempt, d.Error)
			}
			if d.Error != incident.Clean(d.Error, delivery.MaxError) || d.EndedAt.IsZero() {
				t.Errorf("%+v", d)
			}
			r.nothingLeft()
		})
	}
}

// TestAnAgentMayComeLaterThanKagent counts only answers in a row: a long outage of kagent does not
// use up the attempts of an agent that is absent for a moment after it.
func TestAnAgentMayComeLaterThanKagent(t *testing.T) {
	r := newRig(t, kagenttest.Options{})
	r.kagent.Inject(kagenttest.Fault{On: kagenttest.Send, Times: 2 * maxBadAnswers, Status: http.StatusTooManyRequests})
	r.kagent.Inject(kagenttest.Fault{On: kagenttest.Send, Times: maxBadAnswers - 1, Status: http.StatusNotFound})
	d := r.hurry(r.due(), "it has ended", func(d *delivery.Delivery) bool { return d.State.Ended() })
	if d.State != delivery.Succeeded {
		t.Errorf("%s: %q", d.State, d.Error)
	}
	r.once(d)
}

func TestAHugeAnswerIsKeptCut(t *testing.T) {
	r := newRig(t, kagenttest.Options{Script: acts(kagenttest.Act{Answer: strings.Repeat("äpfel ", 100_000)})})
	d := r.untilState(r.due(), delivery.Succeeded)
	if len(d.Answer) > delivery.MaxAnswer || !strings.HasSuffix(d.Answer, incident.Ellipsis) {
		t.Errorf("%d bytes, ending with %q", len(d.Answer), d.Answer[max(0, len(d.Answer)-10):])
	}
}

func TestALongReasonIsKeptReadable(t *testing.T) {
	r := newRig(t, kagenttest.Options{Script: acts(kagenttest.Act{End: "TASK_STATE_FAILED", Answer: "first line\nsecond \x1b[31mline " + strings.Repeat("x", 5000)})})
	d := r.untilState(r.due(), delivery.Failed)
	if len(d.Error) > delivery.MaxError || strings.ContainsAny(d.Error, "\n\x1b") || !strings.HasPrefix(d.Error, "the agent's task failed: first line second") {
		t.Errorf("%q", d.Error)
	}
}
