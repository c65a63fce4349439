package agent_test

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var helper = delivery.AgentRef{Namespace: "kagent", Name: "k8s-agent"}

// dial returns a client of the server, with short limits where tests would wait for them.
func dial(t *testing.T, s *kagenttest.Server, change ...func(*agent.Config)) *agent.Client {
	t.Helper()
	cfg := agent.Config{BaseURL: s.URL, UserID: "khook"}
	for _, f := range change {
		f(&cfg)
	}
	c, err := agent.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// hurried returns a client that gives up soon and makes no other request than those it is told
// to: for requests that nobody answers.
func hurried(t *testing.T, s *kagenttest.Server) *agent.Client {
	t.Helper()
	return dial(t, s, func(cfg *agent.Config) { cfg.Timeout, cfg.Dialect = 500*time.Millisecond, s.Dialect() })
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func newRequest(id string) agent.Request {
	return agent.Request{
		Agent: helper, MessageID: incident.DeriveID("message", id), ContextID: incident.DeriveID("session", id),
		Title: "khook oom-kill: Deployment/" + id, Prompt: "Why was " + id + " killed?",
		Data: []byte(`{"warning":"data","exitCode":137,"node":null,"incidents":[{"name":"shop-1","big":12345678901234567890}]}`),
	}
}

// eachDialect runs the test against a server in each dialect.
func eachDialect(t *testing.T, opts kagenttest.Options, test func(*testing.T, *kagenttest.Server)) {
	t.Helper()
	for _, dialect := range agent.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			opts := opts
			opts.Dialect = dialect
			test(t, kagenttest.New(t, opts))
		})
	}
}

// until polls the task until it has the state.
func until(t *testing.T, c *agent.Client, id string, want agent.State) agent.Task {
	t.Helper()
	ctx := within(t)
	for {
		task, err := c.Task(ctx, helper, id)
		if err != nil {
			t.Fatalf("look at the task: %v", err)
		}
		if task.State == want {
			return task
		}
		if task.State.Ended() {
			t.Fatalf("the task ended as %s, want %s", task.State, want)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the task is %s, want %s", task.State, want)
		case <-time.After(5 * time.Millisecond):
		}
	}
}
