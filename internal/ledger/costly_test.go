package ledger

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/proptest"
)

// costly is a match expression of some 50,000 units, which is false.
const costly = "[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19].exists(a, [0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19].exists(b, " +
	"[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19].exists(c, a + b + c > 1000)))"

func matching(expression string) func(*v1alpha2.EventConfiguration) {
	return func(e *v1alpha2.EventConfiguration) { e.Match = expression }
}

// hostile is a Hook of fifty configurations with costly expressions.
func hostile(name string) *v1alpha2.Hook {
	h := newHook(name)
	for range 50 {
		h.Spec.EventConfigurations = append(h.Spec.EventConfigurations, on(incident.PodRestart, matching(costly)))
	}
	return h
}

func TestACostlyHookIsInvalidForTheRestOfTheBatchAndHoldsUpNobody(t *testing.T) {
	b := newBench(t, hostile("costly"), newHook("decent", on(incident.PodRestart, matching(`event.name.startsWith("cart")`))))
	for n, want := range []string{"delivered", "duplicate"} { // the next batch has a budget of its own
		b.apply(seen(incident.PodRestart, "cart-1", n), seen(incident.PodRestart, "pay-1", n))
		applied := b.seen[len(b.seen)-1]
		if len(applied.TooCostly) != 1 || applied.TooCostly[0].Hook.Name != "costly" {
			t.Errorf("over their budget: %+v", applied.TooCostly)
		}
		// What a Hook may cost, and one expression more.
		if applied.MatchCost > 700_000 {
			t.Errorf("matching cost %d units", applied.MatchCost)
		}
		invalid, decent := 0, ""
		for _, d := range applied.Decisions {
			switch {
			case d.Hook.Name == "decent":
				decent += string(d.Disposition)
			case d.Disposition == delivery.Invalid:
				invalid++
			default:
				t.Errorf("the costly Hook has the disposition %s", d.Disposition)
			}
		}
		if decent != want {
			t.Errorf("the decent Hook's dispositions: %q", decent)
		}
		if invalid != 2 {
			t.Errorf("the costly Hook was invalid %d times for two events", invalid)
		}
	}
}

func TestNothingIsEvaluatedWhileTheHistoryIsBeingWritten(t *testing.T) {
	expression := `event.count < 100 && event.labels.all(k, k != "")`
	b := newBench(t, newHook("h", on(incident.OOMKill, matching(expression)), on(incident.PodRestart, matching(expression)), on(incident.ProbeFailed, matching(expression))))
	var signals []incident.Signal
	for n := range 5 {
		for _, pod := range []string{"cart-1", "pay-1", "till-1"} {
			signals = append(signals, seen(incident.OOMKill, pod, n), seen(incident.PodRestart, pod, n, incident.OOMKill),
				seen(incident.ProbeFailed, pod, n, incident.PodRestart), sign(incident.Ongoing, incident.PodRestart, pod))
		}
	}
	signals = append(signals, sign(incident.Healthy, incident.PodRestart, "pay-1"), seen(incident.PodRestart, "pay-1", 9), seen(incident.OOMKill, "cart-1", 0))
	b.apply(signals...)
	var spent uint64
	for _, a := range b.seen {
		spent += a.MatchCost
	}
	// A call looks at the open incidents of its own group, which nobody knows before it is made: here one.
	perEvaluation := spent / uint64(len(signals))
	if held, most := b.ledger.costHeld, uint64(b.deliveries())*perEvaluation; b.deliveries() < 3 || spent == 0 || held > most {
		t.Errorf("%d units of %d were spent while the history was locked, for %d calls", held, spent, b.deliveries())
	}
}

// TestDecisionsDoNotDependOnHowSignalsAreBatched holds the answers that a batch remembers against
// those of batches of one.
func TestDecisionsDoNotDependOnHowSignalsAreBatched(t *testing.T) {
	hooks := []*v1alpha2.Hook{
		newHook("counts", on(incident.PodRestart, matching("event.count % 3 != 0")), on(incident.OOMKill, matching("event.count % 2 == 1"))),
		newHook("causes", on(incident.OOMKill, matching(`event.name.endsWith("1")`)), on(incident.PodRestart), on(incident.ProbeFailed, matching("event.count > 1"))),
		newHook("nodes", on(incident.PodRestart, matching(`event.node == "n1"`), func(e *v1alpha2.EventConfiguration) { e.GroupBy = v1alpha2.GroupByNode })),
	}
	together, apart := newBench(t, hooks...), newBench(t, hooks...)
	n := 0
	proptest.Check(t, 100, func(rt *rapid.T) {
		n++
		pods := []string{fmt.Sprintf("w%d-1", n), fmt.Sprintf("w%d-2", n)}
		var signals []incident.Signal
		for i := range rapid.IntRange(1, 20).Draw(rt, "signals") {
			pod := rapid.SampledFrom(pods).Draw(rt, "pod")
			kind := rapid.SampledFrom(incident.EventTypes()).Draw(rt, "type")
			if rapid.IntRange(0, 9).Draw(rt, "kind") == 0 {
				signals = append(signals, sign(incident.Ongoing, kind, pod))
				continue
			}
			causes := [][]incident.EventType{nil, {incident.OOMKill}, {incident.PodRestart}, {incident.ProbeFailed}}
			s := seen(kind, pod, i, rapid.SampledFrom(causes).Draw(rt, "causes")...)
			s.Node = rapid.SampledFrom([]string{"", "n1", "n2"}).Draw(rt, "node")
			signals = append(signals, s)
		}
		together.apply(slices.Clone(signals)...)
		for _, s := range signals {
			apart.apply(s)
		}
		if got, want := strings.Join(together.dispositions(), "\n"), strings.Join(apart.dispositions(), "\n"); got != want {
			rt.Fatalf("together:\n%s\napart:\n%s", got, want)
		}
		for _, b := range []*bench{together, apart} { // the next round begins with nothing
			for _, pod := range pods {
				b.apply(incident.Signal{Kind: incident.Gone, Observation: incident.Observation{Resource: resource(pod)}})
			}
			b.end(delivery.OutcomeRecovered)
			b.after(25 * time.Hour)
		}
	})
}

// BenchmarkHostileHook is one event while a Hook has fifty expressions of 50,000 units each: what it
// may cost is spent before the history is locked.
func BenchmarkHostileHook(b *testing.B) {
	for _, configurations := range []int{5, 50} {
		b.Run(fmt.Sprint(configurations, " expressions"), func(b *testing.B) {
			h := hostile("costly")
			h.Spec.EventConfigurations = h.Spec.EventConfigurations[:configurations]
			l := newFileLedger(b, h)
			n := 0
			for b.Loop() {
				n++
				s := seen(incident.PodRestart, "cart-1", n)
				s.At = time.Now()
				if err := l.Apply(b.Context(), []incident.Signal{s}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
