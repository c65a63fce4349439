package dispatch

import (
	"runtime"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// answer answers the agent's question as a person does in kagent's own dashboard.
func (r *rig) answer(d *delivery.Delivery, text string) {
	r.Helper()
	client, err := agent.New(agent.Config{BaseURL: r.kagent.URL})
	if err != nil {
		r.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Reply(r.Context(), d.Agent, agent.Task{ID: d.TaskID, ContextID: d.ContextID}, text, nil, incident.DeriveID("reply", d.ID), agent.Permit{}); err != nil {
		r.Fatal(err)
	}
}

func TestAnAgentThatAsksWaitsForAPerson(t *testing.T) {
	for _, dialect := range agent.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			free := make(chan struct{})
			r := newRig(t, kagenttest.Options{Dialect: dialect, Script: func(m kagenttest.Message) kagenttest.Act {
				if m.Reply {
					return kagenttest.Act{Until: free, Answer: "deleted"}
				}
				return kagenttest.Act{Ask: "may I delete the Pod?"}
			}}, func(c *Config) { c.Concurrency = 1 })
			d := r.untilState(r.due(), delivery.InputRequired)
			if d.Error != "the agent waits for a person: may I delete the Pod?" || d.Answer != "" {
				t.Errorf("error %q, answer %q", d.Error, d.Answer)
			}
			other := r.untilState(r.due(), delivery.InputRequired) // it takes up no place
			r.answer(d, "yes")
			r.untilState(d, delivery.Working)
			for deadline := time.Now().Add(time.Minute); r.d.slots.acquire(d.Agent, "a third"); {
				r.d.slots.release(d.Agent, "a third") // the row says so a moment before
				if time.Now().After(deadline) {
					t.Fatal("an agent that a person set to work again counts as free")
				}
				runtime.Gosched()
			}
			r.d.slots.release(d.Agent, "a third")
			close(free)
			if d = r.untilState(d, delivery.Succeeded); d.Answer != "deleted" || d.Error != "" {
				t.Errorf("answer %q, error %q", d.Answer, d.Error)
			}
			r.once(d, other)
		})
	}
}

func TestAQuestionThatNobodyAnswersExpires(t *testing.T) {
	r := newRig(t, kagenttest.Options{Script: acts(kagenttest.Act{Ask: "may I?"})})
	d := r.due(func(d *delivery.Delivery) { d.Timeout = 200 * time.Millisecond })
	d = r.untilState(d, delivery.Expired)
	if want := "nobody answered the agent within 200ms (spec.eventConfigurations[].timeout): the agent waits for a person: may I?"; d.Error != want {
		t.Errorf("%q", d.Error)
	}
	if len(r.kagent.Requests(kagenttest.Cancel)) == 0 {
		t.Error("the agent waits on")
	}
	r.nothingLeft()
}
