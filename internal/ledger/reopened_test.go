package ledger

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// quiet lets so much time pass that what is open ends as quiet.
func (b *bench) quiet() *bench {
	b.Helper()
	b.after(11 * time.Minute)
	if err := b.ledger.EndQuiet(b.Context(), start.Add(-time.Hour)); err != nil || b.ledger.OpenCount() != 0 {
		b.Fatalf("%d open, %v", b.ledger.OpenCount(), err)
	}
	return b
}

// firing is how many events the API counts as firing.
func (b *bench) firing() int64 {
	b.Helper()
	counts, err := b.store.Reader().ActiveEvents(b.Context(), "")
	if err != nil {
		b.Fatal(err)
	}
	var n int64
	for _, c := range counts {
		n += c.N
	}
	return n
}

// TestAnIncidentThatEndedAsQuietIsOpenAgainWhenItIsSeenToGoOn: the end was a guess, and the sign says that it was wrong.
func TestAnIncidentThatEndedAsQuietIsOpenAgainWhenItIsSeenToGoOn(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		b := newBench(t, newHook("h", on(incident.PodPending)))
		b.apply(seen(incident.PodPending, "cart-1", 1))
		b.end(delivery.OutcomeUnknown)
		first := b.ledger.Open()[0]
		b.quiet()
		ended := b.clock.Now()
		if restarted {
			b.restart()
		}
		b.seen = nil
		b.after(time.Hour).apply(sign(incident.Ongoing, incident.PodPending, "cart-1"))
		if len(b.seen) != 1 || len(b.seen[0].Reopened) != 1 {
			t.Errorf("restarted %v: it is not told that an incident is open again: %+v", restarted, b.seen)
		}
		open := b.ledger.Open()
		if len(open) != 1 || open[0].ID != first.ID || open[0].Reopenings != 1 || !open[0].ReopenedAt.Equal(b.clock.Now()) || !open[0].QuietAt.Equal(start.Add(DefaultQuietAfter)) {
			t.Fatalf("restarted %v: ended at %s, open: %+v", restarted, ended, open)
		}
		if b.deliveries() != 2 || b.firing() != 1 {
			t.Errorf("restarted %v: %d calls and %d events are firing, want 2 and 1", restarted, b.deliveries(), b.firing())
		}
		b.after(time.Minute).apply(sign(incident.Healthy, incident.PodPending, "cart-1"))
		if b.firing() != 0 {
			t.Errorf("restarted %v: %d events are firing after it recovered", restarted, b.firing())
		}
		wantEqual(t, b.incidents(), []string{"pod-pending cart-1 events=1 duplicates=0 recovered"})
		b.after(time.Minute).apply(sign(incident.Ongoing, incident.PodPending, "cart-1"))
		if b.ledger.OpenCount() != 0 {
			t.Errorf("restarted %v: a late sign opens what has recovered", restarted)
		}
	}
}

// TestAnIncidentIsReopenedAndCalledForByTheRulesOfAnyOther: the window, and the loop guard.
func TestAnIncidentIsReopenedAndCalledForByTheRulesOfAnyOther(t *testing.T) {
	hour := func(e *v1alpha2.EventConfiguration) { e.DedupWindow = &metav1.Duration{Duration: time.Hour} }
	b := newBench(t, newHook("h", on(incident.PodPending, hour)))
	b.apply(seen(incident.PodPending, "cart-1", 1))
	b.end(delivery.OutcomeUnknown)
	b.quiet().apply(sign(incident.Ongoing, incident.PodPending, "cart-1"))
	if b.deliveries() != 1 || b.ledger.OpenCount() != 1 {
		t.Fatalf("%d calls within the window, %d open", b.deliveries(), b.ledger.OpenCount())
	}
	for range 30 {
		b.end(delivery.OutcomeUnknown)
		b.quiet().after(29 * time.Minute).apply(sign(incident.Ongoing, incident.PodPending, "cart-1"))
	}
	if n := b.deliveries(); n != dayCalls {
		t.Errorf("%d calls in a day for an incident that is opened again and again, want %d", n, dayCalls)
	}
}

func TestASignOfWhatNeverHadAnIncidentOpensNone(t *testing.T) {
	b := newBench(t, newHook("h", on(incident.PodPending)))
	b.apply(sign(incident.Ongoing, incident.PodPending, "cart-1"))
	b.apply(seen(incident.PodPending, "cart-1", 1), sign(incident.Healthy, incident.PodPending, "cart-1"), sign(incident.Ongoing, incident.PodPending, "cart-1"))
	wantEqual(t, b.incidents(), []string{"pod-pending cart-1 events=1 duplicates=0 recovered"})
}

// TestSinceWhenNothingIsHeardOfTheNodeIsKnownWhileItLasts: of the first sign, also for a khook that starts meanwhile.
func TestSinceWhenNothingIsHeardOfTheNodeIsKnownWhileItLasts(t *testing.T) {
	b := newBench(t, newHook("h", on(incident.PodRestart)))
	b.apply(seen(incident.PodRestart, "cart-1", 1))
	lost := start.Add(time.Minute)
	for range 3 {
		silent := sign(incident.Unheard, incident.PodRestart, "cart-1")
		silent.At = lost
		b.after(4 * time.Minute).apply(silent)
		lost = lost.Add(time.Minute) // told anew: the first one counts
		b.restart()
		if open := b.ledger.Open(); len(open) != 1 || !open[0].UnheardSince.Equal(start.Add(time.Minute)) || !open[0].LastSeen.Equal(start) {
			t.Fatalf("open: %+v", open)
		}
	}
	for _, again := range []incident.Signal{sign(incident.Heard, incident.PodRestart, "cart-1"), sign(incident.Ongoing, incident.PodRestart, "cart-1"), seen(incident.PodRestart, "cart-1", 2)} {
		b.apply(sign(incident.Unheard, incident.PodRestart, "cart-1"))
		b.after(time.Minute).apply(again)
		b.restart()
		if open := b.ledger.Open(); len(open) != 1 || !open[0].UnheardSince.IsZero() {
			t.Errorf("after %s: %+v", again.Kind, open)
		}
	}
}

// madeFor lists the calls of an incident as "what for disposition", in the order in which they were decided.
func (b *bench) madeFor(id string) []string {
	b.Helper()
	decisions, err := b.store.Reader().IncidentDecisions(b.Context(), id, 100)
	if err != nil {
		b.Fatal(err)
	}
	var got []string
	for _, d := range decisions {
		if (d.EventID == 0) == (d.MadeFor == delivery.ForEvent) || d.EventType != incident.PodRestart {
			b.Errorf("decision %+v", d)
		}
		got = append(got, fmt.Sprintf("%s %s", d.MadeFor, d.Disposition))
	}
	return got
}

// TestEachCallHasADecisionThatSaysWhy makes a call in each way in which the ledger makes one.
func TestEachCallHasADecisionThatSaysWhy(t *testing.T) {
	one := int32(1)
	b := newBench(t, newHook("h", on(incident.PodRestart, func(e *v1alpha2.EventConfiguration) { e.MaxCallsPerHour = &one })))
	b.apply(seen(incident.PodRestart, "cart-1", 1))
	id := b.ledger.Open()[0].ID
	b.end(delivery.OutcomePersisting)
	b.after(11*time.Minute).apply(sign(incident.Ongoing, incident.PodRestart, "cart-1"), seen(incident.PodRestart, "cart-1", 2)) // held back
	b.after(50 * time.Minute).reconsider(2)
	b.end(delivery.OutcomePersisting)
	b.after(2 * time.Hour).apply(sign(incident.Ongoing, incident.PodRestart, "cart-1"))
	wantEqual(t, b.madeFor(id), []string{"event delivered", "event over-budget", "released delivered", "ongoing delivered"})

	b = newBench(t, newHook("h", on(incident.PodRestart)))
	b.fixedAndBroken(8)
	b.apply(seen(incident.PodRestart, "cart-1", 100))
	id = b.ledger.Open()[0].ID
	if err := b.ledger.Resume(t.Context(), b.newest().ID, "ann", delivery.Entry{Kind: delivery.EntryPerson}); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, b.madeFor(id), []string{"event loop-guard", "resumed delivered"})
	all := int64(b.deliveries())
	counts, err := b.store.Reader().HookCounts(t.Context(), delivery.HookRef{Namespace: "shop", Name: "h"}, start, start.Add(100*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if made := counts["disposition:delivered"]; made != all {
		t.Errorf("%d decisions made a call, and there are %d calls", made, all)
	}
}

// TestAHookIsShownWithTheIncidentThatASignMadeItCallFor: it was not there when the incident's events were.
func TestAHookIsShownWithTheIncidentThatASignMadeItCallFor(t *testing.T) {
	b := newBench(t)
	b.apply(seen(incident.PodRestart, "cart-1", 1))
	b.edit(on(incident.PodRestart))
	b.after(5 * time.Minute).apply(sign(incident.Ongoing, incident.PodRestart, "cart-1"))
	active, _, err := b.store.Reader().HookSummary(t.Context(), delivery.HookRef{Namespace: "shop", Name: "h"})
	if err != nil || active != 1 || b.deliveries() != 1 {
		t.Errorf("%d active incidents and %d calls, %v", active, b.deliveries(), err)
	}
}
