package notify

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Tests(m)) }

// answer is what a receiver does with a request.
type answer struct {
	status int
	header map[string]string
	body   string
	taken  bool // it has the message all the same
}

// receiver is a real HTTP server that refuses and lies as it is told, and keeps what it has taken.
type receiver struct {
	*httptest.Server
	mu      sync.Mutex
	next    func(Message) answer // nil takes all
	taken   []Message
	seen    int
	headers http.Header
}

func newReceiver(t testing.TB) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		text, _ := io.ReadAll(req.Body)
		var m Message
		if err := json.Unmarshal(text, &m); err != nil {
			t.Errorf("%v in %s", err, text)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.seen++
		r.headers = req.Header.Clone()
		a := answer{status: http.StatusOK, taken: true}
		if r.next != nil {
			a = r.next(m)
		}
		if a.taken {
			r.taken = append(r.taken, m)
		}
		for name, value := range a.header {
			w.Header().Set(name, value)
		}
		w.WriteHeader(a.status)
		_, _ = io.WriteString(w, a.body)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) does(next func(Message) answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next = next
}

func (r *receiver) got() []Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Message(nil), r.taken...)
}

func (r *receiver) requests() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen
}

// rig is a history, a clock that only the test moves, and tellers that are started anew as often as a test wants.
type rig struct {
	testing.TB
	store   *store.Store
	clock   *clocktesting.FakeClock
	config  *Config
	all     *Tellers
	unwell  map[string]string
	url     string
	noPages bool
}

func newRig(t testing.TB, notifiers ...*Notifier) *rig {
	t.Helper()
	clock := clocktesting.NewFakeClock(time.Now().Truncate(time.Second))
	st, err := store.Open(t.Context(), store.Config{Engine: pgtest.Engine(t, ":memory:"), Path: ":memory:"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	r := &rig{TB: t, store: st, clock: clock, config: &Config{Notifiers: notifiers}, unwell: map[string]string{}}
	if err := r.config.complete(); err != nil {
		t.Fatal(err)
	}
	r.restart()
	return r
}

// restart makes the tellers anew, as a new process or leader does.
func (r *rig) restart() {
	r.Helper()
	all, err := New(r.config, Options{
		Store: r.store, Cluster: "prod", Version: "1", ExternalURL: r.url, Dashboard: !r.noPages, Unwell: func(context.Context) map[string]string { return r.unwell },
		Clock: r.clock, Registerer: prometheus.NewRegistry(), Log: logr.Discard(),
	})
	if err != nil {
		r.Fatal(err)
	}
	r.all = all
}

// tick lets time pass, and each teller look once a second of it.
func (r *rig) tick(d time.Duration) {
	r.Helper()
	r.ticks(d, time.Second)
}

// ticks does so with a look in each step.
func (r *rig) ticks(d, step time.Duration) {
	r.Helper()
	for ; d > 0; d -= step {
		r.clock.Step(min(d, step))
		for _, one := range r.all.all {
			if err := one.look(r.Context()); err != nil {
				r.Log(err)
			}
		}
	}
}

// save writes deliveries, with their incidents.
func (r *rig) save(ds ...*delivery.Delivery) {
	r.Helper()
	if err := r.store.Write(r.Context(), func(tx *store.Tx) error { return tx.Save(r.Context(), &store.Changes{Deliveries: ds}) }); err != nil {
		r.Fatal(err)
	}
}

// asks is a delivery whose agent asks something, in a namespace.
func (r *rig) asks(id, question string) *delivery.Delivery {
	now := r.clock.Now()
	return &delivery.Delivery{
		ID: incident.DeriveID("test", id), State: delivery.InputRequired, Hook: delivery.HookRef{Namespace: "shop", Name: "h"}, HookUID: "u", Config: "oom-kill", EventType: incident.OOMKill,
		Group: "Deployment/" + id, Agent: delivery.AgentRef{Namespace: "kagent", Name: "medic"}, IncidentID: incident.DeriveID("incident", id), Prompt: "p", Timeout: time.Hour,
		CreatedAt: now, NextAt: now, CalledAt: now, HeardAt: now, TaskID: "t-" + id, Question: question, QuestionID: incident.DeriveID("question", id, question), NeedsApproval: true,
	}
}

func toReceiver(name string, of *receiver) *Notifier {
	return &Notifier{Name: name, Shape: JSON, URL: of.URL + "/T0SECRET/B0"}
}
