package ledger

import (
	"fmt"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/proptest"
	"github.com/kagent-dev/khook/internal/store"
)

func withName(name string) func(*v1alpha2.EventConfiguration) {
	return func(e *v1alpha2.EventConfiguration) { e.Name = name }
}

func groupedBy(by v1alpha2.GroupBy) func(*v1alpha2.EventConfiguration) {
	return func(e *v1alpha2.EventConfiguration) { e.GroupBy = by }
}

func calling(agent string) func(*v1alpha2.EventConfiguration) {
	return func(e *v1alpha2.EventConfiguration) { e.AgentId = &agent }
}

// edit replaces the Hook's configurations, as they are given.
func (b *bench) edit(ecs ...v1alpha2.EventConfiguration) {
	b.Helper()
	h := newHook("h")
	b.edits++
	h.Spec.EventConfigurations, h.Generation = ecs, b.edits
	if errs := b.hooks.Put(h); len(errs) > 0 {
		b.Fatal(errs)
	}
}

const (
	aboutCart = `event.workloadName == "cart"`
	aboutAll  = `event.workloadName != "nothing"`
	aboutPay  = `event.workloadName == "pay"`
)

// TestNoEditAloneCallsAnAgentForWhatWasCalledFor edits a Hook in each way while an incident goes on that it called for.
func TestNoEditAloneCallsAnAgentForWhatWasCalledFor(t *testing.T) {
	restart := incident.PodRestart
	for name, tc := range map[string]struct{ before, after []v1alpha2.EventConfiguration }{
		"inserted before it": {
			[]v1alpha2.EventConfiguration{on(restart)},
			[]v1alpha2.EventConfiguration{on(restart, matching(aboutPay)), on(restart)},
		},
		"the one before it removed": {
			[]v1alpha2.EventConfiguration{on(restart, matching(aboutPay)), on(restart)},
			[]v1alpha2.EventConfiguration{on(restart)},
		},
		"named":         {[]v1alpha2.EventConfiguration{on(restart)}, []v1alpha2.EventConfiguration{on(restart, withName("restarts"))}},
		"renamed":       {[]v1alpha2.EventConfiguration{on(restart, withName("a"))}, []v1alpha2.EventConfiguration{on(restart, withName("b"))}},
		"name removed":  {[]v1alpha2.EventConfiguration{on(restart, withName("a"))}, []v1alpha2.EventConfiguration{on(restart)}},
		"another match": {[]v1alpha2.EventConfiguration{on(restart)}, []v1alpha2.EventConfiguration{on(restart, matching(aboutCart))}},
		"another agent": {[]v1alpha2.EventConfiguration{on(restart)}, []v1alpha2.EventConfiguration{on(restart, calling("kagent/other"))}},
		"by Pod":        {[]v1alpha2.EventConfiguration{on(restart)}, []v1alpha2.EventConfiguration{on(restart, groupedBy(v1alpha2.GroupByResource))}},
		"by node": {
			[]v1alpha2.EventConfiguration{on(restart, withName("a"))},
			[]v1alpha2.EventConfiguration{on(restart, withName("a"), groupedBy(v1alpha2.GroupByNode))},
		},
		"divided": {
			[]v1alpha2.EventConfiguration{on(restart)},
			[]v1alpha2.EventConfiguration{on(restart, matching(aboutPay)), on(restart, matching(aboutCart))},
		},
		"taken over by the other one": {
			[]v1alpha2.EventConfiguration{on(restart, matching(aboutCart)), on(restart, withName("b"), matching(aboutPay))},
			[]v1alpha2.EventConfiguration{on(restart, withName("b"), matching(aboutAll))},
		},
		"names swapped": {
			[]v1alpha2.EventConfiguration{on(restart, withName("a"), matching(aboutCart)), on(restart, withName("b"), matching(aboutPay))},
			[]v1alpha2.EventConfiguration{on(restart, withName("b"), matching(aboutCart)), on(restart, withName("a"), matching(aboutPay))},
		},
		"removed and added": {[]v1alpha2.EventConfiguration{on(restart)}, nil},
	} {
		for _, restarted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restarted: %v", name, restarted), func(t *testing.T) {
				b := newBench(t)
				b.edit(tc.before...)
				b.apply(seen(restart, "cart-1", 1))
				b.end(delivery.OutcomePersisting)
				b.after(time.Minute)
				after := tc.after
				if after == nil {
					b.edit(on(incident.OOMKill))
					b.apply(seen(incident.OOMKill, "mail-1", 1)) // khook takes notice of it
					after = []v1alpha2.EventConfiguration{on(restart, matching(aboutAll), groupedBy(v1alpha2.GroupByResource)), on(incident.OOMKill)}
				}
				b.edit(after...)
				if restarted {
					b.restart()
				}
				calls := b.deliveries()
				b.apply(sign(incident.Ongoing, restart, "cart-1"))
				b.after(time.Minute).apply(seen(restart, "cart-1", 2))
				if n := b.deliveries(); n != calls {
					t.Errorf("the edit called an agent: %v", b.dispositions())
				}
				b.end(delivery.OutcomePersisting)
				b.after(time.Hour).apply(seen(restart, "cart-1", 3))
				if n := b.deliveries(); n != calls+1 {
					t.Errorf("after its window the incident is not called for again: %v", b.dispositions())
				}
			})
		}
	}
}

// TestAnotherConfigurationStillCalls holds that an edit does not keep those from calling that would have called without it.
func TestAnotherConfigurationStillCalls(t *testing.T) {
	restart := incident.PodRestart
	often := on(restart, matching("event.count > 1 || event.message == \"again\""), calling("kagent/second"))
	t.Run("an incident that grows worse, without an edit", func(t *testing.T) {
		b := newBench(t)
		b.edit(on(restart, matching("event.message == \"\"")), often)
		b.apply(seen(restart, "cart-1", 1))
		worse := seen(restart, "cart-1", 2)
		worse.Message = "again"
		b.after(time.Minute).apply(worse)
		if n := b.deliveries(); n != 2 {
			t.Errorf("%d calls: %v", n, b.dispositions())
		}
	})
	t.Run("one that is added and about what another one is about", func(t *testing.T) {
		b := newBench(t)
		b.edit(on(restart))
		b.apply(seen(restart, "cart-1", 1))
		b.edit(on(restart), on(restart, calling("kagent/second")))
		b.after(time.Minute).apply(seen(restart, "cart-1", 2))
		if n := b.deliveries(); n != 2 {
			t.Errorf("%d calls: %v", n, b.dispositions())
		}
	})
	t.Run("one that is added, for a new incident", func(t *testing.T) {
		b := newBench(t)
		b.edit(on(restart, matching(aboutCart)))
		b.apply(seen(restart, "cart-1", 1))
		b.edit(on(restart, matching(aboutCart)), on(restart, matching(aboutPay)))
		b.after(time.Minute).apply(seen(restart, "pay-1", 1))
		if n := b.deliveries(); n != 2 {
			t.Errorf("%d calls: %v", n, b.dispositions())
		}
	})
}

// TestAPodThatGetsItsNodeIsNotCalledForAgain groups by node what has none yet.
func TestAPodThatGetsItsNodeIsNotCalledForAgain(t *testing.T) {
	b := newBench(t, newHook("h", on(incident.PodPending, groupedBy(v1alpha2.GroupByNode))))
	waits := seen(incident.PodPending, "cart-1", 1)
	waits.Node = ""
	b.apply(waits)
	b.end(delivery.OutcomePersisting)
	placed := seen(incident.PodPending, "cart-1", 2)
	b.after(time.Minute).apply(placed)
	b.after(time.Minute).apply(sign(incident.Ongoing, incident.PodPending, "cart-1"))
	if n := b.deliveries(); n != 1 {
		t.Errorf("%d calls: %v", n, b.dispositions())
	}
	b.after(time.Hour).apply(seen(incident.PodPending, "cart-1", 3))
	if n := b.deliveries(); n != 2 {
		t.Errorf("%d calls after the window: %v", n, b.dispositions())
	}
}

// TestTheLimitsOfAConfigurationFollowItsEdits holds that neither the budget nor the loop guard begins anew with an edit,
// and that one which is inserted gets none of it.
func TestTheLimitsOfAConfigurationFollowItsEdits(t *testing.T) {
	restart := incident.PodRestart
	two := func(e *v1alpha2.EventConfiguration) { n := int32(2); e.MaxCallsPerHour = &n }
	t.Run("budget", func(t *testing.T) {
		b := newBench(t)
		b.edit(on(restart, two))
		b.apply(seen(restart, "cart-1", 1), seen(restart, "pay-1", 1))
		b.edit(on(restart, two, matching(`event.workloadName == "new"`)), on(restart, two, withName("all")))
		b.after(time.Minute).apply(seen(restart, "mail-1", 1), seen(restart, "new-1", 1))
		got := b.dispositions()
		if n := b.deliveries(); n != 3 {
			t.Errorf("%d calls, want two and one of the inserted configuration: %v", n, got)
		}
		b.edit(on(restart, two, withName("all")))
		b.after(time.Minute)
		b.reconsider(3)
		b.after(time.Hour)
		b.reconsider(5) // what was held back under the former key, of both workloads
	})
	t.Run("loop guard", func(t *testing.T) {
		b := newBench(t)
		b.edit(on(restart))
		called := b.fixedAndBroken(3)
		b.edit(on(restart, matching(aboutAll)))
		called += b.fixedAndBroken(3)
		b.edit(on(restart, withName("restarts")))
		if called += b.fixedAndBroken(4); called != 6 {
			t.Errorf("%d calls", called)
		}
		held := b.held()
		if len(held) != 1 || !held[0].NeedsPerson || held[0].Config != "restarts" {
			t.Fatalf("held back: %+v", held)
		}
		first, err := b.store.AllDeliveries(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		b.apply(seen(restart, "cart-1", 100))
		b.edit(on(restart, withName("again"))) // khook takes notice of it when the person comes
		if err := b.ledger.Resume(t.Context(), first[0].ID, "ann", delivery.Entry{Kind: delivery.EntryPerson, By: "ann"}); err != nil || b.deliveries() != 7 {
			t.Errorf("a person lets calls through: %d calls, %v", b.deliveries(), err)
		}
	})
}

// TestTheHistoryOfAnEarlierKhookGoesOn gives the rows of a Hook the keys that an earlier khook gave them, by their place.
func TestTheHistoryOfAnEarlierKhookGoesOn(t *testing.T) {
	restart := incident.PodRestart
	b := newBench(t)
	configs := []v1alpha2.EventConfiguration{
		on(restart, matching(aboutCart)), on(restart, matching(aboutPay), withName("pod-restart")), on(incident.OOMKill),
	}
	b.edit(configs...)
	b.apply(seen(restart, "cart-1", 1), seen(restart, "pay-1", 1), seen(incident.OOMKill, "cart-1", 1))
	now := b.hooks.In("shop")
	ref := delivery.HookRef{Namespace: "shop", Name: "h"}
	var back []delivery.Renaming
	for i, former := range hook.FormerKeys(now) {
		back = append(back, delivery.Renaming{From: now[i].Key, To: former})
	}
	if err := b.store.Write(t.Context(), func(tx *store.Tx) error {
		if err := tx.SaveConfigurations(t.Context(), ref, nil); err != nil {
			return err
		}
		return tx.RenameConfigurations(t.Context(), ref, back)
	}); err != nil {
		t.Fatal(err)
	}
	ids := b.keys()
	if want := []string{"oom-kill", "pod-restart", "pod-restart#2"}; !slices.Equal(values(ids), want) {
		t.Fatalf("the test has no history of before: %v", ids)
	}
	b.restart()
	b.after(time.Minute).apply(seen(restart, "cart-1", 2), seen(restart, "pay-1", 2), seen(incident.OOMKill, "cart-1", 2))
	after := b.keys()
	if want := []string{now[2].Key, now[0].Key, "pod-restart"}; b.deliveries() != 3 || !slices.Equal(values(after), sorted(want)) {
		t.Errorf("%d calls, of %v, want %v", b.deliveries(), after, want)
	}
	for id := range ids {
		if after[id] == "" {
			t.Errorf("delivery %s is gone", id)
		}
	}
}

// keys are the configurations that each delivery is of.
func (b *bench) keys() map[string]string {
	b.Helper()
	all, err := b.store.AllDeliveries(b.Context(), 1000)
	if err != nil {
		b.Fatal(err)
	}
	keys := map[string]string{}
	for _, d := range all {
		keys[d.ID] = d.Config
	}
	return keys
}

func values(m map[string]string) []string {
	var all []string
	for _, v := range m {
		all = append(all, v)
	}
	return sorted(all)
}

func sorted(all []string) []string { slices.Sort(all); return all }

// TestNoRowOfEditsCallsForAnIncidentTwice draws edits and signs of incidents that go on, and holds that within a window
// no agent is called twice for an incident, unless two configurations were about it at the same time.
func TestNoRowOfEditsCallsForAnIncidentTwice(t *testing.T) {
	one := rapid.Custom(func(rt *rapid.T) v1alpha2.EventConfiguration {
		workload := rapid.SampledFrom([]string{"cart", "pay", "mail"}).Draw(rt, "workload")
		return on(incident.PodRestart, matching(fmt.Sprintf("event.workloadName == %q", workload)),
			groupedBy(rapid.SampledFrom([]v1alpha2.GroupBy{"", v1alpha2.GroupByResource}).Draw(rt, "by")),
			withName(rapid.SampledFrom([]string{"", "a-" + workload, "b-" + workload}).Draw(rt, "name")),
			calling(rapid.SampledFrom([]string{"kagent/medic", "kagent/other"}).Draw(rt, "agent")),
			func(e *v1alpha2.EventConfiguration) { e.DedupWindow = &metav1.Duration{Duration: 24 * time.Hour} })
	})
	// Each list has one configuration for a workload at most.
	list := rapid.SliceOfNDistinct(one, 1, 3, func(e v1alpha2.EventConfiguration) string { return e.Match })
	proptest.Check(t, 100, func(rt *rapid.T) {
		b := newBench(t)
		n := 0
		rt.Repeat(map[string]func(*rapid.T){
			"edit": func(rt *rapid.T) { b.edit(list.Draw(rt, "list")...) },
			"fail": func(rt *rapid.T) {
				n++
				b.apply(seen(incident.PodRestart, rapid.SampledFrom([]string{"cart-1", "pay-1", "mail-1"}).Draw(rt, "pod"), n))
			},
			"go on":   func(*rapid.T) { b.apply(sign(incident.Ongoing, incident.PodRestart, "cart-1")) },
			"end":     func(*rapid.T) { b.end(delivery.OutcomePersisting) },
			"restart": func(*rapid.T) { b.restart() },
			"wait":    func(*rapid.T) { b.after(time.Minute) },
			"": func(rt *rapid.T) {
				all, err := b.store.AllDeliveries(b.Context(), 1000)
				if err != nil {
					rt.Fatal(err)
				}
				about := map[string]int{}
				for _, d := range all {
					if about[d.IncidentID]++; about[d.IncidentID] > 1 {
						rt.Fatalf("called again for %s, by %s: %v", d.Group, d.Config, b.dispositions())
					}
				}
			},
		})
	})
}
