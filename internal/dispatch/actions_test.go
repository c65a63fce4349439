package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/a2aproject/a2a-go/v2/a2a"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// refuses checks that what a person wants is refused, for a reason.
func refuses(t *testing.T, err error, reason string) {
	t.Helper()
	var refused *delivery.RefusedError
	if !errors.As(err, &refused) || !strings.Contains(refused.Reason, reason) {
		t.Errorf("%v, want a refusal: %s", err, reason)
	}
}

// log is the delivery's log, as "kind state who: text".
func (r *rig) log(d *delivery.Delivery) []string {
	r.Helper()
	entries, err := r.store.DeliveryEntries(r.Context(), d.ID)
	if err != nil {
		r.Fatal(err)
	}
	var log []string
	for _, e := range entries {
		log = append(log, strings.Join(strings.Fields(fmt.Sprintf("%s %s %s: %s", e.Kind, e.State, e.By, e.Text)), " "))
	}
	return log
}

func (r *rig) logs(d *delivery.Delivery, want ...string) {
	r.Helper()
	log := strings.Join(r.log(d), "\n")
	for _, line := range want {
		if !strings.Contains(log, line) {
			r.Errorf("the log lacks %q:\n%s", line, log)
		}
	}
}

// answers is an agent that asks, and ends with what it is answered.
func answers(ask kagenttest.Act) kagenttest.Script {
	return func(m kagenttest.Message) kagenttest.Act {
		if m.Reply {
			return kagenttest.Act{Answer: "I was told: " + m.Text + string(m.Data)}
		}
		return ask
	}
}

func TestAPersonsReplyReachesTheAgentOnce(t *testing.T) {
	faults := map[string][]kagenttest.Fault{
		"no fault":               nil,
		"its answer is lost":     {{On: kagenttest.Send, Accept: true, Drop: true}},
		"it does not arrive":     {{On: kagenttest.Send, Drop: true}},
		"kagent fails for a bit": {{Status: 503, Times: 4}},
	}
	for _, dialect := range agent.Dialects() {
		for name, faults := range faults {
			t.Run(dialect+"/"+name, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, kagenttest.Options{Dialect: dialect, Script: answers(kagenttest.Act{Ask: "may I delete the Pod?"})})
				d := r.untilState(r.due(), delivery.InputRequired)
				if d.Question != "may I delete the Pod?" || d.QuestionID == "" || d.NeedsApproval {
					t.Errorf("asks %q, ID %q, approval %t", d.Question, d.QuestionID, d.NeedsApproval)
				}
				for _, f := range faults {
					r.kagent.Inject(f)
				}
				now, err := r.d.Reply(t.Context(), d.ID, "ann", delivery.Reply{Text: "yes", QuestionID: d.QuestionID})
				if err != nil {
					t.Fatal(err)
				}
				if name == "it does not arrive" && dialect != agent.Kagent10 {
					r.asksAgain(d)
					return
				}
				if d = r.untilState(d, delivery.Succeeded); d.Answer != "I was told: yes" || d.Replies != 1 || d.Reply != nil || d.Question != "" {
					t.Errorf("answer %q, %d replies, open %v, question %q", d.Answer, d.Replies, d.Reply, d.Question)
				}
				if n := r.kagent.Executions(now.ReplyID()); n != 1 {
					t.Errorf("the agent got the reply %d times", n)
				}
				r.once(d)
				r.logs(d, "question input-required agent: may I delete the Pod?", "reply ann: yes", "person ann: the agent has the reply", "artifact agent: I was told: yes")
			})
		}
	}
}

// asksAgain checks that a person is asked, and nothing is sent again by itself, where nobody can tell whether a reply arrived.
func (r *rig) asksAgain(d *delivery.Delivery) {
	r.Helper()
	d = r.until(d, "the reply is given up", func(d *delivery.Delivery) bool { return d.Replies == 1 && d.Reply == nil })
	r.logs(d, "person ann: it is not known whether the agent got the reply, and it still asks: read its question, and answer again")
	if n := len(r.kagent.Messages()); n != 1 {
		r.Errorf("the agent got %d messages", n)
	}
	r.kagent.Heal()
	if _, err := r.d.Reply(r.Context(), d.ID, "ann", delivery.Reply{Text: "yes", QuestionID: d.QuestionID}); err != nil {
		r.Fatal(err)
	}
	if d = r.untilState(d, delivery.Succeeded); d.Answer != "I was told: yes" || d.Replies != 2 {
		r.Errorf("answer %q, %d replies", d.Answer, d.Replies)
	}
}

func TestAReplyThatIsRecordedSurvivesTheEndOfKhook(t *testing.T) {
	for _, dialect := range agent.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			r := newRig(t, kagenttest.Options{Dialect: dialect, Script: answers(kagenttest.Act{Approve: "delete_pod"})})
			d := r.untilState(r.due(), delivery.InputRequired)
			r.kagent.Inject(kagenttest.Fault{Times: -1, Drop: true})
			now, err := r.d.Reply(t.Context(), d.ID, "ann", delivery.Reply{Decision: delivery.Approve, QuestionID: d.QuestionID})
			if err != nil {
				t.Fatal(err)
			}
			r.halt()
			r.kagent.Heal()
			r.start()
			if d = r.untilState(d, delivery.Succeeded); !strings.Contains(d.Answer, `"decision_type":"approve"`) {
				t.Errorf("answer %q", d.Answer)
			}
			if n := r.kagent.Executions(now.ReplyID()); n != 1 {
				t.Errorf("the agent got the reply %d times", n)
			}
		})
	}
}

func TestAReplyThatDoesNotFitIsRefused(t *testing.T) {
	r := newRig(t, kagenttest.Options{Script: func(m kagenttest.Message) kagenttest.Act {
		if strings.Contains(m.Text, "approval") {
			return kagenttest.Act{Approve: "delete_pod"}
		}
		return kagenttest.Act{Ask: "which?"}
	}})
	text := r.untilState(r.due(), delivery.InputRequired)
	approval := r.untilState(r.due(func(d *delivery.Delivery) { d.Prompt = "approval" }), delivery.InputRequired)
	reply := func(d *delivery.Delivery, re delivery.Reply) error {
		_, err := r.d.Reply(t.Context(), d.ID, "ann", re)
		return err
	}
	refuses(t, reply(text, delivery.Reply{Text: "a", QuestionID: "another"}), "asks something else by now")
	refuses(t, reply(text, delivery.Reply{Decision: delivery.Approve}), "does not ask for an approval")
	refuses(t, reply(approval, delivery.Reply{Text: "yes"}), "decide approve or reject")
	refuses(t, reply(approval, delivery.Reply{Decision: delivery.Approve}), "must name the question")
	refuses(t, reply(approval, delivery.Reply{Decision: delivery.Approve, QuestionID: text.QuestionID}), "asks something else by now")
	r.kagent.Inject(kagenttest.Fault{Times: -1, Drop: true})
	if err := reply(text, delivery.Reply{Text: "a"}); err != nil {
		t.Fatal(err)
	}
	refuses(t, reply(text, delivery.Reply{Text: "b"}), "ann has answered this question already")
	r.halt()
	done := newRig(t, kagenttest.Options{})
	d := done.untilState(done.due(), delivery.Succeeded)
	_, err := done.d.Reply(t.Context(), d.ID, "ann", delivery.Reply{Text: "a"})
	refuses(t, err, "does not ask anything: the delivery is succeeded")
}

func TestAPersonCancels(t *testing.T) {
	for _, dialect := range agent.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			r := newRig(t, kagenttest.Options{Dialect: dialect, Cancels: true, Script: func(m kagenttest.Message) kagenttest.Act {
				if strings.Contains(m.Text, "ask") {
					return kagenttest.Act{Ask: "may I?"}
				}
				return kagenttest.Act{Never: true}
			}})
			works := r.untilState(r.due(), delivery.Working)
			asks := r.untilState(r.due(func(d *delivery.Delivery) { d.Prompt = "ask" }), delivery.InputRequired)
			for _, d := range []*delivery.Delivery{works, asks} {
				if _, err := r.d.Cancel(t.Context(), d.ID, "ann"); err != nil {
					t.Fatal(err)
				}
				d = r.untilState(d, delivery.Canceled)
				r.logs(d, "person ann: canceled the delivery", "person ann: the agent was told to stop", "state canceled agent")
				if d.Skipped != "" || d.CancelRequestedBy != "" {
					t.Errorf("skipped %q, still to be canceled by %q", d.Skipped, d.CancelRequestedBy)
				}
				_, err := r.d.Cancel(t.Context(), d.ID, "ann")
				refuses(t, err, "has ended as canceled")
			}
		})
	}
}

// TestAnAgentThatCantStopIsToldSoAndFollowed: kagent's Python agents can't cancel.
func TestAnAgentThatCantStopIsToldSoAndFollowed(t *testing.T) {
	for name, fault := range map[string]kagenttest.Fault{
		"as it is":       {},
		"no such method": {Body: `{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"method not found"}}`},
		"500":            {Status: 500},
	} {
		t.Run(name, func(t *testing.T) {
			free := make(chan struct{})
			r := newRig(t, kagenttest.Options{Dialect: agent.Kagent097, Script: acts(kagenttest.Act{Until: free, Answer: "done"})})
			d := r.untilState(r.due(), delivery.Working)
			if name != "as it is" {
				fault.On, fault.Times = kagenttest.Cancel, -1
				r.kagent.Inject(fault)
			}
			if _, err := r.d.Cancel(t.Context(), d.ID, "ann"); err != nil {
				t.Fatal(err)
			}
			d = r.until(d, "the wish is over", func(d *delivery.Delivery) bool { return d.CancelRequestedBy == "" })
			r.logs(d, "person ann: the agent can't be stopped: ")
			if n := len(r.kagent.Requests(kagenttest.Cancel)); n != 3 || d.State != delivery.Working {
				t.Errorf("it was asked %d times to stop, and is %s", n, d.State)
			}
			close(free)
			if d = r.untilState(d, delivery.Succeeded); d.Answer != "done" {
				t.Errorf("answer %q", d.Answer)
			}
		})
	}
}

func TestACallThatWasCanceledBeforeIsNotMade(t *testing.T) {
	r := newRig(t, kagenttest.Options{})
	d := r.due(func(d *delivery.Delivery) { d.NextAt = time.Now().Add(time.Hour) })
	if _, err := r.d.Cancel(t.Context(), d.ID, "ann"); err != nil {
		t.Fatal(err)
	}
	d = r.untilState(d, delivery.Canceled)
	if d.Skipped != delivery.SkipCanceled || d.Error != "canceled by ann before the agent was called" || len(r.kagent.Messages()) != 0 {
		t.Errorf("skipped %q, error %q, %d messages", d.Skipped, d.Error, len(r.kagent.Messages()))
	}
}

// TestACallWhoseAnswerWasLostIsCanceledOnceItIsFound: nobody knows whether the agent works already, so
// its task is found first.
func TestACallWhoseAnswerWasLostIsCanceledOnceItIsFound(t *testing.T) {
	for _, dialect := range agent.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			r := newRig(t, kagenttest.Options{Dialect: dialect, Cancels: true, Script: acts(kagenttest.Act{Never: true})})
			r.kagent.Inject(kagenttest.Fault{On: kagenttest.Send, Accept: true, Drop: true})
			for _, kind := range []string{kagenttest.Send, kagenttest.Tasks, kagenttest.List} {
				r.kagent.Inject(kagenttest.Fault{On: kind, Times: -1, Status: 503})
			}
			d := r.until(r.due(), "its answer is lost", func(d *delivery.Delivery) bool { return d.Sent != nil && d.Error != "" })
			if _, err := r.d.Cancel(t.Context(), d.ID, "ann"); err != nil {
				t.Fatal(err)
			}
			r.kagent.Heal()
			d = r.untilState(d, delivery.Canceled)
			r.once(d)
			untold := strings.HasPrefix(d.Error, "it is not known whether the message arrived, and it is not sent again: a person canceled it")
			if dialect == agent.Kagent10 { // it can't be asked but by sending the message again, which a person has forbidden
				if !untold || d.Skipped != "" {
					t.Errorf("skipped %q: %s", d.Skipped, d.Error)
				}
				return
			}
			if len(r.kagent.Requests(kagenttest.Cancel)) != 1 || untold {
				t.Errorf("the agent works on: %s", d.Error)
			}
		})
	}
}

func TestARetryIsANewCallThatSaysSo(t *testing.T) {
	r := newRig(t, kagenttest.Options{Script: func(m kagenttest.Message) kagenttest.Act {
		if strings.Contains(string(m.Data), "retryOf") {
			return kagenttest.Act{Answer: "this time it worked"}
		}
		return kagenttest.Act{End: "TASK_STATE_FAILED", Answer: "it did not work"}
	}})
	old := r.untilState(r.due(), delivery.Failed)
	again, err := r.d.Retry(t.Context(), old.ID, "ann")
	if err != nil {
		t.Fatal(err)
	}
	d := r.untilState(again, delivery.Succeeded)
	if d.RetryOf != old.ID || d.RequestedBy != "ann" || d.Answer != "this time it worked" || d.ID == old.ID {
		t.Errorf("%+v", d)
	}
	got := r.kagent.Messages()[1]
	var data struct {
		RetryOf struct{ DeliveryID, State string }
		Total   int `json:"totalIncidents"`
	}
	if err := json.Unmarshal(got.Data, &data); err != nil || data.RetryOf.DeliveryID != old.ID || data.RetryOf.State != "failed" || data.Total != 1 {
		t.Errorf("the agent is told %s (%v)", got.Data, err)
	}
	if got.Text != old.Prompt {
		t.Errorf("the agent is asked %q", got.Text)
	}
	_, err = r.d.Retry(t.Context(), old.ID, "bob")
	refuses(t, err, "tried again already, as delivery "+d.ID)
	if _, err := r.d.Retry(t.Context(), d.ID, "bob"); err != nil {
		t.Errorf("the repetition can't be tried again: %v", err)
	}
	r.logs(old, "person ann: wanted it again, as delivery "+d.ID)
	r.logs(d, "person ann: wanted delivery "+old.ID+" again")
}

func TestARetryNeverPutsTwoAgentsToWork(t *testing.T) {
	deny := false
	r := newRig(t, kagenttest.Options{Cancels: true, Script: func(m kagenttest.Message) kagenttest.Act {
		return kagenttest.Act{Never: strings.Contains(m.Text, "never")}
	}}, func(c *Config) {
		c.Refusal = func(*delivery.Delivery) (delivery.Skip, string) {
			if deny {
				return delivery.SkipSuspended, "the Hook was suspended before its agent was called"
			}
			return "", ""
		}
	})
	group := func(d *delivery.Delivery) { d.Group = "Deployment/same" }
	done := r.untilState(r.due(group), delivery.Succeeded)
	works := r.untilState(r.due(group, func(d *delivery.Delivery) { d.Prompt = "never" }), delivery.Working)
	_, err := r.d.Retry(t.Context(), works.ID, "ann")
	refuses(t, err, "cancel it first")
	_, err = r.d.Retry(t.Context(), done.ID, "ann")
	refuses(t, err, works.ID+" about Deployment/same is working")
	if _, err := r.d.Cancel(t.Context(), works.ID, "ann"); err != nil {
		t.Fatal(err)
	}
	r.untilState(works, delivery.Canceled)
	r.halt()
	deny = true
	r.start()
	_, err = r.d.Retry(t.Context(), done.ID, "ann")
	refuses(t, err, "the Hook was suspended")
}

func TestWhatEndedBeforeTheCallIsNotDelivered(t *testing.T) {
	r := newRig(t, kagenttest.Options{})
	r.kagent.Inject(kagenttest.Fault{Times: -1, Status: 429})
	waits := func(d *delivery.Delivery) bool { return d.State == delivery.Pending && d.Attempt > 1 }
	all, one, even := r.due(), r.due(), r.due(func(d *delivery.Delivery) { d.EvenIfRecovered = true })
	for _, d := range []*delivery.Delivery{all, one, even} {
		r.until(d, "it waits for kagent", waits)
	}
	joined := r.due(func(d *delivery.Delivery) { d.NextAt = time.Now().Add(time.Hour) })
	r.cover(one, joined.IncidentID)
	for _, d := range []*delivery.Delivery{all, one, even} {
		r.resolve(d, incident.Recovered)
	}
	if d := r.untilState(all, delivery.Canceled); d.Skipped != delivery.SkipRecovered {
		t.Errorf("skipped %q: %s", d.Skipped, d.Error)
	}
	r.kagent.Heal()
	r.untilState(one, delivery.Succeeded)
	r.untilState(even, delivery.Succeeded)
	r.once(one, even)
	if n := r.kagent.Executions(all.MessageID()); n != 0 {
		t.Errorf("the agent was called %d times for what had ended", n)
	}
}

// TestADeposedLeaderNeitherCallsNorOverwrites: a dispatcher that was held up for as long as its
// successor needed to take over goes on where it was.
func TestADeposedLeaderNeitherCallsNorOverwrites(t *testing.T) {
	for _, dialect := range agent.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			r := newRig(t, kagenttest.Options{Dialect: dialect})
			r.halt()
			d := r.due()
			client, err := agent.New(agent.Config{BaseURL: r.kagent.URL})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			cfg := r.cfg
			cfg.Follow = false
			held := &slowAgent{Agent: client, before: func() {
				r.start() // the successor
				r.untilState(d, delivery.Succeeded)
			}}
			deposed := New(cfg, r.store, held)
			defer deposed.queue.ShutDown()
			if _, err := deposed.Reconcile(t.Context(), d.ID); err == nil {
				t.Error("the deposed leader does not notice")
			}
			if now := r.now(d); now.State != delivery.Succeeded {
				t.Errorf("the deposed leader made it %s", now.State)
			}
			r.once(d)
		})
	}
}

// slowAgent is held up before it sends.
type slowAgent struct {
	Agent
	before func()
}

// Send implements Agent.
func (s *slowAgent) Send(ctx context.Context, r agent.Request) (agent.Task, error) {
	s.before()
	return s.Agent.Send(ctx, r)
}

// TestARetryTellsWhatWasHeldBack before the call that it repeats, and since.
func TestARetryTellsWhatWasHeldBack(t *testing.T) {
	r := newRig(t, kagenttest.Options{Script: acts(kagenttest.Act{End: a2a.TaskStateFailed, Answer: "I could not"})})
	since := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	d := r.untilState(r.due(func(d *delivery.Delivery) {
		d.HeldBack = &delivery.HeldBack{OverBudget: 2, Since: since, Until: since, Resources: []string{"cart-1"}}
	}), delivery.Failed)
	held := delivery.HeldBack{LoopGuard: 3, Since: since.Add(time.Minute), Until: since.Add(2 * time.Minute), Resources: []string{"cart-2"}}
	r.write(func(*store.Tx) *store.Changes {
		return &store.Changes{Groups: []*delivery.GroupState{{GroupKey: d.Key(), HookUID: d.HookUID, Held: held, Hold: delivery.LoopGuard, NeedsPerson: true, Why: "again and again", HoldEnds: time.Now().Add(time.Hour)}}}
	})
	again, err := r.d.Retry(t.Context(), d.ID, "ann")
	if err != nil {
		t.Fatal(err)
	}
	again = r.untilState(again, delivery.Failed)
	for _, part := range []string{`"overBudget":2`, `"loopGuard":3`, `"cart-1"`, `"cart-2"`} {
		if !strings.Contains(again.Data, part) {
			t.Errorf("the agent is not told of %s: %s", part, again.Data)
		}
	}
	groups, err := r.store.HeldGroups(t.Context(), d.Hook, time.Now(), 10)
	if err != nil || len(groups) != 1 || groups[0].Held.Events() != 0 || !groups[0].NeedsPerson {
		t.Errorf("what was told is told again, or a retry lets calls through: %+v %v", groups, err)
	}
}
