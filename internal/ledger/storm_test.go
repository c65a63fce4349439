package ledger

import (
	"fmt"
	"testing"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

// storm are the first failures of Pods, each of a workload of its own.
func storm(groups int) []incident.Signal {
	signals := make([]incident.Signal, groups)
	for i := range signals {
		name := fmt.Sprintf("w%05d", i)
		signals[i] = incident.Signal{
			Key: "storm/" + name, Kind: incident.Observed, Type: incident.PodRestart, At: start, Observation: incident.Observation{
				Container: "app",
				Reason:    "Error", Resource: incident.Resource{Kind: "Pod", Namespace: "shop", Name: name + "-x", UID: name},
				Workload: incident.Workload{Kind: "Deployment", Name: name}, Node: fmt.Sprintf("node-%d", i%20),
			}, Count: 1,
		}
	}
	return signals
}

// batches gives signals as the source does, a thousand at once.
func batches(signals []incident.Signal, apply func([]incident.Signal)) {
	for len(signals) > 0 {
		n := min(1000, len(signals))
		apply(signals[:n])
		signals = signals[n:]
	}
}

func TestAStormOfManyGroupsExaminesEachIncidentForItsOwnGroupOnly(t *testing.T) {
	for _, groups := range []int{1000, 4000} {
		b := newBench(t, newHook("h", on(incident.PodRestart)))
		batches(storm(groups), func(signals []incident.Signal) { b.apply(signals...) })
		if b.deliveries() != groups {
			t.Errorf("%d deliveries for %d groups", b.deliveries(), groups)
		}
		if n := b.ledger.examined; n != groups {
			t.Errorf("%d open incidents were examined for %d groups of one each", n, groups)
		}
	}
}

func TestAGroupsOpenIncidentsAreFoundHoweverTheyCameIntoIt(t *testing.T) {
	for by, want := range map[v1alpha2.GroupBy]int{v1alpha2.GroupByNode: 3, v1alpha2.GroupByWorkload: 2, v1alpha2.GroupByResource: 1} {
		t.Run(string(by), func(t *testing.T) {
			b := newBench(t) // no Hook: nothing is called for yet
			pod := func(name, workload, node string) incident.Signal {
				s := seen(incident.PodRestart, name, 1)
				s.Workload, s.Node = incident.Workload{Kind: "Deployment", Name: workload}, node
				return s
			}
			b.apply(pod("a", "cart", "n1"), pod("b", "cart", ""), pod("c", "till", "n1"), pod("gone", "cart", "n1"))
			moved := pod("b", "cart", "n1") // its node is known by now
			moved.Key += "/2"
			b.apply(moved, incident.Signal{Kind: incident.Gone, Observation: incident.Observation{Resource: pod("gone", "cart", "n1").Resource}})
			// With the Hook there, the next occurrence calls for all of its group that is open.
			if errs := b.hooks.Put(newHook("h", on(incident.PodRestart, func(e *v1alpha2.EventConfiguration) { e.GroupBy = by }))); len(errs) > 0 {
				t.Fatal(errs)
			}
			again := pod("a", "cart", "n1")
			again.Key += "/2"
			b.apply(again)
			all, err := b.store.AllDeliveries(t.Context(), 10)
			if err != nil || len(all) != 1 {
				t.Fatal(len(all), err)
			}
			covered, err := b.store.DeliveryIncidents(t.Context(), all[0].ID, 10)
			if err != nil || len(covered) != want {
				t.Errorf("the call is about %d incidents, want %d (%v)", len(covered), want, err)
			}
		})
	}
}

func TestACallTellsOfWhatFailedInTheSameBatch(t *testing.T) {
	b := newBench(t, newHook("h", on(incident.OOMKill), on(incident.PodRestart)))
	// The first restart is explained by the OOM kill; the second one is called for, and of the same group.
	b.apply(seen(incident.OOMKill, "cart-1", 1), seen(incident.PodRestart, "cart-1", 1, incident.OOMKill), seen(incident.PodRestart, "cart-2", 1))
	all, err := b.store.AllDeliveries(t.Context(), 10)
	if err != nil || len(all) != 2 {
		t.Fatalf("%d deliveries, %v", len(all), err)
	}
	for _, d := range all {
		want := map[incident.EventType]int{incident.OOMKill: 1, incident.PodRestart: 2}[d.EventType]
		if covered, err := b.store.DeliveryIncidents(t.Context(), d.ID, 10); err != nil || len(covered) != want {
			t.Errorf("the call about %s tells of %d incidents, want %d (%v)", d.EventType, len(covered), want, err)
		}
	}
}

// BenchmarkGroups shows that the time for each group stays the same, however many there are.
func BenchmarkGroups(b *testing.B) {
	for _, groups := range []int{1000, 4000} {
		b.Run(fmt.Sprint(groups, " groups"), func(b *testing.B) {
			signals := storm(groups)
			for b.Loop() {
				b.StopTimer()
				st, err := store.Open(b.Context(), store.Config{Engine: pgtest.Engine(b, ":memory:"), Path: b.TempDir() + "/khook.db"})
				if err != nil {
					b.Fatal(err)
				}
				hooks := hook.NewSet(hook.Policy{AgentNamespaces: []string{"kagent"}})
				hooks.Put(newHook("h", on(incident.PodRestart)))
				l, err := New(b.Context(), Config{}, st, hooks)
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				batches(signals, func(part []incident.Signal) {
					if err := l.Apply(b.Context(), part); err != nil {
						b.Fatal(err)
					}
				})
				b.StopTimer()
				_ = st.Close()
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(groups), "µs/group")
		})
	}
}
