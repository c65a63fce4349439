package ledger

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

var start = time.Date(2026, 1, 15, 10, 0, 0, 0, time.UTC)

// bench is a ledger on a real store, with a clock that the test turns.
type bench struct {
	*testing.T
	clock  *clocktesting.FakePassiveClock
	store  *store.Store
	hooks  *hook.Set
	ledger *Ledger
	seen   []Applied
	edits  int64 // of the Hook, see edit
	broken int   // times, see fixedAndBroken
}

func newBench(t *testing.T, hooks ...*v1alpha2.Hook) *bench {
	t.Helper()
	b := &bench{T: t, clock: clocktesting.NewFakePassiveClock(start), hooks: hook.NewSet(hook.Policy{AgentNamespaces: []string{"kagent"}})}
	for _, h := range hooks {
		if errs := b.hooks.Put(h); len(errs) > 0 {
			t.Fatal(errs)
		}
	}
	var err error
	if b.store, err = store.Open(t.Context(), store.Config{Engine: pgtest.Engine(t, ":memory:"), Path: ":memory:"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.store.Close(); err != nil {
			t.Error(err)
		}
	})
	b.restart()
	return b
}

// restart begins anew from the store, as a new leader would.
func (b *bench) restart() {
	b.Helper()
	var err error
	b.ledger, err = New(b.Context(), Config{Clock: b.clock, Observe: func(a Applied) { b.seen = append(b.seen, a) }}, b.store, b.hooks)
	if err != nil {
		b.Fatal(err)
	}
}

func (b *bench) after(d time.Duration) *bench {
	b.clock.SetTime(b.clock.Now().Add(d))
	return b
}

func (b *bench) apply(signals ...incident.Signal) {
	b.Helper()
	for i := range signals {
		if signals[i].At.IsZero() {
			signals[i].At = b.clock.Now()
		}
	}
	if err := b.ledger.Apply(b.Context(), signals); err != nil {
		b.Fatal(err)
	}
}

// end brings all deliveries to a final state, as an agent that answers at once would.
func (b *bench) end(outcome delivery.Outcome) {
	b.Helper()
	all, err := b.store.AllDeliveries(b.Context(), 1000)
	if err != nil {
		b.Fatal(err)
	}
	for _, d := range all {
		if !d.State.Ended() {
			d.State, d.EndedAt, d.Outcome = delivery.Succeeded, b.clock.Now(), outcome
		}
	}
	if err := b.store.Write(b.Context(), func(tx *store.Tx) error {
		return tx.Save(b.Context(), &store.Changes{Deliveries: all})
	}); err != nil {
		b.Fatal(err)
	}
}

// dispositions lists what was decided since the last call, as "type pod config disposition".
func (b *bench) dispositions() []string {
	var got []string
	for _, a := range b.seen {
		events := map[int64]*incident.Event{}
		for _, e := range a.Events {
			events[e.ID] = e
		}
		for _, d := range a.Decisions {
			about := string(d.MadeFor) // of a call that no event asked for
			if e := events[d.EventID]; e != nil {
				about = e.Resource.Name
			}
			got = append(got, fmt.Sprintf("%s %s %s", about, d.Config, d.Disposition))
		}
	}
	b.seen = nil
	return got
}

func (b *bench) deliveries() int {
	b.Helper()
	all, err := b.store.AllDeliveries(b.Context(), 100000)
	if err != nil {
		b.Fatal(err)
	}
	return len(all)
}

func (b *bench) incidents() []string {
	b.Helper()
	all, err := b.store.AllIncidents(b.Context(), 1000)
	if err != nil {
		b.Fatal(err)
	}
	byID := map[string]*incident.Incident{}
	for _, i := range all {
		byID[i.ID] = i
	}
	var got []string
	for _, i := range all {
		s := fmt.Sprintf("%s %s events=%d duplicates=%d", i.Type, i.Resource.Name, i.Events, i.Duplicates)
		if !i.Open() {
			s += " " + string(i.Resolution)
		}
		if cause := byID[i.CausedBy]; cause != nil {
			s += " causedBy=" + string(cause.Type)
		}
		got = append(got, s)
	}
	slices.Sort(got)
	return got
}

func wantEqual(t *testing.T, got, want []string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// newHook is a Hook whose configurations are named by their event types.
func newHook(name string, ecs ...v1alpha2.EventConfiguration) *v1alpha2.Hook {
	named := map[string]int{}
	for i := range ecs {
		named[ecs[i].EventType]++
		if ecs[i].Name = ecs[i].EventType; named[ecs[i].EventType] > 1 {
			ecs[i].Name = fmt.Sprintf("%s-%d", ecs[i].EventType, named[ecs[i].EventType])
		}
	}
	return &v1alpha2.Hook{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", UID: types.UID("uid-" + name), Generation: 1},
		Spec:       v1alpha2.HookSpec{EventConfigurations: ecs},
	}
}

func on(t incident.EventType, change ...func(*v1alpha2.EventConfiguration)) v1alpha2.EventConfiguration {
	id := "kagent/medic"
	ec := v1alpha2.EventConfiguration{EventType: string(t), AgentId: &id, Prompt: "{{.EventType}} of {{.ResourceName}}"}
	for _, c := range change {
		c(&ec)
	}
	return ec
}

// seen is the nth occurrence of an event type on a Pod of the workload that the Pod's name begins with.
func seen(t incident.EventType, pod string, n int, causes ...incident.EventType) incident.Signal {
	container := "app"
	if t == incident.PodPending {
		container = ""
	}
	return incident.Signal{
		Key: fmt.Sprintf("%s/%s/%d", t, pod, n), Kind: incident.Observed, Type: t, Observation: incident.Observation{
			Container: container, Node: "n1", Resource: resource(pod),
			Workload: incident.Workload{Kind: "Deployment", Name: strings.Split(pod, "-")[0]},
			Reason:   "Because",
		},
		Causes: causes,
	}
}

func resource(pod string) incident.Resource {
	return incident.Resource{Kind: "Pod", Namespace: "shop", Name: pod, UID: "uid-" + pod}
}

func sign(kind incident.SignalKind, t incident.EventType, pod string) incident.Signal {
	s := seen(t, pod, 0)
	s.Key, s.Kind = "", kind
	return s
}

func TestTheSameSignalIsRecordedOnce(t *testing.T) {
	b := newBench(t, newHook("h", on(incident.PodRestart)))
	for range 3 {
		b.apply(seen(incident.PodRestart, "cart-1", 1), seen(incident.PodRestart, "cart-1", 1))
		b.restart()
	}
	wantEqual(t, b.incidents(), []string{"pod-restart cart-1 events=1 duplicates=0"})
	if n := b.deliveries(); n != 1 {
		t.Errorf("%d deliveries", n)
	}
}

func TestRepeatsAreDuplicatesAndOtherPodsAreGrouped(t *testing.T) {
	b := newBench(t, newHook("h", on(incident.PodRestart)))
	b.apply(seen(incident.PodRestart, "cart-1", 1))
	b.apply(seen(incident.PodRestart, "cart-1", 2), seen(incident.PodRestart, "cart-2", 1), seen(incident.PodRestart, "pay-1", 1))
	wantEqual(t, b.dispositions(), []string{
		"cart-1 pod-restart delivered", "cart-1 pod-restart duplicate", "cart-2 pod-restart grouped", "pay-1 pod-restart delivered",
	})
}

func TestEveryGroupingHasItsOwnCalls(t *testing.T) {
	by := func(g v1alpha2.GroupBy) func(*v1alpha2.EventConfiguration) {
		return func(e *v1alpha2.EventConfiguration) { e.GroupBy = g }
	}
	for g, calls := range map[v1alpha2.GroupBy]int{v1alpha2.GroupByWorkload: 2, v1alpha2.GroupByResource: 3, v1alpha2.GroupByNode: 1} {
		b := newBench(t, newHook("h", on(incident.PodRestart, by(g))))
		b.apply(seen(incident.PodRestart, "cart-1", 1), seen(incident.PodRestart, "cart-2", 1), seen(incident.PodRestart, "pay-1", 1))
		if n := b.deliveries(); n != calls {
			t.Errorf("%s: %d deliveries, want %d", g, n, calls)
		}
	}
}

func TestOneCauseOneCall(t *testing.T) {
	b := newBench(t, newHook("both", on(incident.OOMKill), on(incident.PodRestart)), newHook("effect", on(incident.PodRestart)))
	b.apply(seen(incident.OOMKill, "cart-1", 1), seen(incident.PodRestart, "cart-1", 1, incident.OOMKill))
	wantEqual(t, b.dispositions(), []string{
		"cart-1 oom-kill delivered", "cart-1 pod-restart explained", "cart-1 pod-restart delivered",
	})
	wantEqual(t, b.incidents(), []string{"oom-kill cart-1 events=1 duplicates=0", "pod-restart cart-1 events=1 duplicates=0 causedBy=oom-kill"})
}

func TestACauseOfACauseExplainsToo(t *testing.T) {
	b := newBench(t, newHook("h", on(incident.OOMKill), on(incident.ProbeFailed)))
	b.apply(seen(incident.OOMKill, "cart-1", 1), seen(incident.PodRestart, "cart-1", 1, incident.OOMKill),
		seen(incident.ProbeFailed, "cart-1", 1, incident.PodRestart))
	wantEqual(t, b.dispositions(), []string{"cart-1 oom-kill delivered", "cart-1 probe-failed explained"})
}

func TestOneCauseDoesNotExplainWhatHasAnother(t *testing.T) {
	b := newBench(t, newHook("h", on(incident.OOMKill), on(incident.PodRestart)))
	b.apply(seen(incident.OOMKill, "cart-1", 1), seen(incident.PodRestart, "cart-1", 1, incident.OOMKill))
	b.after(time.Minute).apply(seen(incident.PodRestart, "cart-1", 2))
	wantEqual(t, b.dispositions(), []string{"cart-1 oom-kill delivered", "cart-1 pod-restart explained", "cart-1 pod-restart delivered"})
}

func TestAKilledContainerIsExplainedByItsProbeWhenTheEventsWereHeldBack(t *testing.T) {
	b := newBench(t, newHook("h", on(incident.ProbeFailed), on(incident.PodRestart)))
	b.apply(seen(incident.ProbeFailed, "cart-1", 1), seen(incident.PodRestart, "cart-1", 1, incident.ProbeFailed))
	silent := seen(incident.PodRestart, "cart-1", 2)
	killed := int32(137)
	silent.Attributes.Pod = &incident.PodAttributes{ExitCode: &killed}
	b.after(time.Minute).apply(silent)
	wantEqual(t, b.dispositions(), []string{"cart-1 probe-failed delivered", "cart-1 pod-restart explained", "cart-1 pod-restart explained"})
}

func TestOnePerCauseCanBeTurnedOff(t *testing.T) {
	h := newHook("h", on(incident.OOMKill), on(incident.PodRestart))
	off := false
	h.Spec.OnePerCause = &off
	b := newBench(t, h)
	b.apply(seen(incident.OOMKill, "cart-1", 1), seen(incident.PodRestart, "cart-1", 1, incident.OOMKill))
	wantEqual(t, b.dispositions(), []string{"cart-1 oom-kill delivered", "cart-1 pod-restart delivered"})
}

func TestACauseThatIsToldLateMakesNoSecondCall(t *testing.T) {
	b := newBench(t, newHook("h", on(incident.ProbeFailed), on(incident.PodRestart)))
	b.apply(seen(incident.PodRestart, "cart-1", 1))
	late := seen(incident.ProbeFailed, "cart-1", 1)
	late.At = start.Add(-time.Second)
	b.after(time.Second).apply(late)
	wantEqual(t, b.dispositions(), []string{"cart-1 pod-restart delivered", "cart-1 probe-failed explained"})
	wantEqual(t, b.incidents(), []string{"pod-restart cart-1 events=1 duplicates=0 causedBy=probe-failed", "probe-failed cart-1 events=1 duplicates=0"})
}

func TestIncidentsEndAsTheyDid(t *testing.T) {
	b := newBench(t)
	b.apply(seen(incident.PodRestart, "a-1", 1), seen(incident.PodRestart, "b-1", 1), seen(incident.PodRestart, "c-1", 1),
		seen(incident.OOMKill, "b-1", 1), seen(incident.PodPending, "d-1", 1))
	b.after(time.Minute).apply(sign(incident.Healthy, incident.PodRestart, "a-1"), sign(incident.Gone, "", "b-1"))
	b.after(8 * time.Minute).apply(sign(incident.Ongoing, incident.PodPending, "d-1"))
	if at, ok := b.ledger.NextQuiet(start); !ok || !at.Equal(start.Add(10*time.Minute)) {
		t.Errorf("next quiet at %v", at)
	}
	b.after(time.Minute)
	if err := b.ledger.EndQuiet(t.Context(), start.Add(5*time.Minute)); err != nil {
		t.Fatal(err)
	}
	if len(b.ledger.Open()) != 2 {
		t.Error("an incident ended as quiet though nobody watched for the whole window")
	}
	if err := b.ledger.EndQuiet(t.Context(), start); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, b.incidents(), []string{
		"oom-kill b-1 events=1 duplicates=0 gone", "pod-pending d-1 events=1 duplicates=0",
		"pod-restart a-1 events=1 duplicates=0 recovered", "pod-restart b-1 events=1 duplicates=0 gone",
		"pod-restart c-1 events=1 duplicates=0 quiet",
	})
	b.apply(seen(incident.PodRestart, "c-1", 2))
	wantEqual(t, b.incidents()[4:], []string{"pod-restart c-1 events=1 duplicates=0", "pod-restart c-1 events=1 duplicates=0 quiet"})
}

func TestTheFirstEventTellsThatItsIncidentEnded(t *testing.T) {
	b := newBench(t)
	b.apply(seen(incident.PodRestart, "a-1", 1), seen(incident.PodRestart, "a-1", 2))
	b.after(time.Minute).apply(sign(incident.Healthy, incident.PodRestart, "a-1"))
	all, err := b.store.AllIncidents(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	events, err := b.store.IncidentEvents(t.Context(), all[0].ID, 10)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range events {
		got = append(got, string(e.Status))
	}
	wantEqual(t, got, []string{"resolved", "duplicate"})
}

func TestAnIncidentThatStillFiresIsDeliveredAgainAndThenLessAndLessAndAtMostSixTimesADay(t *testing.T) {
	b := newBench(t, newHook("h", on(incident.PodRestart)))
	var called []time.Duration
	for n := range 2000 {
		if b.apply(seen(incident.PodRestart, "cart-1", n)); slices.ContainsFunc(b.dispositions(), func(s string) bool { return strings.HasSuffix(s, "delivered") }) {
			called = append(called, b.clock.Now().Sub(start))
			b.end(delivery.OutcomePersisting)
		}
		b.after(time.Minute)
	}
	m := time.Minute
	day := 24 * time.Hour // nobody let calls through before
	wantCalls := []time.Duration{0, 10 * m, 20 * m, 40 * m, 80 * m, 160 * m, day, day + 40*m, day + 80*m}
	if len(called) < len(wantCalls) {
		t.Fatalf("called at %v", called)
	}
	if diff := cmp.Diff(wantCalls, called[:len(wantCalls)]); diff != "" {
		t.Error(diff)
	}
}

func TestADeliveryUnderWayKeepsItsGroupFromCalling(t *testing.T) {
	b := newBench(t, newHook("h", on(incident.PodRestart)))
	b.apply(seen(incident.PodRestart, "cart-1", 1))
	b.after(time.Hour).apply(seen(incident.PodRestart, "cart-1", 2))
	wantEqual(t, b.dispositions(), []string{"cart-1 pod-restart delivered", "cart-1 pod-restart duplicate"})
}

func TestTheBudgetHoldsBackAndForgetsNothing(t *testing.T) {
	limit := func(e *v1alpha2.EventConfiguration) { n := int32(1); e.MaxCallsPerHour = &n }
	b := newBench(t, newHook("h", on(incident.PodRestart, limit)))
	b.apply(seen(incident.PodRestart, "cart-1", 1), seen(incident.PodRestart, "pay-1", 1))
	b.after(61 * time.Minute).apply(seen(incident.PodRestart, "pay-1", 2))
	wantEqual(t, b.dispositions(), []string{"cart-1 pod-restart delivered", "pay-1 pod-restart over-budget", "pay-1 pod-restart delivered"})
}

func TestSuspendedAndInvalidHooksSayWhyTheyDidNotCall(t *testing.T) {
	suspended := newHook("s", on(incident.PodRestart))
	suspended.Spec.Suspend = true
	b := newBench(t, suspended)
	b.hooks.Put(newHook("x", on(incident.PodRestart, func(e *v1alpha2.EventConfiguration) { e.Prompt = "{{.Nope}}" })))
	b.apply(seen(incident.PodRestart, "cart-1", 1))
	wantEqual(t, b.dispositions(), []string{"cart-1 pod-restart suspended", "cart-1 pod-restart invalid"})
	if b.deliveries() != 0 {
		t.Error("delivered")
	}
}

func TestAFailedTransactionChangesNothing(t *testing.T) {
	b := newBench(t, newHook("h", on(incident.PodRestart)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.ledger.Apply(ctx, []incident.Signal{seen(incident.PodRestart, "cart-1", 1)}); err == nil {
		t.Fatal("no error")
	}
	if len(b.ledger.Open()) != 0 || len(b.seen) != 0 {
		t.Error("the ledger believes in what was not committed")
	}
	b.apply(seen(incident.PodRestart, "cart-1", 1))
	wantEqual(t, b.incidents(), []string{"pod-restart cart-1 events=1 duplicates=0"})
	wantEqual(t, b.dispositions(), []string{"cart-1 pod-restart delivered"})
}

func TestSharedCausesAreCounted(t *testing.T) {
	b := newBench(t)
	for i := range 30 {
		s := seen(incident.PodPending, fmt.Sprintf("w%d-1", i), 1)
		s.Node = fmt.Sprintf("n%02d", i)
		b.after(time.Second).apply(s)
	}
	one := b.ledger.Open()[0]
	got := b.ledger.Shared(one)
	if got == nil || got.Workloads != 30 || got.Resources != 30 || len(got.Nodes) != incident.MaxSharedNodes || !got.Since.Equal(start.Add(time.Second)) {
		t.Errorf("got %+v", got)
	}
}

// BenchmarkApply is the whole way of a storm of signals into a real file: a fifth of them open an
// incident, the others repeat one, and a hook cares about all.
func BenchmarkApply(b *testing.B) {
	st, err := store.Open(b.Context(), store.Config{Engine: pgtest.Engine(b, ":memory:"), Path: b.TempDir() + "/khook.db"})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	hooks := hook.NewSet(hook.Policy{AgentNamespaces: []string{"kagent"}})
	hooks.Put(newHook("h", on(incident.PodRestart)))
	l, err := New(b.Context(), Config{}, st, hooks)
	if err != nil {
		b.Fatal(err)
	}
	const size = 500
	signals := make([]incident.Signal, size)
	n := 0
	b.ResetTimer()
	for b.Loop() {
		for i := range signals {
			pod := n / 5
			signals[i] = seen(incident.PodRestart, fmt.Sprintf("w%d-%d", pod%100, pod), n)
			signals[i].At = time.Now()
			n++
		}
		if err := l.Apply(b.Context(), signals); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "signals/s")
}
