package dispatch

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/store"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

// crowd are many agents on one kagent: some hang, some say 502, and the others answer at once and work for a while.
type crowd struct{ bad map[string]string }

// Peer implements Agent.
func (c crowd) Peer(context.Context, delivery.AgentRef) (delivery.Peer, error) {
	return delivery.Peer{Dialect: agent.Kagent10, User: "khook", URL: "http://a", Once: true}, nil
}

func (c crowd) answer(ctx context.Context, name string) error {
	after := 20 * time.Millisecond
	if c.bad[name] == "hangs" {
		after = 30 * time.Second
	}
	select {
	case <-ctx.Done():
	case <-time.After(after):
	}
	if c.bad[name] != "" {
		return &agent.Error{Kind: delivery.Lost, Reason: c.bad[name]}
	}
	return ctx.Err()
}

// Send implements Agent.
func (c crowd) Send(ctx context.Context, r agent.Request) (agent.Task, error) {
	return agent.Task{ID: r.MessageID, State: agent.Working}, c.answer(ctx, r.Agent.Name)
}

// Look implements Agent.
func (c crowd) Look(ctx context.Context, a delivery.AgentRef, _ agent.Permit, _ string) (delivery.Fate, agent.Task, error) {
	return delivery.Untold, agent.Task{}, c.answer(ctx, a.Name)
}

// Task implements Agent.
func (c crowd) Task(ctx context.Context, a delivery.AgentRef, id string) (agent.Task, error) {
	return agent.Task{ID: id, State: agent.Completed}, c.answer(ctx, a.Name)
}

// Follow implements Agent.
func (c crowd) Follow(context.Context, delivery.AgentRef, string, func(agent.Task)) (agent.Task, error) {
	return agent.Task{}, agent.ErrNoStream
}

// Cancel implements Agent.
func (c crowd) Cancel(context.Context, delivery.AgentRef, string, agent.Permit) (agent.Task, error) {
	return agent.Task{}, agent.ErrNoStream
}

// Reply implements Agent.
func (c crowd) Reply(context.Context, delivery.AgentRef, agent.Task, string, json.RawMessage, string, agent.Permit) (agent.Task, error) {
	return agent.Task{}, agent.ErrNoStream
}

// healthyTake is how long the deliveries of the agents that are not bad take.
func healthyTake(t *testing.T, bad map[string]string, agents, each int) (took time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		st, err := store.Open(t.Context(), store.Config{Engine: pgtest.Engine(t, ":memory:"), Path: filepath.Join(t.TempDir(), "khook.db")})
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		last := time.Time{}
		r := &rig{T: t, store: st, cfg: Config{Grace: -1, Observe: func(c Change) {
			if c.Delivery.State == delivery.Succeeded {
				mu.Lock()
				defer mu.Unlock()
				last = time.Now()
			}
		}}}
		r.d = New(r.cfg, st, crowd{bad})
		for i := range agents * each {
			r.due(func(d *delivery.Delivery) { d.Agent.Name = fmt.Sprint("a", i%agents) })
		}
		begun := time.Now()
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); _ = r.d.Run(ctx) }()
		time.Sleep(10 * time.Minute)
		done, err := st.AllDeliveries(context.Background(), agents*each)
		if err != nil {
			t.Fatal(err)
		}
		stop()
		<-ended
		for _, d := range done {
			if bad[d.Agent.Name] == "" && d.State != delivery.Succeeded {
				t.Errorf("a delivery of %s is %s: %s", d.Agent, d.State, d.Error)
			}
		}
		took = last.Sub(begun)
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
	})
	return took
}

// TestAgentsThatHangHoldUpNobodyElse compares with a run in which all are well.
func TestAgentsThatHangHoldUpNobodyElse(t *testing.T) {
	const agents, each = 18, 10
	well := healthyTake(t, nil, agents, each)
	for name, bad := range map[string]map[string]string{
		"one hangs":            {"a3": "hangs"},
		"one says 502":         {"a3": "502"},
		"a third of them hang": {"a0": "hangs", "a3": "hangs", "a6": "hangs", "a9": "hangs", "a12": "hangs", "a15": "hangs"},
		"two hang, two fail":   {"a3": "hangs", "a4": "502", "a5": "hangs", "a6": "502"},
	} {
		took := healthyTake(t, bad, agents, each)
		t.Logf("%s: the others took %s, and %s when all were well", name, took, well)
		if took > well*12/10 {
			t.Errorf("%s: the others took %s, and %s when all were well", name, took, well)
		}
	}
}
