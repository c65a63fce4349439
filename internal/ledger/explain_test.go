package ledger

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/proptest"
	"github.com/kagent-dev/khook/internal/store"
)

// explained is what Explain says about an incident, for the Hook h.
func (b *bench) explained(inc *incident.Incident) []delivery.Checklist {
	b.Helper()
	all, err := Explain(b.Context(), Config{Clock: b.clock}, b.store.Reader(), b.hooks, delivery.HookRef{Namespace: "shop", Name: "h"}, inc, nil)
	if err != nil {
		b.Fatal(err)
	}
	return all
}

var errOnlyAsked = errors.New("only asked")

// ruled is what the ledger would decide in a transaction of its own, by configuration, if an incident were seen to go on.
func (b *bench) ruled(inc *incident.Incident) map[string]verdict {
	b.Helper()
	found := map[string]verdict{}
	err := b.ledger.transact(b.Context(), func(own *batch) error {
		f := own.factsOf(own.find(inc.ProblemKey()))
		f.Signal.Kind = incident.Ongoing
		for _, m := range own.matcher.matching(subjectOf(f), f) {
			if err := own.settle(b.Context(), m.Hook); err != nil {
				return err
			}
			r, err := own.rule(b.Context(), m, f, nil)
			if err != nil {
				return err
			}
			found[m.Key] = r.verdict
		}
		return errOnlyAsked
	})
	if !errors.Is(err, errOnlyAsked) {
		b.Fatal(err)
	}
	return found
}

// anyHook draws the configurations of a Hook that fits some of the failures of the test.
func anyHook(rt *rapid.T) *v1alpha2.Hook {
	one := rapid.Custom(func(rt *rapid.T) v1alpha2.EventConfiguration {
		ec := on(rapid.SampledFrom([]incident.EventType{incident.OOMKill, incident.PodRestart}).Draw(rt, "type"))
		ec.GroupBy = rapid.SampledFrom([]v1alpha2.GroupBy{"", v1alpha2.GroupByResource, v1alpha2.GroupByNode}).Draw(rt, "by")
		ec.Match = rapid.SampledFrom([]string{"", "", aboutCart, "event.labels['tier'] == 'web'"}).Draw(rt, "match")
		ec.DedupWindow = &metav1.Duration{Duration: rapid.SampledFrom([]time.Duration{time.Second, 10 * time.Minute}).Draw(rt, "window")}
		if value := rapid.SampledFrom([]string{"", "", "web", "data"}).Draw(rt, "tier"); value != "" {
			ec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"tier": value}}
		}
		if most := rapid.Int32Range(0, 3).Draw(rt, "budget"); most > 0 {
			ec.MaxCallsPerHour = &most
		}
		return ec
	})
	h := newHook("h")
	h.Spec.EventConfigurations = rapid.SliceOfN(one, 1, 4).Draw(rt, "configurations") // without names: an edit gives them other keys
	h.Spec.Suspend = rapid.IntRange(0, 5).Draw(rt, "suspend") == 0
	once := rapid.Bool().Draw(rt, "onePerCause")
	h.Spec.OnePerCause = &once
	return h
}

// occurrence draws a failure of a Pod; a restart may have been caused by an OOM kill.
func occurrence(rt *rapid.T, n int) incident.Signal {
	pod := rapid.SampledFrom([]string{"cart-1", "cart-2", "pay-1"}).Draw(rt, "pod")
	kind := rapid.SampledFrom([]incident.EventType{incident.OOMKill, incident.PodRestart}).Draw(rt, "type")
	var causes []incident.EventType
	if kind == incident.PodRestart && rapid.Bool().Draw(rt, "caused") {
		causes = []incident.EventType{incident.OOMKill}
	}
	s := seen(kind, pod, n, causes...)
	if tier := map[string]string{"cart-1": "web", "pay-1": "data"}[pod]; tier != "" {
		s.Attributes.Pod = &incident.PodAttributes{Labels: map[string]string{"tier": tier}}
	}
	return s
}

// again is one more occurrence of an incident, by the cause that it is known by.
func (b *bench) again(inc *incident.Incident, n int) incident.Signal {
	b.Helper()
	var causes []incident.EventType
	for _, other := range b.ledger.Open() {
		if inc.CausedBy != "" && other.ID == inc.CausedBy {
			causes = []incident.EventType{other.Type}
		}
	}
	s := seen(inc.Type, inc.Resource.Name, n, causes...)
	s.Attributes = inc.Attributes
	return s
}

// TestTheFirstNoOfExplainIsWhatIsDecided lets Pods fail, Hooks be edited, agents end and time pass, in any order, and compares
// what Explain says with what the ledger decides: asked in a transaction of its own, and recorded for one more occurrence.
func TestTheFirstNoOfExplainIsWhatIsDecided(t *testing.T) {
	all := []delivery.StepName{delivery.StepType, delivery.StepSelector, delivery.StepMatch, delivery.StepSuspended, delivery.StepCause, delivery.StepWindow, delivery.StepLoopGuard, delivery.StepBudget, delivery.StepCall}
	stops := map[delivery.StepName]int{}
	missed := func(name delivery.StepName) bool { return stops[name] == 0 }
	for round := 0; round == 0 || round < 10 && proptest.Full() && slices.ContainsFunc(all, missed); round++ { // chance may leave out a step
		proptest.Check(t, 100, func(rt *rapid.T) { explainAnything(rt, t, stops) })
	}
	if i := slices.IndexFunc(all, missed); i >= 0 && proptest.Full() {
		t.Errorf("the test never came to the end at %s: %v", all[i], stops)
	}
}

// explainAnything draws a Hook and what happens to it, and asks in between.
func explainAnything(rt *rapid.T, t *testing.T, stops map[delivery.StepName]int) {
	b := newBench(t, anyHook(rt))
	n := 0
	rt.Repeat(map[string]func(*rapid.T){
		"fail": func(rt *rapid.T) { n++; b.apply(occurrence(rt, n)) },
		"edit": func(rt *rapid.T) {
			h := anyHook(rt)
			b.edits++
			h.Generation = b.edits + 1
			b.hooks.Put(h)
		},
		"end": func(*rapid.T) { b.end(delivery.OutcomePersisting) },
		"wait": func(rt *rapid.T) {
			b.after(rapid.SampledFrom([]time.Duration{time.Minute, time.Hour}).Draw(rt, "time"))
		},
		"come back": func(rt *rapid.T) { // as often as the loop guard minds
			s := occurrence(rt, n)
			for range freeCalls {
				n++
				s.Key, s.At = fmt.Sprint("again ", n), time.Time{}
				b.apply(s)
				b.end(delivery.OutcomePersisting)
				b.after(12 * time.Minute)
			}
		},
		"ask": func(rt *rapid.T) {
			open := b.ledger.Open()
			if len(open) == 0 {
				return
			}
			inc := rapid.SampledFrom(inOrder(open)).Draw(rt, "incident")
			n++
			compareExplained(rt, b, inc, b.again(inc, n), stops)
		},
	})
}

func compareExplained(rt *rapid.T, b *bench, inc *incident.Incident, next incident.Signal, stops map[delivery.StepName]int) {
	lists, want := b.explained(inc), b.ruled(inc)
	said := map[string]verdict{}
	first := map[string]delivery.StepName{}
	for _, list := range lists {
		end, no := list.First()
		if !no {
			end = list.Steps[len(list.Steps)-1]
		}
		stops[end.Name]++
		if end != list.Steps[len(list.Steps)-1] || end.Text == "" {
			rt.Fatalf("it goes on after the first no, or says nothing: %+v", list)
		}
		if list.Disposition != "" {
			said[list.Config], first[list.Config] = verdict{list.Disposition, list.DeliveryID}, end.Name
		}
	}
	if diff := gocmp.Diff(want, said, gocmp.AllowUnexported(verdict{})); diff != "" {
		rt.Fatalf("about %s (-decided +said)\n%s", inc.Subject(), diff)
	}
	b.seen = nil
	b.apply(next)
	for _, d := range b.seen[0].Decisions {
		if first[d.Config] != delivery.StoppedAt(d.Disposition) {
			rt.Fatalf("%s of %s was recorded for %s, and %q was said: %+v", d.Disposition, inc.Subject(), d.Config, first[d.Config], lists)
		}
	}
	if len(b.seen[0].Decisions) != len(said) {
		rt.Fatalf("%d decisions, %d were said", len(b.seen[0].Decisions), len(said))
	}
}

// inOrder are incidents in an order that is the same each time.
func inOrder(all []*incident.Incident) []*incident.Incident {
	slices.SortFunc(all, func(a, b *incident.Incident) int {
		return cmp.Or(strings.Compare(a.Resource.Name, b.Resource.Name), strings.Compare(string(a.Type), string(b.Type)))
	})
	return all
}

func TestExplainSaysOfWhatAndUntilWhen(t *testing.T) {
	most := int32(1)
	hook := func(change func(*v1alpha2.Hook)) *v1alpha2.Hook {
		h := newHook("h", on(incident.PodRestart))
		change(h)
		return h
	}
	for name, tc := range map[string]struct {
		hook   func(*v1alpha2.Hook)
		before func(*bench)
		want   string // of the last step
	}{
		"suspended": {func(h *v1alpha2.Hook) { h.Spec.Suspend = true }, func(b *bench) { b.apply(seen(incident.PodRestart, "cart-1", 1)) },
			"suspended: spec.suspend is true: the Hook calls nobody"},
		"window": {func(*v1alpha2.Hook) {}, func(b *bench) { b.apply(seen(incident.PodRestart, "cart-1", 1)); b.end(delivery.OutcomePersisting) },
			"for Deployment/cart was made due at 2026-01-15T10:00:00Z: no further call before 2026-01-15T10:10:00Z (dedupWindow, 10m0s)"},
		"under way": {func(*v1alpha2.Hook) {}, func(b *bench) { b.apply(seen(incident.PodRestart, "cart-1", 1)); b.after(time.Hour) },
			"is under way (pending)"},
		"cause": {func(h *v1alpha2.Hook) { *h = *newHook("h", on(incident.PodRestart), on(incident.OOMKill)) },
			func(b *bench) {
				b.apply(seen(incident.OOMKill, "cart-1", 1), seen(incident.PodRestart, "cart-1", 1, incident.OOMKill))
			},
			"for which the configuration oom-kill of this Hook calls (delivery "},
		"budget": {func(h *v1alpha2.Hook) { h.Spec.MaxCallsPerHour = &most },
			func(b *bench) {
				b.apply(seen(incident.PodRestart, "pay-1", 1))
				b.end(delivery.OutcomePersisting)
				b.apply(seen(incident.PodRestart, "cart-1", 1))
			},
			"budget: spec.maxCallsPerHour of the Hook, 1, is used up, until 2026-01-15T11:00:00Z: 1 of 1 calls used in the last hour (spec.maxCallsPerHour of the Hook)"},
		"tokens": {func(h *v1alpha2.Hook) { tokens := int64(500); h.Spec.MaxTokensPerDay = &tokens },
			func(b *bench) {
				b.apply(seen(incident.PodRestart, "pay-1", 1))
				b.took("Deployment/pay", 700)
				b.end(delivery.OutcomePersisting)
				b.apply(seen(incident.PodRestart, "cart-1", 1))
			},
			"budget: spec.maxTokensPerDay of the Hook, 500, is used up, until 2026-01-16T10:00:00Z: 700 of 500 tokens used in the last 24 hours (spec.maxTokensPerDay of the Hook)"},
		"call": {func(*v1alpha2.Hook) {}, func(b *bench) {
			b.apply(seen(incident.PodRestart, "cart-1", 1))
			b.end(delivery.OutcomePersisting)
			b.after(time.Hour)
		},
			"call: agent kagent/medic would be called for Deployment/cart now"},
		"ended": {func(*v1alpha2.Hook) {}, func(b *bench) {
			b.apply(seen(incident.PodRestart, "cart-1", 1), sign(incident.Healthy, incident.PodRestart, "cart-1"))
		},
			"open: the incident has ended (recovered, 2026-01-15T10:00:00Z): nobody is called about it any more, and a new occurrence opens another one"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, hook(tc.hook))
			tc.before(b)
			all, err := b.store.AllIncidents(t.Context(), 10)
			if err != nil {
				t.Fatal(err)
			}
			for _, inc := range all {
				if inc.Type != incident.PodRestart || inc.Resource.Name != "cart-1" {
					continue
				}
				list := b.explained(inc)[0]
				last := list.Steps[len(list.Steps)-1]
				if got := string(last.Name) + ": " + last.Text; !strings.Contains(got, tc.want) || last.OK != (name == "call") {
					t.Errorf("%v %s", last.OK, got)
				}
			}
		})
	}
}

// TestExplainNamesThePersonsTurn goes round the loop until nobody but a person lets the next call through.
func TestExplainNamesThePersonsTurn(t *testing.T) {
	b := newBench(t, newHook("h", on(incident.PodRestart)))
	for n := range dayCalls {
		b.apply(seen(incident.PodRestart, "cart-1", n+1))
		b.end(delivery.OutcomePersisting)
		b.after(3*time.Hour + 30*time.Minute)
	}
	list := b.explained(b.ledger.Open()[0])[0]
	first, _ := list.First()
	if first.Name != delivery.StepLoopGuard || !strings.Contains(first.Text, "a person must let the next one through (khook deliveries resume ") {
		t.Errorf("%+v", list)
	}
}

// TestExplainWritesNothing asks of a Hook that was edited, whose keys a transaction would write anew.
func TestExplainWritesNothing(t *testing.T) {
	h := newHook("h", on(incident.PodRestart))
	h.Spec.EventConfigurations[0].Name = ""
	b := newBench(t, h)
	b.apply(seen(incident.PodRestart, "cart-1", 1))
	inc := b.ledger.Open()[0]
	edited := h.DeepCopy()
	edited.Generation, edited.Spec.EventConfigurations[0].Match = 2, aboutCart
	b.hooks.Put(edited)
	before, err := b.store.LastChange(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	list := b.explained(inc)[0]
	if first, _ := list.First(); first.Name != delivery.StepWindow {
		t.Errorf("the call from before the edit does not count: %+v", list)
	}
	after, err := b.store.LastChange(t.Context())
	known := b.known(t)
	if err != nil || after != before || len(known) != 1 || known[0].Key == list.Config {
		t.Errorf("%v, %d changes, the history knows %+v", err, after-before, known)
	}
}

// known are the configurations that the history has of the Hook h.
func (b *bench) known(t *testing.T) (configs []delivery.Configuration) {
	t.Helper()
	err := b.store.Write(t.Context(), func(tx *store.Tx) (err error) {
		configs, err = tx.Configurations(t.Context(), delivery.HookRef{Namespace: "shop", Name: "h"})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return configs
}
