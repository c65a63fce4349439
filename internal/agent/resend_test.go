package agent_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/delivery"
)

// sendUntil is what a dispatcher does: it sends, and after a lost answer looks, twice, before it sends again. A kagent that knows messages
// by their IDs is sent the same again.
func sendUntil(t *testing.T, s *kagenttest.Server, c *agent.Client, r agent.Request, f kagenttest.Fault) agent.Task {
	t.Helper()
	ctx, slow, missed := within(t), hurried(t, s), 2
	for i := range 30 {
		caller := c
		if f.Hang && i < max(f.Times, 1) {
			caller = slow
		} else if f.Hang {
			s.Heal()
		}
		if missed < 2 && s.Dialect() != agent.Kagent10 {
			fate, task, err := caller.Look(ctx, r.Agent, agent.Permit{Dialect: s.Dialect()}, r.ContextID)
			switch {
			case err == nil && fate == delivery.Arrived:
				return task
			case err == nil && fate == delivery.Missing:
				missed++
			}
			continue
		}
		task, err := caller.Send(ctx, r)
		if err == nil {
			return task
		}
		if agent.Final(err) {
			t.Fatal(err)
		}
		if !agent.NoEffect(err) {
			missed = 0
		}
	}
	t.Fatal("gave up")
	return agent.Task{}
}

// losses are the ways to lose an answer after the message was accepted, or before.
var losses = map[string]kagenttest.Fault{
	"accepted, then the connection broke":   {Accept: true, Drop: true},
	"accepted, then half an answer":         {Accept: true, Drop: true, CutAfter: 30},
	"accepted, then a server error":         {Accept: true, Status: 500},
	"accepted, then a gateway's timeout":    {Accept: true, Status: 504},
	"accepted, then overload with a pause":  {Accept: true, Status: 503, Header: map[string]string{"Retry-After": "1"}},
	"accepted, then garbage":                {Accept: true, Body: "<html>"},
	"accepted, then no answer":              {Accept: true, Hang: true},
	"accepted, then far too much":           {Accept: true, Huge: 2 << 20, Body: "{}"},
	"accepted, and lost three times":        {Accept: true, Drop: true, Times: 3},
	"not accepted, the connection broke":    {Drop: true},
	"not accepted, a server error":          {Status: 500},
	"not accepted, no answer, twice":        {Hang: true, Times: 2},
	"not accepted, a rate limit, twice":     {Status: 429, Times: 2},
	"accepted, an internal error in 200":    {Accept: true, Body: `{"jsonrpc":"2.0","id":"1","error":{"code":-32603,"message":"internal error"}}`},
	"not accepted, an internal error in 50": {Status: 500, Body: `{"jsonrpc":"2.0","id":"1","error":{"code":-32603,"message":"internal error"}}`},
}

func TestALostAnswerEndsInExactlyOneExecution(t *testing.T) {
	opts := kagenttest.Options{Script: func(m kagenttest.Message) kagenttest.Act { return kagenttest.Act{Answer: m.Text} }}
	eachDialect(t, opts, func(t *testing.T, s *kagenttest.Server) {
		t.Parallel()
		for name, fault := range losses {
			c := dial(t, s, func(cfg *agent.Config) { cfg.MaxResponse = 1 << 20 })
			r := newRequest(name)
			r.Title = ""
			fault.On = kagenttest.Send
			s.Inject(fault)
			task := sendUntil(t, s, c, r, fault)
			if done := until(t, c, task.ID, agent.Completed); done.Answer != r.Prompt {
				t.Errorf("%s: answer %q", name, done.Answer)
			}
			if n := s.Executions(r.MessageID); n != 1 {
				t.Errorf("%s: %d executions, want 1", name, n)
			}
			s.Heal()
		}
	})
}

func TestALookTellsWhatBecameOfAMessage(t *testing.T) {
	eachDialect(t, kagenttest.Options{}, func(t *testing.T, s *kagenttest.Server) {
		c := dial(t, s)
		r := newRequest("shop")
		look := func(want delivery.Fate) agent.Task {
			t.Helper()
			if s.Dialect() == agent.Kagent10 {
				want = delivery.Untold // it knows the message by its ID, and not by its context
			}
			fate, task, err := c.Look(within(t), r.Agent, agent.Permit{Dialect: s.Dialect()}, r.ContextID)
			if fate != want || err != nil {
				t.Errorf("%s, %v; want %s", fate, err, want)
			}
			return task
		}
		look(delivery.Missing)
		sent, err := c.Send(within(t), r)
		if err != nil {
			t.Fatal(err)
		}
		if task := look(delivery.Arrived); s.Dialect() != agent.Kagent10 && task.ID != sent.ID {
			t.Errorf("found %+v", task)
		}
	})
}

// TestASessionWithoutATaskTellsNothing: an agent that answers with a message makes no task.
func TestASessionWithoutATaskTellsNothing(t *testing.T) {
	for _, dialect := range []string{agent.Kagent05, agent.Kagent097} {
		s := kagenttest.New(t, kagenttest.Options{Dialect: dialect, Script: func(kagenttest.Message) kagenttest.Act { return kagenttest.Act{Direct: "done"} }})
		c := dial(t, s)
		r := newRequest("shop")
		s.Inject(kagenttest.Fault{On: kagenttest.Send, Accept: true, Drop: true})
		if _, err := c.Send(within(t), r); err == nil || agent.NoEffect(err) {
			t.Fatal(err)
		}
		if fate, _, err := c.Look(within(t), r.Agent, agent.Permit{Dialect: dialect}, r.ContextID); fate != delivery.Unclear || err != nil {
			t.Errorf("%s: %s, %v", dialect, fate, err)
		}
	}
}

func TestASessionIsNamedAfterItsMessageAndNotBefore(t *testing.T) {
	for _, dialect := range []string{agent.Kagent05, agent.Kagent097} {
		s := kagenttest.New(t, kagenttest.Options{Dialect: dialect})
		c := dial(t, s)
		r := newRequest("shop")
		s.Inject(kagenttest.Fault{On: kagenttest.Send, Drop: true})
		if _, err := c.Send(within(t), r); err == nil {
			t.Fatal("no error")
		}
		if _, ok := s.SessionName(r.ContextID, "khook"); ok || len(s.Requests(kagenttest.Session)) != 0 {
			t.Error("there is a session of a message that never arrived")
		}
		if _, err := c.Send(within(t), r); err != nil {
			t.Fatal(err)
		}
		c.Close()
		if name, _ := s.SessionName(r.ContextID, "khook"); name != r.Title {
			t.Errorf("%s: the session's name is %q", dialect, name)
		}
	}
}

// TestOnlyKagentsOwnWordsSayThatASessionDoesNotExist: a gateway says 404 too.
func TestOnlyKagentsOwnWordsSayThatASessionDoesNotExist(t *testing.T) {
	s := kagenttest.New(t, kagenttest.Options{Dialect: agent.Kagent097})
	c := dial(t, s)
	for _, body := range []string{`{"error":{"code":404}}`, `{}`, "Not Found", "<html>", `{"error":true}`, ""} {
		s.Inject(kagenttest.Fault{On: kagenttest.Tasks, Status: http.StatusNotFound, Body: body})
		fate, _, err := c.Look(within(t), helper, agent.Permit{Dialect: agent.Kagent097}, "c")
		if body == `{"error":true}` {
			continue // that is kagent's envelope
		}
		if err == nil || fate == delivery.Missing {
			t.Errorf("%q is taken for %s, %v", body, fate, err)
		}
	}
}

func TestAFailedLookUpIsNoLicenceToSend(t *testing.T) {
	faults := []kagenttest.Fault{{Drop: true}, {Status: 500}, {Status: 503}, {Hang: true}, {Body: "garbage"}, {Body: `{"error":"database is locked"}`}, {Status: 401}, {Status: 429}}
	for _, dialect := range []string{agent.Kagent05, agent.Kagent097, agent.KagentMain} {
		s := kagenttest.New(t, kagenttest.Options{Dialect: dialect})
		c := dial(t, s)
		for _, f := range faults {
			for _, kind := range []string{kagenttest.Tasks, kagenttest.List} {
				f.On, f.Times = kind, -1
				s.Inject(f)
			}
			caller := c
			if f.Hang {
				caller = hurried(t, s)
			}
			fate, _, err := caller.Look(within(t), helper, agent.Permit{Dialect: dialect}, "c")
			if err == nil || !agent.NoEffect(err) || agent.Final(err) || fate == delivery.Missing || !strings.Contains(err.Error(), "look for an earlier call of agent kagent/k8s-agent") {
				t.Errorf("%s, %+v: %s, %v", dialect, f, fate, err)
			}
			s.Heal()
		}
	}
}

func TestAKagentThatCannotListTasksCantTell(t *testing.T) {
	s := kagenttest.New(t, kagenttest.Options{Dialect: agent.KagentMain})
	c := dial(t, s)
	for _, code := range []int{-32601, -32004} {
		f := rpcFault(http.StatusOK, code, "not supported")
		f.On = kagenttest.List
		s.Heal()
		s.Inject(f)
		if fate, _, err := c.Look(within(t), helper, agent.Permit{Dialect: agent.KagentMain}, "c"); fate != delivery.Untold || err != nil {
			t.Errorf("%s, %v", fate, err)
		}
	}
}

func TestAMessageLeavesInItsDialectOrNotAtAll(t *testing.T) {
	eachDialect(t, kagenttest.Options{}, func(t *testing.T, s *kagenttest.Server) {
		c := dial(t, s)
		for _, dialect := range agent.Dialects() {
			r := newRequest("to " + dialect)
			r.Dialect = dialect
			_, err := c.Send(within(t), r)
			if want := dialect == s.Dialect(); (err == nil) != want || s.Executions(r.MessageID) == 1 != want || err != nil && !agent.NoEffect(err) {
				t.Errorf("in %s: %v, %d executions", dialect, err, s.Executions(r.MessageID))
			}
		}
	})
}

// TestAMessageLeavesAsItsUserOrNotAtAll changes the token while a message is on its way, and while it is looked for: what kagent
// knows of one user another one does not find, and a message of another one is a new one to it.
func TestAMessageLeavesAsItsUserOrNotAtAll(t *testing.T) {
	eachDialect(t, kagenttest.Options{}, func(t *testing.T, s *kagenttest.Server) {
		path := filepath.Join(t.TempDir(), "token")
		become := func(token string) {
			t.Helper()
			if err := os.WriteFile(path, []byte(token), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		become("first")
		c := dial(t, s, func(cfg *agent.Config) { cfg.TokenFile = path })
		known, err := c.Peer(within(t), helper)
		if err != nil {
			t.Fatal(err)
		}
		become("second")
		r := newRequest("shop")
		r.Dialect, r.User = known.Dialect, known.User
		if _, err := c.Send(within(t), r); err == nil || !agent.NoEffect(err) || agent.Final(err) || s.Executions(r.MessageID) != 0 {
			t.Errorf("as another user: %v, %d executions", err, s.Executions(r.MessageID))
		}
		if known.Lists {
			if _, _, err := c.Look(within(t), helper, r.Permit, r.ContextID); err == nil || !agent.NoEffect(err) {
				t.Errorf("looked for by another user: %v", err)
			}
		}
		become("first")
		if _, err := c.Send(within(t), r); err != nil || s.Executions(r.MessageID) != 1 {
			t.Errorf("as its own user: %v, %d executions", err, s.Executions(r.MessageID))
		}
	})
}

func TestATaskThatIsOnlyListedCountsAsArrived(t *testing.T) {
	s := kagenttest.New(t, kagenttest.Options{Dialect: agent.Kagent05})
	c := dial(t, s)
	r := newRequest("shop")
	if _, err := c.Send(within(t), r); err != nil {
		t.Fatal(err)
	}
	gone := rpcFault(http.StatusOK, -32001, "task not found")
	gone.On = kagenttest.Get
	s.Inject(gone)
	s.Inject(kagenttest.Fault{On: kagenttest.Stored, Status: http.StatusNotFound, Body: `{"error":"Task not found"}`, Times: -1})
	fate, task, err := c.Look(within(t), r.Agent, agent.Permit{Dialect: agent.Kagent05}, r.ContextID)
	if err != nil || fate != delivery.Arrived || task.State != agent.Unknown || task.ID == "" {
		t.Errorf("%s, %+v, %v", fate, task, err)
	}
}

func TestTheServerItselfRunsAMessageTwiceUnlessItIsKagent10(t *testing.T) {
	eachDialect(t, kagenttest.Options{}, func(t *testing.T, s *kagenttest.Server) {
		c := dial(t, s)
		r := newRequest("shop")
		for range 2 {
			if _, err := c.Send(within(t), r); err != nil {
				t.Fatal(err)
			}
		}
		want := 2
		if s.Dialect() == agent.Kagent10 {
			want = 1
		}
		if n := s.Executions(r.MessageID); n != want {
			t.Errorf("%d executions, want %d", n, want)
		}
	})
}

func TestEveryRequestSaysWhoCallsAndInWhichVersion(t *testing.T) {
	eachDialect(t, kagenttest.Options{}, func(t *testing.T, s *kagenttest.Server) {
		c := dial(t, s, func(cfg *agent.Config) { cfg.Headers = map[string]string{"X-Cluster": "blue"} })
		r := newRequest("shop")
		task, err := c.Send(within(t), r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Follow(within(t), helper, task.ID, func(agent.Task) {})
		_, _ = c.Cancel(within(t), helper, task.ID, agent.Permit{})
		_, _, _ = c.Look(within(t), helper, agent.Permit{Dialect: s.Dialect()}, r.ContextID)
		_ = c.Health(within(t))
		c.Close()
		rpc := []string{kagenttest.Send, kagenttest.Stream, kagenttest.Get, kagenttest.Cancel, kagenttest.List}
		for _, q := range s.Requests() {
			if q.Header.Get("X-User-Id") != "khook" || q.Header.Get("X-Cluster") != "blue" || q.Header.Get("Authorization") != "" {
				t.Errorf("%s %s: headers %v", q.Method, q.Path, q.Header)
			}
			version := "1.0"
			if s.Dialect() == agent.Kagent05 {
				version = ""
			}
			if slices.Contains(rpc, q.Kind) && q.Header.Get("A2A-Version") != version {
				t.Errorf("%s: A2A-Version %q, want %q", q.Kind, q.Header.Get("A2A-Version"), version)
			}
		}
	})
}

func TestAMessageThatMustNotLeaveDoesNot(t *testing.T) {
	eachDialect(t, kagenttest.Options{}, func(t *testing.T, s *kagenttest.Server) {
		c := dial(t, s)
		r := newRequest("shop")
		r.Precheck = func(context.Context) error { return errors.New("another khook leads now") }
		if _, err := c.Send(within(t), r); !agent.NoEffect(err) || agent.Final(err) || !strings.Contains(err.Error(), "another khook leads now") {
			t.Error(err)
		}
		if n := len(s.Requests(kagenttest.Send)); n != 0 {
			t.Errorf("%d messages left", n)
		}
		r.Precheck = func(context.Context) error { return nil }
		if _, err := c.Send(within(t), r); err != nil || s.Executions(r.MessageID) != 1 {
			t.Errorf("%v, %d executions", err, s.Executions(r.MessageID))
		}
	})
}
