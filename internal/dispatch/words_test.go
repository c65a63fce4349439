package dispatch

import (
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/utils/clock"

	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/store"
)

// TestListsSayWhyADeliveryFailedWithoutTheWordsOfItsAgent lets agents and kagent say a canary in each way in
// which a call can fail or wait. The delivery keeps it; the list tells why in khook's words alone.
func TestListsSayWhyADeliveryFailedWithoutTheWordsOfItsAgent(t *testing.T) {
	const canary = "CANARY"
	for name, c := range map[string]struct {
		act   kagenttest.Act
		fault *kagenttest.Fault
		why   string
	}{
		"a task that failed":     {act: kagenttest.Act{End: "TASK_STATE_FAILED", Answer: canary}, why: "the agent's task failed"},
		"a task that it refused": {act: kagenttest.Act{End: "TASK_STATE_REJECTED", Answer: canary}, why: "the agent rejected the task"},
		"a question":             {act: kagenttest.Act{Ask: canary}, why: "the agent waits for a person"},
		"an approval":            {act: kagenttest.Act{Approve: canary}, why: "the agent waits for a person"},
		"kagent fails":           {fault: &kagenttest.Fault{On: kagenttest.Send, Status: 500, Body: canary, Times: -1}, why: "the call failed: kagent answered 500 Internal Server Error"},
		"kagent refuses":         {fault: &kagenttest.Fault{On: kagenttest.Send, Status: 403, Body: canary, Times: -1}, why: "the call failed: kagent answered 403 Forbidden"},
		"an answer that is none": {fault: &kagenttest.Fault{On: kagenttest.Send, Body: "<html>" + canary, Times: -1}, why: "the call failed: bad-answer"},
		"an error of the agent": {fault: &kagenttest.Fault{On: kagenttest.Send, Body: `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"` + canary + `"}}`, Times: -1},
			why: "the call failed: the agent answered with error -32603"},
		"a task that can't be looked at": {act: kagenttest.Act{Never: true}, fault: &kagenttest.Fault{On: kagenttest.Get, Status: 502, Body: canary, Times: -1},
			why: "cannot look at the task: kagent answered 502 Bad Gateway"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, kagenttest.Options{Script: acts(c.act)})
			if c.fault != nil {
				r.kagent.Inject(*c.fault)
			}
			d := r.until(r.due(), "it tells why", func(d *delivery.Delivery) bool { return d.Failure != "" })
			if !strings.Contains(d.Error, canary) {
				t.Errorf("whoever may read the texts does not see what was said: %q", d.Error)
			}
			rows, _, err := r.store.Reader().ListDeliveries(t.Context(), store.DeliveryQuery{}, store.Paging{Limit: 10})
			if err != nil || len(rows) != 1 {
				t.Fatal(len(rows), err)
			}
			if row, err := json.Marshal(rows[0]); err != nil || strings.Contains(string(row), canary) || rows[0].Failure != c.why {
				t.Errorf("%v: the list tells %q in\n%s", err, rows[0].Failure, row)
			}
		})
	}
}

// interrupting is a clock that does something the next time that it is asked.
type interrupting struct {
	clock.WithTicker
	next atomic.Pointer[func()]
}

func (c *interrupting) Now() time.Time {
	if do := c.next.Swap(nil); do != nil {
		(*do)()
	}
	return c.WithTicker.Now()
}

// TestADecisionNeverMeetsAQuestionThatChangedWhileItWasRecorded lets the agent ask something else after the
// decision was held against the question, and before it is written.
func TestADecisionNeverMeetsAQuestionThatChangedWhileItWasRecorded(t *testing.T) {
	for name, reply := range map[string]delivery.Reply{
		"an approval": {Decision: delivery.Approve, QuestionID: "read the log?"}, "a rejection": {Decision: delivery.Reject, QuestionID: "read the log?"},
		"a text": {Text: "yes", QuestionID: "read the log?"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, kagenttest.Options{})
			r.halt()
			d := r.due(func(d *delivery.Delivery) {
				d.State, d.TaskID, d.Question, d.QuestionID, d.NeedsApproval = delivery.InputRequired, "t", "read the log?", "read the log?", reply.Decision != ""
			})
			c := &interrupting{WithTicker: clock.RealClock{}}
			idle := New(Config{Log: logr.Discard()}, r.store, nil)
			t.Cleanup(idle.queue.ShutDown)
			idle.cfg.Clock = c // of people's changes only, not of the queue
			change := func() {
				r.change(d, func(now *delivery.Delivery) {
					now.Question, now.QuestionID = "delete the volume?", "delete the volume?"
				})
			}
			c.next.Store(&change)
			_, err := idle.Reply(t.Context(), d.ID, "ann", reply)
			refuses(t, err, "asks something else by now")
			if now := r.now(d); now.Reply != nil || now.Replies != 0 || now.QuestionID != "delete the volume?" {
				t.Errorf("recorded %+v for %q", now.Reply, now.QuestionID)
			}
		})
	}
}
