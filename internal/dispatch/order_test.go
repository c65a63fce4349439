package dispatch

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/store"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

// outOf is a crowd whose agents all say 502 until they are back, and who keeps the order of what arrives.
type outOf struct {
	crowd
	mu      sync.Mutex
	back    bool
	asked   int
	arrived []string
}

// Send implements Agent.
func (o *outOf) Send(ctx context.Context, r agent.Request) (agent.Task, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.asked++; !o.back {
		return agent.Task{}, &agent.Error{Kind: delivery.AgentDown, NoEffect: true, Reason: "connection refused"}
	}
	o.arrived = append(o.arrived, r.MessageID)
	return agent.Task{ID: r.MessageID, State: agent.Completed}, nil
}

// TestAThousandThatWaitInAnOutageTakeFewStepsAndKeepTheirOrder: they do not come one by one to learn that their agent is away.
func TestAThousandThatWaitInAnOutageTakeFewStepsAndKeepTheirOrder(t *testing.T) {
	const waiting, most = 1000, 6000
	synctest.Test(t, func(t *testing.T) {
		st, err := store.Open(t.Context(), store.Config{Engine: pgtest.Engine(t, ":memory:"), Path: filepath.Join(t.TempDir(), "khook.db")})
		if err != nil {
			t.Fatal(err)
		}
		var steps atomic.Int64
		o := &outOf{}
		r := &rig{T: t, store: st, cfg: Config{Grace: -1, Concurrency: 1, Refusal: func(*delivery.Delivery) (delivery.Skip, string) {
			steps.Add(1) // each step that would call asks
			return "", ""
		}}}
		r.d = New(r.cfg, st, o)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); _ = r.d.Run(ctx) }()
		var want []string
		for range waiting {
			want = append(want, r.due().MessageID())
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Hour)
		if n := steps.Load(); n > most {
			t.Errorf("%d steps in an hour of outage", n)
		}
		o.mu.Lock()
		t.Logf("%d steps, %d messages", steps.Load(), o.asked)
		o.back = true
		o.mu.Unlock()
		time.Sleep(10 * time.Minute)
		o.ordered(t, want)
		stop()
		<-ended
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
	})
}

// ordered checks that all have arrived in their order, but for the one that found out that its agent was back.
func (o *outOf) ordered(t *testing.T, want []string) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.arrived) != len(want) {
		t.Fatalf("%d of %d have arrived", len(o.arrived), len(want))
	}
	first := o.arrived[0]
	others := slices.DeleteFunc(slices.Clone(want), func(id string) bool { return id == first })
	for i, id := range o.arrived[1:] {
		if id != others[i] {
			t.Fatalf("number %d that arrived was number %d", i+2, slices.Index(want, id)+1)
		}
	}
}

// TestNoTurnIsLostAndNoneIsGivenTwice draws what deliveries, calls and pauses do to one agent's line.
func TestNoTurnIsLostAndNoneIsGivenTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 3).Draw(t, "limit")
		s, a := newAgentLimiter(limit), delivery.AgentRef{Name: "a"}
		start := time.Date(2026, 1, 15, 10, 0, 0, 0, time.UTC)
		now, working, asks := start, map[string]bool{}, map[string]place{}
		wake := func(ids []string) {
			for _, id := range ids {
				if working[id] {
					t.Fatalf("%s has two turns", id)
				}
				working[id] = true
			}
			if len(working) > limit {
				t.Fatalf("%d turns, limit %d", len(working), limit)
			}
		}
		whoever := func() string {
			ids := slices.Sorted(func(yield func(string) bool) {
				for id := range working {
					if !yield(id) {
						return
					}
				}
			})
			return ids[rapid.IntRange(0, len(ids)-1).Draw(t, "which")]
		}
		for n := range rapid.IntRange(1, 80).Draw(t, "events") {
			now = now.Add(time.Second)
			switch what := rapid.IntRange(0, 5).Draw(t, "what"); {
			case what < 2 || len(working) == 0:
				p := place{id: fmt.Sprintf("%03d", n), due: now}
				asks[p.id] = p
				ok, next := s.acquire(a, p)
				if ok {
					next = append(next, p.id)
				}
				wake(next)
			case what == 2: // its call got through, and it ends
				id := whoever()
				wake(s.open(a))
				delete(working, id)
				delete(asks, id)
				wake(s.release(a, id))
			case what == 3: // its call failed because of the agent, which is shut
				id := whoever()
				s.close(a, place{}, now.Add(5*time.Second))
				delete(working, id)
				wake(s.release(a, id))
				wake(s.rest(a, asks[id]))
			case what == 4: // it may not call
				id := whoever()
				delete(working, id)
				s.close(a, asks[id], now.Add(5*time.Second))
			default:
				next, _ := s.tryOne(a, now)
				wake(next)
			}
		}
		for n := 0; len(asks) > 0; n++ { // the agent is back
			if n > 1000 {
				t.Fatalf("%d wait for ever", len(asks))
			}
			now = now.Add(time.Minute)
			s.waitingFor()
			next, _ := s.tryOne(a, now)
			wake(next)
			for id := range working {
				wake(s.open(a))
				delete(working, id)
				delete(asks, id)
				wake(s.release(a, id))
				break
			}
		}
		if s.waiting() != 0 || s.size() > 1 {
			t.Fatalf("%d are left", s.size())
		}
	})
}
