package dispatch

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

// started is a crowd that notes when the calls of the agents that are well begin. Their tasks are done with the answer.
type started struct {
	crowd
	want int
	all  chan struct{} // is closed when they all have

	mu    sync.Mutex
	begun time.Time
	after []time.Duration
}

// Send implements Agent.
func (s *started) Send(ctx context.Context, r agent.Request) (agent.Task, error) {
	s.mu.Lock()
	if s.bad[r.Agent.Name] == "" {
		if s.after = append(s.after, time.Since(s.begun)); len(s.after) == s.want {
			close(s.all)
		}
	}
	s.mu.Unlock()
	return agent.Task{ID: r.MessageID, State: agent.Completed}, s.answer(ctx, r.Agent.Name)
}

// benchDeliveries makes a history in which each agent has as many calls due, in turn.
func benchDeliveries(b *testing.B, agents, each int) *store.Store {
	b.Helper()
	st, err := store.Open(b.Context(), store.Config{Engine: pgtest.Engine(b, ":memory:"), Path: filepath.Join(b.TempDir(), "khook.db")})
	if err != nil {
		b.Fatal(err)
	}
	now := time.Now()
	if err := st.Write(b.Context(), func(tx *store.Tx) error {
		c := &store.Changes{}
		for n := range agents * each {
			s := incident.Signal{Key: fmt.Sprint("k", n), Kind: incident.Observed, Type: incident.OOMKill, At: now, Count: 1, Observation: incident.Observation{
				Resource: incident.Resource{Kind: "Pod", Namespace: "shop", Name: fmt.Sprint("cart-", n), UID: fmt.Sprint("u", n)}, Workload: incident.Workload{Kind: "Deployment", Name: "cart"},
			}}
			inc := incident.Open(incident.Origin{}, &s)
			c.Incidents = append(c.Incidents, inc)
			c.Deliveries = append(c.Deliveries, &delivery.Delivery{
				ID: incident.DeriveID("bench", s.Key), State: delivery.Pending, Hook: delivery.HookRef{Namespace: "shop", Name: "h"}, HookUID: "uid", Config: "oom-kill",
				EventType: incident.OOMKill, Group: fmt.Sprint("Pod/cart-", n), Agent: delivery.AgentRef{Namespace: "kagent", Name: fmt.Sprint("a", n%agents)}, IncidentID: inc.ID,
				Prompt: "look at it", Timeout: time.Hour, CreatedAt: now.Add(time.Duration(n) * time.Microsecond), NextAt: now,
			})
		}
		return tx.Save(b.Context(), c)
	}); err != nil {
		b.Fatal(err)
	}
	return st
}

// run carries the deliveries of a history to agents, and returns when the calls of those that are well began, in order.
func (s *started) run(b *testing.B, st *store.Store) []time.Duration {
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan struct{})
	s.begun = time.Now()
	d := New(Config{Grace: -1}, st, s)
	go func() { defer close(ended); _ = d.Run(ctx) }()
	<-s.all
	stop()
	<-ended
	if err := st.Close(); err != nil {
		b.Error(err)
	}
	slices.Sort(s.after)
	return s.after
}

// BenchmarkAgentsBesideBadOnes has 100 agents with 50 calls each. One of them hangs and one says 502; beside it, at the same time and on
// the same machine, a dispatcher of its own has the same without these two. Of the others it tells how much later their calls begin,
// at the 99th percentile and the last one: 1 is not at all.
func BenchmarkAgentsBesideBadOnes(b *testing.B) {
	agents, each := 100, 50
	if testing.Short() {
		agents, each = 20, 5
	}
	var p99, last []float64
	for b.Loop() {
		b.StopTimer()
		var runs [2][]time.Duration
		var both sync.WaitGroup
		stores := []*store.Store{benchDeliveries(b, agents, each), benchDeliveries(b, agents, each)}
		b.StartTimer()
		for i, bad := range []map[string]string{{"a3": "hangs", "a4": "502"}, {}} {
			s := &started{crowd: crowd{bad: bad}, want: (agents - len(bad)) * each, all: make(chan struct{})}
			both.Go(func() { runs[i] = s.run(b, stores[i]) })
		}
		both.Wait()
		at := func(run []time.Duration, percent int) float64 { return run[(len(run)-1)*percent/100].Seconds() }
		p99, last = append(p99, at(runs[0], 99)/at(runs[1], 99)), append(last, at(runs[0], 100)/at(runs[1], 100))
	}
	mean := func(ratios []float64) (sum float64) {
		for _, r := range ratios {
			sum += r / float64(len(ratios))
		}
		return sum
	}
	b.ReportMetric(mean(p99), "p99-ratio")
	b.ReportMetric(mean(last), "last-ratio")
	b.ReportMetric(float64(agents*each)*2*float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}
