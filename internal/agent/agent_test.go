package agent_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/a2aproject/a2a-go/v2/a2a"
	"github.com/google/go-cmp/cmp"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

func TestSendAndPollInEachDialect(t *testing.T) {
	work := make(chan struct{})
	opts := kagenttest.Options{Script: func(kagenttest.Message) kagenttest.Act {
		return kagenttest.Act{Until: work, Answer: "It leaks.\nRaise the limit.", Usage: map[string]any{"totalTokenCount": 30, "promptTokenCount": 20, "candidatesTokenCount": 10}}
	}}
	defer func() { work = nil }()
	eachDialect(t, opts, func(t *testing.T, s *kagenttest.Server) {
		work = make(chan struct{})
		c := dial(t, s)
		r := newRequest("shop")
		task, err := c.Send(within(t), r)
		if err != nil {
			t.Fatal(err)
		}
		if task.State.Ended() || task.ID == "" || task.Dialect != s.Dialect() {
			t.Errorf("Send did not return at once with a task under way in %s: %+v", s.Dialect(), task)
		}
		if chosen := task.ContextID == r.ContextID; chosen != (s.Dialect() != agent.Kagent10) {
			t.Errorf("the context is the client's: %t", chosen)
		}
		close(work)
		done := until(t, c, task.ID, agent.Completed)
		if done.Answer != "It leaks.\nRaise the limit." || done.Usage != (agent.Usage{Total: 30, Prompt: 20, Completion: 10}) {
			t.Errorf("answer %q, usage %+v", done.Answer, done.Usage)
		}
		sawMessage(t, s.Messages(), r)
	})
}

// sawMessage checks what the agent really received.
func sawMessage(t *testing.T, got []kagenttest.Message, r agent.Request) {
	t.Helper()
	if len(got) != 1 {
		t.Fatalf("the agent received %d messages, want 1", len(got))
	}
	m := got[0]
	if m.ID != r.MessageID || m.Text != r.Prompt || m.User != "khook" || m.Agent != helper {
		t.Errorf("the agent received %+v", m)
	}
	var want, data any
	if err := json.Unmarshal(r.Data, &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(m.Data, &data); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, data); diff != "" {
		t.Error("data part:", diff)
	}
	if m.DataMetadata["khook.dev/untrusted"] != true {
		t.Errorf("the data part is not marked as untrusted: %v", m.DataMetadata)
	}
}

func TestEveryEndOfATaskInEachDialect(t *testing.T) {
	ends := map[a2a.TaskState]agent.State{
		a2a.TaskStateCompleted: agent.Completed, a2a.TaskStateFailed: agent.Failed,
		a2a.TaskStateRejected: agent.Rejected, a2a.TaskStateCanceled: agent.Canceled,
	}
	opts := kagenttest.Options{Script: func(m kagenttest.Message) kagenttest.Act {
		return kagenttest.Act{End: a2a.TaskState(m.Text), Answer: "because of " + m.Text}
	}}
	eachDialect(t, opts, func(t *testing.T, s *kagenttest.Server) {
		c := dial(t, s)
		for wire, want := range ends {
			r := newRequest(string(want))
			r.Prompt = string(wire)
			task, err := c.Send(within(t), r)
			if err != nil {
				t.Fatal(err)
			}
			if got := until(t, c, task.ID, want); got.Answer != "because of "+string(wire) {
				t.Errorf("%s: answer %q", want, got.Answer)
			}
		}
	})
}

func TestADirectAnswerIsACompletedTaskWithoutID(t *testing.T) {
	opts := kagenttest.Options{Script: func(kagenttest.Message) kagenttest.Act { return kagenttest.Act{Direct: "Nothing to do."} }}
	eachDialect(t, opts, func(t *testing.T, s *kagenttest.Server) {
		task, err := dial(t, s).Send(within(t), newRequest("shop"))
		if err != nil || task.ID != "" || task.State != agent.Completed || task.Answer != "Nothing to do." {
			t.Errorf("%+v, %v", task, err)
		}
	})
}

func TestAQuestionAndItsReplyInEachDialect(t *testing.T) {
	opts := kagenttest.Options{Script: func(m kagenttest.Message) kagenttest.Act {
		if m.Reply {
			return kagenttest.Act{Answer: "Done, as you said " + m.Text + string(m.Data)}
		}
		return kagenttest.Act{Ask: "Restart it?"}
	}}
	eachDialect(t, opts, func(t *testing.T, s *kagenttest.Server) {
		c := dial(t, s)
		task, err := c.Send(within(t), newRequest("shop"))
		if err != nil {
			t.Fatal(err)
		}
		waiting := until(t, c, task.ID, agent.InputRequired)
		if !waiting.State.Interrupted() || waiting.Question != "Restart it?" {
			t.Errorf("question %q in state %s", waiting.Question, waiting.State)
		}
		if _, err = c.Reply(within(t), helper, waiting, "yes", []byte(`{"decision_type":"approve"}`), "reply-1", agent.Permit{}); err != nil {
			t.Fatal(err)
		}
		if done := until(t, c, task.ID, agent.Completed); done.Answer != `Done, as you said yes{"decision_type":"approve"}` {
			t.Errorf("answer %q", done.Answer)
		}
	})
}

func TestAnApprovalNamesTheToolAndItsArguments(t *testing.T) {
	opts := kagenttest.Options{Script: func(kagenttest.Message) kagenttest.Act { return kagenttest.Act{Approve: "delete_pod"} }}
	eachDialect(t, opts, func(t *testing.T, s *kagenttest.Server) {
		c := dial(t, s)
		task, err := c.Send(within(t), newRequest("shop"))
		if err != nil {
			t.Fatal(err)
		}
		want := `approve a call of the tool delete_pod with {"namespace":"shop"}?`
		if got := until(t, c, task.ID, agent.InputRequired).Question; got != want {
			t.Errorf("question %q, want %q", got, want)
		}
	})
}

func TestCancelInEachDialect(t *testing.T) {
	opts := kagenttest.Options{Cancels: true, Script: func(m kagenttest.Message) kagenttest.Act {
		return kagenttest.Act{Never: strings.Contains(m.Text, "never"), Answer: "quick"}
	}}
	eachDialect(t, opts, func(t *testing.T, s *kagenttest.Server) {
		c := dial(t, s)
		task, err := c.Send(within(t), newRequest("never"))
		if err != nil {
			t.Fatal(err)
		}
		until(t, c, task.ID, agent.Working)
		if task, err = c.Cancel(within(t), helper, task.ID, agent.Permit{}); err != nil || task.State != agent.Canceled {
			t.Errorf("after Cancel the task is %s, %v", task.State, err)
		}
		if task, err = c.Send(within(t), newRequest("quick")); err != nil {
			t.Fatal(err)
		}
		until(t, c, task.ID, agent.Completed)
		if task, err = c.Cancel(within(t), helper, task.ID, agent.Permit{}); err != nil || task.Answer != "quick" {
			t.Errorf("canceling a task that has ended gives %+v, %v, want it as it ended", task, err)
		}
	})
}

func TestALongAnswerIsCutWithAMark(t *testing.T) {
	opts := kagenttest.Options{Script: func(kagenttest.Message) kagenttest.Act {
		return kagenttest.Act{Answer: strings.Repeat("all is well. ", 20_000)}
	}}
	s := kagenttest.New(t, opts)
	c := dial(t, s)
	task, err := c.Send(within(t), newRequest("shop"))
	if err != nil {
		t.Fatal(err)
	}
	got := until(t, c, task.ID, agent.Completed).Answer
	if len(got) > delivery.MaxAnswer || !strings.HasSuffix(got, incident.Ellipsis) {
		t.Errorf("an answer of %d bytes, at most %d are allowed, ending in %q", len(got), delivery.MaxAnswer, got[len(got)-10:])
	}
}

func TestASessionGetsAReadableNameWhereThereAreSessions(t *testing.T) {
	eachDialect(t, kagenttest.Options{}, func(t *testing.T, s *kagenttest.Server) {
		c := dial(t, s)
		r := newRequest("shop")
		if _, err := c.Send(within(t), r); err != nil {
			t.Fatal(err)
		}
		c.Close() // waits for what runs in the background
		rest := s.Dialect() == agent.Kagent05 || s.Dialect() == agent.Kagent097
		name, _ := s.SessionName(r.ContextID, "khook")
		if rest != (name == r.Title) || len(s.Requests(kagenttest.Session)) > 0 != rest {
			t.Errorf("the session's name is %q", name)
		}
	})
}

func TestASessionThatCantBeNamedHarmsNothing(t *testing.T) {
	s := kagenttest.New(t, kagenttest.Options{Dialect: agent.Kagent097})
	s.Inject(kagenttest.Fault{On: kagenttest.Session, Hang: true, Times: -1})
	if _, err := dial(t, s).Send(within(t), newRequest("shop")); err != nil {
		t.Error(err)
	}
}
