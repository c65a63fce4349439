package dispatch

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"go.uber.org/goleak"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Tests(m)) }

// rig is a dispatcher on a real store with a real A2A server.
type rig struct {
	*testing.T
	store  *store.Store
	kagent *kagenttest.Server
	cfg    Config
	d      *Dispatcher
	n      int

	client      func(*agent.Config)
	vanishAfter time.Duration

	mu    sync.Mutex
	stop  context.CancelFunc
	ended chan struct{}
}

// callLimit is short, since many tests wait for it. What is written meanwhile takes longer where a server does it.
func callLimit() time.Duration {
	if pgtest.OnPostgres() {
		return time.Second
	}
	return 300 * time.Millisecond
}

func newRig(t *testing.T, opts kagenttest.Options, change ...func(*Config)) *rig {
	t.Helper()
	return newRigOn(t, ":memory:", opts, change...)
}

func newRigOn(t *testing.T, path string, opts kagenttest.Options, change ...func(*Config)) *rig {
	t.Helper()
	st, err := store.Open(t.Context(), store.Config{Engine: pgtest.Engine(t, path), Path: path})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{T: t, store: st, kagent: kagenttest.New(t, opts), vanishAfter: time.Minute, cfg: Config{
		PollMin: 5 * time.Millisecond, PollMax: 50 * time.Millisecond, RetryMin: 5 * time.Millisecond, RetryMax: 50 * time.Millisecond,
		BreakerDelay: 20 * time.Millisecond, CallLimit: callLimit(), Settle: 20 * time.Millisecond, CancelPause: 10 * time.Millisecond, Patience: 1, VerifyWindow: 300 * time.Millisecond, Follow: true,
	}}
	for _, c := range change {
		c(&r.cfg)
	}
	t.Cleanup(func() {
		r.halt()
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	r.start()
	return r
}

// start runs a new dispatcher with a new client, as a new process would.
func (r *rig) start() {
	r.Helper()
	cfg := agent.Config{BaseURL: r.kagent.URL, Timeout: 2 * time.Second}
	if r.client != nil {
		r.client(&cfg)
	}
	client, err := agent.New(cfg)
	if err != nil {
		r.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	d := New(r.cfg, r.store, client)
	d.vanishAfter = r.vanishAfter
	r.mu.Lock()
	r.d, r.stop, r.ended = d, cancel, make(chan struct{})
	r.mu.Unlock()
	go func(ended chan struct{}) {
		defer close(ended)
		defer client.Close()
		if err := d.Run(ctx); err != nil {
			r.Error(err)
		}
	}(r.ended)
}

// halt ends the dispatcher wherever it is.
func (r *rig) halt() {
	r.stop()
	<-r.ended
}

// due makes a delivery due, as the ledger does.
func (r *rig) due(change ...func(*delivery.Delivery)) *delivery.Delivery {
	r.Helper()
	return r.dueOf("cart", change...)
}

// dueOf makes a delivery due about a Pod of a workload.
func (r *rig) dueOf(workload string, change ...func(*delivery.Delivery)) *delivery.Delivery {
	r.Helper()
	r.n++
	now := time.Now()
	s := incident.Signal{
		Key: fmt.Sprintf("k%d", r.n), Kind: incident.Observed, Type: incident.OOMKill, At: now, Observation: incident.Observation{
			Container: "app", Resource: incident.Resource{Kind: "Pod", Namespace: "shop", Name: fmt.Sprintf("cart-%d", r.n), UID: fmt.Sprintf("u%d", r.n)},
			Workload: incident.Workload{Kind: "Deployment", Name: workload},
			Reason:   "OOMKilled", Message: "it was OOM-killed",
		}, Count: 1,
	}
	inc := incident.Open(incident.Origin{}, &s)
	hook := delivery.HookRef{Namespace: "shop", Name: "h"}
	d := &delivery.Delivery{
		ID: incident.DeriveID("test", r.Name(), s.Key), State: delivery.Pending, Hook: hook, HookUID: "uid", Config: "oom-kill", EventType: incident.OOMKill,
		Group: fmt.Sprintf("Deployment/cart-%d", r.n), Agent: delivery.AgentRef{Namespace: "kagent", Name: "medic"}, IncidentID: inc.ID,
		Prompt: "look at it", Timeout: time.Hour, CreatedAt: now, NextAt: now,
	}
	for _, c := range change {
		c(d)
	}
	r.write(func(tx *store.Tx) *store.Changes {
		ev := incident.NewEvent(inc, &s, now)
		ev.ID = tx.NextEvent()
		return &store.Changes{
			Events: []*incident.Event{ev}, Incidents: []*incident.Incident{inc}, Deliveries: []*delivery.Delivery{d},
			Decisions: []delivery.Decision{{EventID: ev.ID, IncidentID: inc.ID, Hook: hook, Config: "oom-kill", Disposition: delivery.Delivered, DeliveryID: d.ID, At: now}},
		}
	})
	r.d.Wake(d.ID)
	return d
}

func (r *rig) write(changes func(*store.Tx) *store.Changes) {
	r.Helper()
	if err := r.store.Write(context.Background(), func(tx *store.Tx) error { return tx.Save(context.Background(), changes(tx)) }); err != nil {
		r.Fatal(err)
	}
}

// change alters a delivery as it is now, whatever a dispatcher wrote of it meanwhile, and returns it.
func (r *rig) change(d *delivery.Delivery, alter func(*delivery.Delivery)) *delivery.Delivery {
	r.Helper()
	var now *delivery.Delivery
	r.write(func(tx *store.Tx) *store.Changes {
		var err error
		if now, err = tx.Delivery(context.Background(), d.ID); err != nil {
			r.Fatal(err)
		}
		alter(now)
		return &store.Changes{Deliveries: []*delivery.Delivery{now}}
	})
	return now
}

// resolve ends the delivery's incident.
func (r *rig) resolve(d *delivery.Delivery, as incident.Resolution) {
	r.Helper()
	inc, err := r.store.Incident(r.Context(), d.IncidentID)
	if err != nil {
		r.Fatal(err)
	}
	inc.Resolve(as, time.Now())
	r.write(func(*store.Tx) *store.Changes { return &store.Changes{Incidents: []*incident.Incident{inc}} })
	r.d.Wake(d.ID)
}

func (r *rig) now(d *delivery.Delivery) *delivery.Delivery {
	r.Helper()
	now, err := r.store.Delivery(context.Background(), d.ID)
	if err != nil {
		r.Fatal(err)
	}
	return now
}

// until waits for a condition of a delivery, and returns the delivery.
func (r *rig) until(d *delivery.Delivery, what string, ok func(*delivery.Delivery) bool) *delivery.Delivery {
	r.Helper()
	var now *delivery.Delivery
	r.eventually(what, func() bool {
		now = r.now(d)
		return ok(now)
	}, func() string { return fmt.Sprintf("state %s, attempt %d, error %q", now.State, now.Attempt, now.Error) })
	return now
}

func (r *rig) eventually(what string, ok func() bool, is func() string) {
	r.Helper()
	for deadline := time.Now().Add(60 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.Fatalf("waited in vain until %s: %s", what, is())
		}
	}
}

func (r *rig) untilState(d *delivery.Delivery, s delivery.State) *delivery.Delivery {
	r.Helper()
	return r.until(d, "it is "+string(s), func(d *delivery.Delivery) bool { return d.State == s })
}

// once checks that the agent ran the delivery's message exactly once.
func (r *rig) once(ds ...*delivery.Delivery) {
	r.Helper()
	for _, d := range ds {
		if n := r.kagent.Executions(d.MessageID()); n != 1 {
			r.Errorf("the agent ran the message of %s %d times", d.Group, n)
		}
	}
}

// nothingLeft waits until the dispatcher holds nothing in memory of deliveries that have ended.
func (r *rig) nothingLeft() {
	r.Helper()
	left := func() (n int) {
		r.d.following.Range(func(any, any) bool { n++; return true })
		r.d.lanes.mu.Lock()
		defer r.d.lanes.mu.Unlock()
		return n + len(r.d.lanes.of) + r.d.memos.len() + r.d.slots.size() + int(r.d.streams.Load())
	}
	r.eventually("nothing is left in memory", func() bool { return left() == 0 }, func() string { return fmt.Sprint(left()) })
}

// failing counts the steps that failed.
func failing(n *atomic.Int32) logr.Logger {
	return funcr.New(func(_, args string) {
		if strings.Contains(args, "delivery step failed") {
			n.Add(1)
		}
	}, funcr.Options{})
}

// cover makes a delivery be about one more incident.
func (r *rig) cover(d *delivery.Delivery, incidentID string) {
	r.Helper()
	r.write(func(*store.Tx) *store.Changes {
		return &store.Changes{Covers: []store.DeliveryIncident{{DeliveryID: d.ID, IncidentID: incidentID}}}
	})
}
