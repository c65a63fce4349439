package agent_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
)

// withPrecheck is a script whose agent asks as act says, and then repeats what it was answered.
func asking(act kagenttest.Act) kagenttest.Options {
	return kagenttest.Options{Script: func(m kagenttest.Message) kagenttest.Act {
		if !m.Reply {
			return act
		}
		return kagenttest.Act{Answer: m.Text + string(m.Data) + string(m.Response)}
	}}
}

// questionSpec returns a task that waits for a person.
func questionSpec(t *testing.T, c *agent.Client, want agent.State) agent.Task {
	t.Helper()
	task, err := c.Send(within(t), newRequest("shop"))
	if err != nil {
		t.Fatal(err)
	}
	return until(t, c, task.ID, want)
}

var (
	approve = json.RawMessage(`{"decision_type":"approve"}`)
	reject  = json.RawMessage(`{"decision_type":"reject"}`)
)

func TestAReplyGoesOnWithTheTaskWhateverItAsksFor(t *testing.T) {
	acts := map[string]struct {
		act   kagenttest.Act
		state agent.State
	}{
		"a text":      {kagenttest.Act{Ask: "Restart it?"}, agent.InputRequired},
		"an approval": {kagenttest.Act{Approve: "delete_pod"}, agent.InputRequired},
		"credentials": {kagenttest.Act{Auth: true, Ask: "Log in at the gate."}, agent.AuthRequired},
	}
	replies := map[string]struct {
		text string
		data json.RawMessage
	}{
		"text":         {"yes", nil},
		"decision":     {"", approve},
		"both of them": {"yes", approve},
	}
	for what, asks := range acts {
		eachDialect(t, asking(asks.act), func(t *testing.T, s *kagenttest.Server) {
			c := dial(t, s)
			for how, r := range replies {
				name := what + " with " + how
				id := strings.ReplaceAll("reply "+name, " ", "-")
				r0 := newRequest(name)
				task, err := c.Send(within(t), r0)
				if err != nil {
					t.Fatal(err)
				}
				waits := until(t, c, task.ID, asks.state)
				if waits.QuestionID == "" || waits.Approval != (what == "an approval") || waits.Heard(id) {
					t.Errorf("%s: question ID %q, approval %t", name, waits.QuestionID, waits.Approval)
				}
				_, err = c.Reply(within(t), helper, waits, r.text, r.data, id, agent.Permit{})
				if byID := s.Dialect() == agent.KagentMain || s.Dialect() == agent.Kagent10; byID && waits.Approval && r.data == nil {
					if !agent.Final(err) || !agent.NoEffect(err) { // it wants each call named, and a text names none
						t.Errorf("%s: %v", name, err)
					}
					continue
				}
				if err != nil {
					t.Errorf("%s: %v", name, err)
					continue
				}
				done := until(t, c, task.ID, agent.Completed)
				if !strings.HasPrefix(done.Answer, r.text+string(r.data)) || !done.Heard(id) || done.QuestionID != "" || done.Approval {
					t.Errorf("%s: %+v", name, done)
				}
				if n := s.Executions(id); n != 1 {
					t.Errorf("%s: the reply ran %d times", name, n)
				}
			}
		})
	}
}

func TestADecisionIsGivenAsTheDialectWantsIt(t *testing.T) {
	eachDialect(t, asking(kagenttest.Act{Approve: "delete_pod"}), func(t *testing.T, s *kagenttest.Server) {
		c := dial(t, s)
		waits := questionSpec(t, c, agent.InputRequired)
		if _, err := c.Reply(within(t), helper, waits, "not in production", reject, "reply-1", agent.Permit{}); err != nil {
			t.Fatal(err)
		}
		until(t, c, waits.ID, agent.Completed)
		got := s.Messages()[1]
		if want := `{"decision_type":"reject","rejection_reason":"not in production"}`; string(got.Data) != want || got.DataMetadata != nil {
			t.Errorf("data %s, want %s, marked %v", got.Data, want, got.DataMetadata)
		}
		want := ""
		if d := s.Dialect(); d == agent.KagentMain || d == agent.Kagent10 {
			want = `{"approvals":[{"approved":false,"id":"approve-delete_pod","rejection_reason":"not in production"}],"type":"tool_approval_response"}`
		}
		if string(got.Response) != want {
			t.Errorf("by the extension it got %s, want %s", got.Response, want)
		}
	})
}

func TestAnAgentMayAskAgain(t *testing.T) {
	for _, act := range []kagenttest.Act{{Ask: "Sure?"}, {Approve: "delete_pod"}, {Auth: true, Ask: "Log in."}} {
		opts := kagenttest.Options{Script: func(m kagenttest.Message) kagenttest.Act {
			if m.Text == "third" {
				return kagenttest.Act{Answer: "Done."}
			}
			return act
		}}
		eachDialect(t, opts, func(t *testing.T, s *kagenttest.Server) {
			c := dial(t, s)
			state := agent.InputRequired
			if act.Auth {
				state = agent.AuthRequired
			}
			task := questionSpec(t, c, state)
			questions := map[string]bool{task.QuestionID: true}
			for _, text := range []string{"first", "second"} {
				if _, err := c.Reply(within(t), helper, task, text, approve, text, agent.Permit{}); err != nil {
					t.Fatal(err)
				}
				old := task
				for task.QuestionID == old.QuestionID || !task.State.Interrupted() {
					task = lookedUp(t, c, old.ID)
				}
				questions[task.QuestionID] = true
				_, err := c.Reply(within(t), helper, old, "approve this", approve, "late-"+text, agent.Permit{})
				if !agent.Final(err) || !agent.NoEffect(err) || !strings.Contains(err.Error(), "the agent asks something else by now") {
					t.Errorf("a reply to the former question: %v", err)
				}
			}
			if len(questions) != 3 {
				t.Errorf("three questions have the IDs %v", questions)
			}
			if _, err := c.Reply(within(t), helper, agent.Task{ID: task.ID}, "third", approve, "third", agent.Permit{}); err != nil {
				t.Fatal(err)
			}
			until(t, c, task.ID, agent.Completed)
			if _, err := c.Reply(within(t), helper, agent.Task{ID: task.ID}, "fourth", nil, "fourth", agent.Permit{}); !agent.Final(err) || !strings.Contains(err.Error(), "does not ask anything any more: the task is completed") {
				t.Error(err)
			}
			if n := len(s.Messages()); n != 4 {
				t.Errorf("the agent got %d messages, want 4", n)
			}
		})
	}
}

func lookedUp(t *testing.T, c *agent.Client, id string) agent.Task {
	t.Helper()
	task, err := c.Task(within(t), helper, id)
	if err != nil {
		t.Fatal(err)
	}
	return task
}

func TestALostAnswerToAReplyCanBeDecided(t *testing.T) {
	for _, act := range []kagenttest.Act{{Ask: "Restart it?"}, {Approve: "delete_pod"}, {Auth: true, Ask: "Log in."}} {
		state := agent.InputRequired
		if act.Auth {
			state = agent.AuthRequired
		}
		eachDialect(t, asking(act), func(t *testing.T, s *kagenttest.Server) {
			c := dial(t, s)
			waits := questionSpec(t, c, state)
			reply := func() error {
				_, err := c.Reply(within(t), helper, waits, "yes", approve, "reply-1", agent.Permit{})
				return err
			}
			s.Inject(kagenttest.Fault{On: kagenttest.Send, Drop: true})
			if err := reply(); err == nil || agent.NoEffect(err) {
				t.Fatalf("a lost answer: %v", err)
			}
			if now := lookedUp(t, c, waits.ID); now.Heard("reply-1") || now.QuestionID != waits.QuestionID {
				t.Errorf("of a reply that did not arrive: heard %t, question %q", now.Heard("reply-1"), now.QuestionID)
			}
			s.Inject(kagenttest.Fault{On: kagenttest.Send, Accept: true, Drop: true})
			if err := reply(); err == nil || agent.NoEffect(err) {
				t.Fatalf("a lost answer: %v", err)
			}
			if now := lookedUp(t, c, waits.ID); !now.Heard("reply-1") || now.QuestionID == waits.QuestionID {
				t.Errorf("of a reply that arrived: heard %t, question %q", now.Heard("reply-1"), now.QuestionID)
			}
			if err := reply(); err != nil {
				t.Errorf("a reply that the agent has: %v", err)
			}
			if n := s.Executions("reply-1"); n != 1 {
				t.Errorf("the reply ran %d times", n)
			}
		})
	}
}

func TestALookThatFailsIsNoLicenceToReply(t *testing.T) {
	eachDialect(t, asking(kagenttest.Act{Ask: "Restart it?"}), func(t *testing.T, s *kagenttest.Server) {
		c := dial(t, s)
		waits := questionSpec(t, c, agent.InputRequired)
		for _, f := range []kagenttest.Fault{{Drop: true}, {Status: 500}, {Status: 429}, {Body: "garbage"}} {
			f.On = kagenttest.Get
			s.Inject(f)
			if _, err := c.Reply(within(t), helper, waits, "yes", nil, "reply-1", agent.Permit{}); err == nil || !agent.NoEffect(err) || agent.Final(err) {
				t.Errorf("%+v: %v", f, err)
			}
		}
		if s.Executions("reply-1") != 0 {
			t.Error("the agent was answered although nobody knew what it asks")
		}
	})
}

// saidOf renders entries without their IDs.
func saidOf(entries []agent.Entry) []string {
	var all []string
	for _, e := range entries {
		all = append(all, strings.TrimSpace(string(e.Kind)+" "+e.Role)+": "+e.Text)
	}
	return all
}

func TestWhatTheAgentSaidAndMadeIsKeptInEachDialect(t *testing.T) {
	opts := kagenttest.Options{Script: func(m kagenttest.Message) kagenttest.Act {
		if m.Reply {
			return kagenttest.Act{Chunks: []string{"It leaks. ", "Raise the limit."}, Status: "I restarted it."}
		}
		return kagenttest.Act{Ask: "Restart it?"}
	}}
	eachDialect(t, opts, func(t *testing.T, s *kagenttest.Server) {
		c := dial(t, s)
		waits := questionSpec(t, c, agent.InputRequired)
		if diff := cmp.Diff([]string{"message agent: Restart it?"}, saidOf(waits.Entries)); diff != "" || waits.QuestionID == "" {
			t.Errorf("question ID %q: %s", waits.QuestionID, diff)
		}
		if _, err := c.Reply(within(t), helper, waits, "yes", nil, "reply-1", agent.Permit{}); err != nil {
			t.Fatal(err)
		}
		done := until(t, c, waits.ID, agent.Completed)
		want := []string{"message agent: Restart it?", "message agent: I restarted it.", "artifact: It leaks. Raise the limit."}
		if diff := cmp.Diff(want, saidOf(done.Entries)); diff != "" || done.MoreEntries {
			t.Errorf("more: %t: %s", done.MoreEntries, diff)
		}
		if done.Entries[0].ID != waits.Entries[0].ID || !done.Heard(newRequest("shop").MessageID) || !done.Heard("reply-1") || done.Heard("") || done.Heard(waits.Entries[0].ID) {
			t.Errorf("heard is wrong of %+v", done)
		}
		if s.Dialect() == agent.Kagent05 || s.Dialect() == agent.Kagent097 {
			gone := rpcFault(200, -32001, "task not found")
			gone.On = kagenttest.Get
			s.Inject(gone)
			if diff := cmp.Diff(done.Entries, lookedUp(t, c, waits.ID).Entries); diff != "" {
				t.Error("as kagent stored it:", diff)
			}
		}
	})
}

func TestAHistoryThatIsTooLargeHidesNothingElse(t *testing.T) {
	opts := kagenttest.Options{Script: func(m kagenttest.Message) kagenttest.Act {
		switch {
		case !m.Reply:
			return kagenttest.Act{Ask: strings.Repeat("all is well. ", 6000)}
		case m.Text == "6":
			return kagenttest.Act{Answer: "Done."}
		}
		return kagenttest.Act{Ask: "And now?"}
	}}
	eachDialect(t, opts, func(t *testing.T, s *kagenttest.Server) {
		c := dial(t, s)
		task := questionSpec(t, c, agent.InputRequired)
		for i := range 7 {
			if _, err := c.Reply(within(t), helper, agent.Task{ID: task.ID}, strconv.Itoa(i), nil, "reply-"+strconv.Itoa(i), agent.Permit{}); err != nil {
				t.Fatal(err)
			}
			if i < 6 {
				until(t, c, task.ID, agent.InputRequired)
			}
		}
		if all := until(t, c, task.ID, agent.Completed); len(all.Entries) != 8 || !all.Entries[0].Truncated || all.MoreEntries {
			t.Errorf("%d entries, more %t", len(all.Entries), all.MoreEntries)
		}
		small := dial(t, s, func(cfg *agent.Config) { cfg.MaxResponse = 64 << 10 })
		got := lookedUp(t, small, task.ID)
		if got.Answer != "Done." || len(got.Entries) != 8 || !got.Heard("reply-6") || !strings.HasPrefix(got.Entries[0].Text, "all is well. ") {
			t.Errorf("%d entries, more %t, answer %q", len(got.Entries), got.MoreEntries, got.Answer)
		}
	})
}
