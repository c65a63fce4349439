package dispatch

import (
	"fmt"
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
			for deadline := time.Now().Add(time.Minute); r.hasRoom(d.Agent); {
				if time.Now().After(deadline) {
					t.Fatal("an agent that a person set to work again counts as free")
				}
				runtime.Gosched()
			}
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

// hasRoom says whether the agent could take another delivery.
func (r *rig) hasRoom(a delivery.AgentRef) bool {
	ok, _ := r.d.slots.acquire(a, place{id: "a third"})
	r.d.slots.release(a, "a third")
	return ok
}

// TestARepliesTurnComesWhenItsAgentHasTime: an answer sets its agent to work as a call does, so it counts for what the agent does at once.
func TestARepliesTurnComesWhenItsAgentHasTime(t *testing.T) {
	free := make(chan struct{})
	r := newRig(t, kagenttest.Options{Script: func(m kagenttest.Message) kagenttest.Act {
		if m.Reply || m.Text != "ask" {
			return kagenttest.Act{Until: free, Answer: "done"}
		}
		return kagenttest.Act{Ask: "may I delete the Pod?"}
	}}, func(c *Config) { c.Concurrency = 1 })
	asks := r.untilState(r.due(func(d *delivery.Delivery) { d.Prompt = "ask" }), delivery.InputRequired)
	busy := r.untilState(r.due(), delivery.Working)
	if _, err := r.d.Reply(t.Context(), asks.ID, "ann", delivery.Reply{Text: "yes", QuestionID: asks.QuestionID}); err != nil {
		t.Fatal(err)
	}
	later := r.due()
	r.eventually("both wait", func() bool { return r.d.Waiting() == 2 }, func() string { return fmt.Sprint(r.d.Waiting()) })
	looks := len(r.kagent.Requests(kagenttest.Get))
	r.eventually("the question is looked at as before", func() bool { return len(r.kagent.Requests(kagenttest.Get)) > looks+5 }, func() string { return "not yet" })
	r.halt()
	r.start()
	r.eventually("both wait after a restart", func() bool { return r.d.Waiting() == 2 }, func() string { return fmt.Sprint(r.d.Waiting()) })
	if n := len(r.kagent.Messages()); n != 2 {
		t.Errorf("the agent got %d messages while it could work on no more", n)
	}
	close(free)
	for _, d := range []*delivery.Delivery{busy, asks, later} {
		r.untilState(d, delivery.Succeeded)
	}
	if got := r.kagent.Messages(); len(got) != 4 || !got[2].Reply {
		t.Errorf("the answer came after what was asked later: %d messages", len(got))
	}
	r.nothingLeft()
}
