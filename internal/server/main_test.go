package server

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/dispatch"
	"github.com/kagent-dev/khook/internal/feed"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/kubetest"
	"github.com/kagent-dev/khook/internal/ledger"
	"github.com/kagent-dev/khook/internal/lint"
	"github.com/kagent-dev/khook/internal/store"
	"github.com/kagent-dev/khook/internal/store/engine"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

// testServer is the kube-apiserver that all tests of this package share.
var testServer struct {
	*kubetest.Env
	client client.Client
}

func TestMain(m *testing.M) {
	if kind := os.Getenv(asFanout); kind != "" {
		beFanout(kind)
		return
	}
	os.Exit(runTests(pgtest.Tests(m)))
}

func runTests(m interface{ Run() int }) int {
	flag.Parse()
	scheme := runtime.NewScheme()
	_, _ = clientgoscheme.AddToScheme(scheme), v1alpha2.AddToScheme(scheme)
	if flag.Lookup("test.fuzz").Value.String() != "" {
		// Each worker is a process: an API server for each would take longer than the fuzzing, and outlive it.
		testServer.client = fake.NewClientBuilder().WithScheme(scheme).Build()
		return m.Run()
	}
	env, err := kubetest.Start("../../config/crd")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer env.Stop()
	testServer.Env = env
	if testServer.client, err = client.New(env.Config, client.Options{Scheme: scheme}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// calm is a khook that does well.
type calm struct{}

func (calm) Leader() bool { return true }
func (calm) Pipeline(context.Context) api.PipelineHealth {
	return api.PipelineHealth{State: "leading", PartHealth: api.PartHealth{Status: api.Healthy}}
}
func (calm) Replica(context.Context) api.ReplicaHealth {
	return api.ReplicaHealth{Name: "khook-0", Leader: "khook-0", Term: 1}
}
func (calm) Plugins() []api.PluginHealth {
	return []api.PluginHealth{{Name: "kubernetes-pods", State: "up"}}
}
func (calm) Kagent() api.KagentHealth {
	return api.KagentHealth{PartHealth: api.PartHealth{Status: api.Healthy}}
}
func (calm) Queues(context.Context) []api.Queue { return []api.Queue{{Name: "signals-to-record"}} }
func (calm) Hooks() int                         { return 1 }

// fixture is a server with a history of a few failures, and a Hook in the cluster.
type fixture struct {
	*Server
	store    *store.Store
	incident string // ID of one
	delivery string
}

const shop = "shop"

// theHook is Hook shop/memory, as in the examples of the document.
func theHook() *v1alpha2.Hook {
	id := "kagent/medic"
	h := &v1alpha2.Hook{ObjectMeta: metav1.ObjectMeta{Namespace: shop, Name: "memory"}}
	for _, et := range incident.EventTypes() {
		h.Spec.EventConfigurations = append(h.Spec.EventConfigurations, v1alpha2.EventConfiguration{EventType: string(et), AgentId: &id, Prompt: "{{.EventMessage}}"})
	}
	return h
}

func newFixture(t testing.TB, change ...func(*Config)) *fixture {
	t.Helper()
	h := theHook()
	for _, obj := range []client.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: shop}}, h} {
		if err := client.IgnoreAlreadyExists(testServer.client.Create(t.Context(), obj)); err != nil {
			t.Fatal(err)
		}
	}
	return newFixtureOn(t, pgtest.Engine(t, ":memory:"), change...)
}

// newFixtureOn is newFixture on an engine; SQLite if nil.
func newFixtureOn(t testing.TB, database engine.Engine, change ...func(*Config)) *fixture {
	t.Helper()
	return newFixtureOf(t, store.Config{Engine: database, Path: filepath.Join(t.TempDir(), "khook.db")}, change...)
}

// newFixtureOf is newFixture with a history of its own.
func newFixtureOf(t testing.TB, history store.Config, change ...func(*Config)) *fixture {
	t.Helper()
	st, err := store.Open(t.Context(), history)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	cfg := Config{
		Reader: st.Reader(), Hooks: testServer.client, State: calm{}, Registry: prometheus.NewRegistry(), Log: logr.Discard(), Version: "test", Retention: 7 * 24 * time.Hour,
		Limits: Limits{Rate: 1e9, Burst: 1 << 30}, Validate: func(ctx context.Context, text []byte) lint.Report {
			return lint.Check(ctx, text, lint.Options{Policy: hook.Policy{AgentNamespaces: []string{"kagent"}}})
		},
	}
	cfg.Feed = feed.New(feed.Config{History: st, Encode: api.EncodeEvent, EncodeIncident: api.EncodeIncident, EncodeDelivery: EncodeDelivery, Log: logr.Discard()})
	set := hook.NewSet(hook.Policy{AgentNamespaces: []string{"kagent"}})
	set.Put(theHook())
	book, err := ledger.New(t.Context(), ledger.Config{}, st, set)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Actions = acting{dispatcherThatEnded(t, st), book, st}
	cfg.Explain = explainBy(st, set)
	cfg.Pausing = &pausing{store: st}
	for _, do := range change {
		do(&cfg)
	}
	if cfg.Feed != nil {
		runFeed(t, cfg.Feed)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{Server: s, store: st}
	f.fail(t, book)
	return f
}

// explainBy says what would be decided, as khook does.
func explainBy(st *store.Store, set *hook.Set) Explain {
	return func(ctx context.Context, ref delivery.HookRef, inc *incident.Incident, ev *incident.Event) ([]delivery.Checklist, error) {
		return ledger.Explain(ctx, ledger.Config{}, st.Reader(), set, ref, inc, ev)
	}
}

// acting does what people want, as khook does: what the dispatcher's run would do next is left undone.
type acting struct {
	*dispatch.Dispatcher
	book  *ledger.Ledger
	store *store.Store
}

func (a acting) Resume(ctx context.Context, id, by string) (*delivery.Delivery, error) {
	d, err := a.store.Delivery(ctx, id)
	if err != nil {
		return nil, err
	}
	return d, a.book.Resume(ctx, id, by, delivery.Entry{Kind: delivery.EntryPerson, By: by})
}

func dispatcherThatEnded(t testing.TB, st *store.Store) *dispatch.Dispatcher {
	t.Helper()
	ended, end := context.WithCancel(t.Context())
	end()
	d := dispatch.New(dispatch.Config{Log: logr.Discard()}, st, nil)
	if err := d.Run(ended); err != nil {
		t.Fatal(err)
	}
	return d
}

// make puts the delivery into the state that an action needs.
func (f *fixture) make(t testing.TB, change func(*delivery.Delivery)) {
	t.Helper()
	d, err := f.store.Delivery(t.Context(), f.delivery)
	if err != nil {
		t.Fatal(err)
	}
	d.CancelRequestedBy, d.Reply, d.EndedAt = "", nil, time.Time{} // of what was tried before
	change(d)
	if err := f.store.Write(t.Context(), func(tx *store.Tx) error {
		return tx.Save(t.Context(), &store.Changes{Deliveries: []*delivery.Delivery{d}})
	}); err != nil {
		t.Fatal(err)
	}
}

// fail lets some Pods fail, by the ledger.
func (f *fixture) fail(t testing.TB, book *ledger.Ledger) {
	t.Helper()
	var signals []incident.Signal
	for i := range 40 {
		name := fmt.Sprintf("cart-%d", i%8)
		signals = append(signals, incident.Signal{
			Key: fmt.Sprint("k", i), Kind: incident.Observed, Type: incident.EventTypes()[i%4], At: time.Now().Add(-time.Duration(i) * time.Hour), Count: 1,
			Observation: incident.Observation{
				Resource: incident.Resource{Kind: "Pod", Namespace: shop, Name: name, UID: "uid-" + name}, Container: "app",
				Workload: incident.Workload{Kind: "Deployment", Name: "cart"}, Node: "n1",
				Reason: "OOMKilled", Message: strings.TrimSpace("it was killed " + f.store.Cluster().Name),
			},
		})
	}
	signals = append(signals, incident.Signal{Kind: incident.Gone, Observation: incident.Observation{Resource: signals[0].Resource}, At: time.Now()})
	if err := book.Apply(t.Context(), signals); err != nil {
		t.Fatal(err)
	}
	all, err := f.store.AllIncidents(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	deliveries, err := f.store.AllDeliveries(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	f.incident, f.delivery = all[0].ID, deliveries[0].ID
}

// runFeed lets a feed live as long as the test.
func runFeed(t testing.TB, live *feed.Feed) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = live.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	if _, err := live.Read(t.Context(), feed.Filter{}, feed.End); err != nil { // it is live
		t.Fatal(err)
	}
}
