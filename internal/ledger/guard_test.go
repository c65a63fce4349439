package ledger

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// fixedAndBroken lets a failure come back after each fix, an hour after the other, until its events
// are not delivered any more.
func (b *bench) fixedAndBroken(times int) (called int) {
	b.Helper()
	for range times {
		before := b.deliveries()
		b.broken++
		b.apply(seen(incident.PodRestart, "cart-1", b.broken))
		if b.deliveries() > before {
			called++
		}
		b.apply(sign(incident.Healthy, incident.PodRestart, "cart-1"))
		b.end(delivery.OutcomeRecovered)
		b.after(2 * time.Hour)
	}
	return called
}

func (b *bench) held() []*delivery.GroupState {
	b.Helper()
	held, err := b.store.HeldGroups(b.Context(), delivery.HookRef{}, b.clock.Now(), 1000)
	if err != nil {
		b.Fatal(err)
	}
	return held
}

func (b *bench) newest() *delivery.Delivery {
	b.Helper()
	all, err := b.store.AllDeliveries(b.Context(), 100_000)
	if err != nil || len(all) == 0 {
		b.Fatalf("%d deliveries, %v", len(all), err)
	}
	return all[len(all)-1]
}

func TestAFailureThatComesBackAfterEachFixNeedsAPersonAtItsSixthRepetition(t *testing.T) {
	b := newBench(t, newHook("h", on(incident.PodRestart)))
	if n := b.fixedAndBroken(10); n != 6 {
		t.Fatalf("the agent was called %d times", n)
	}
	held := b.held()
	if len(held) != 1 || !held[0].NeedsPerson || held[0].Hold != delivery.LoopGuard || held[0].Held.LoopGuard != 4 {
		t.Fatalf("held back: %+v", held)
	}
	b.apply(seen(incident.PodRestart, "cart-1", 100)) // fails when the person comes
	if err := b.ledger.Resume(store.WithWish(t.Context(), "taken back"), b.newest().ID, "ben", delivery.Entry{}); !errors.Is(err, store.ErrWithdrawn) {
		t.Errorf("what a person wanted of another replica and took back is done: %v", err)
	}
	if err := b.ledger.Resume(t.Context(), b.newest().ID, "ann", delivery.Entry{Kind: delivery.EntryPerson, By: "ann", Text: "let calls through"}); err != nil {
		t.Fatal(err)
	}
	d := b.newest()
	if b.deliveries() != 7 || d.State != delivery.Pending {
		t.Errorf("the call is not made at once: %d deliveries", b.deliveries())
	}
	if h := d.HeldBack; h == nil || h.LoopGuard != 5 || len(h.Resources) != 1 || h.Resources[0] != "cart-1" {
		t.Errorf("the agent is not told what was held back: %+v", h)
	}
	if held := b.held(); len(held) != 0 {
		t.Errorf("still held back: %+v", held[0])
	}
}

func TestAnAnnotationOnTheHookLetsCallsThroughAgain(t *testing.T) {
	h := newHook("h", on(incident.PodRestart))
	b := newBench(t, h)
	b.fixedAndBroken(8)
	b.apply(seen(incident.PodRestart, "cart-1", 100))
	for name, tc := range map[string]struct {
		value string
		calls int
	}{
		"a time that has not come": {b.clock.Now().Add(time.Hour).Format(time.RFC3339), 6},
		"no time":                  {"yes", 6},
	} {
		h.Annotations = map[string]string{v1alpha2.AnnotationResumedAt: tc.value}
		b.hooks.Put(h)
		if err := b.ledger.Reconsider(t.Context()); err != nil || b.deliveries() != tc.calls {
			t.Errorf("%s: %d calls, %v", name, b.deliveries(), err)
		}
	}
	h.Annotations[v1alpha2.AnnotationResumedAt] = b.clock.Now().Format(time.RFC3339)
	b.hooks.Put(h)
	if err := b.ledger.Reconsider(t.Context()); err != nil || b.deliveries() != 7 {
		t.Errorf("%d calls, %v", b.deliveries(), err)
	}
}

func TestEachBudgetHoldsBackAndTellsOfItWithTheNextCall(t *testing.T) {
	two, none := int32(2), func(*v1alpha2.EventConfiguration) {}
	for name, tc := range map[string]struct {
		config  func(*v1alpha2.EventConfiguration)
		hook    *int32
		all     int
		message string
	}{
		"of a configuration": {func(e *v1alpha2.EventConfiguration) { e.MaxCallsPerHour = &two }, nil, 0, "maxCallsPerHour of the configuration pod-restart, 2, is used up"},
		"of a Hook":          {none, &two, 0, "spec.maxCallsPerHour of the Hook, 2, is used up"},
		"of all":             {none, nil, 2, "--max-calls-per-hour of khook, 2, is used up"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHook("h", on(incident.PodRestart, tc.config))
			h.Spec.MaxCallsPerHour = tc.hook
			b := newBench(t, h)
			b.ledger.cfg.MaxCallsPerHour = tc.all
			b.apply(seen(incident.PodRestart, "cart-1", 1))
			b.after(10 * time.Minute).apply(seen(incident.PodRestart, "pay-1", 1))
			b.after(time.Minute).apply(seen(incident.PodRestart, "mail-1", 1), seen(incident.PodRestart, "mail-2", 1))
			b.after(time.Minute).apply(seen(incident.PodRestart, "mail-1", 2))
			if got := b.dispositions(); got[len(got)-1] != "mail-1 pod-restart over-budget" || b.deliveries() != 2 {
				t.Fatalf("%d deliveries: %v", b.deliveries(), got)
			}
			held := b.held()
			if len(held) != 1 || held[0].Why != tc.message || !held[0].HoldEnds.Equal(start.Add(time.Hour)) {
				t.Fatalf("held back: %+v", held)
			}
			b.restart()
			b.ledger.cfg.MaxCallsPerHour = tc.all
			b.after(20 * time.Minute)
			b.reconsider(2)
			b.after(29 * time.Minute) // an hour after the first call
			b.reconsider(3)
			d := b.newest()
			want := &delivery.HeldBack{OverBudget: 3, Since: start.Add(11 * time.Minute), Until: start.Add(12 * time.Minute), Resources: []string{"mail-1", "mail-2"}}
			if diff := cmp.Diff(want, d.HeldBack); diff != "" || d.Group != "Deployment/mail" {
				t.Errorf("the next call is about %s; %s", d.Group, diff)
			}
			b.covers(d, "mail-1", "mail-2")
		})
	}
}

// TestTokensHoldFurtherCallsBackUntilTheDayIsOver: those that tasks took count once their agents told, by when the calls were made due.
func TestTokensHoldFurtherCallsBackUntilTheDayIsOver(t *testing.T) {
	most := int64(1000)
	h := newHook("h", on(incident.PodRestart))
	h.Spec.MaxTokensPerDay = &most
	b := newBench(t, h)
	b.apply(seen(incident.PodRestart, "cart-1", 1))
	b.after(time.Hour).apply(seen(incident.PodRestart, "pay-1", 1)) // what the first took is not known
	b.took("Deployment/cart", 400)
	b.after(time.Hour).apply(seen(incident.PodRestart, "mail-1", 1))
	b.took("Deployment/pay", 700)
	b.after(time.Hour).apply(seen(incident.PodRestart, "shop-1", 1))
	if got := b.dispositions(); got[len(got)-1] != "shop-1 pod-restart over-budget" || b.deliveries() != 3 {
		t.Fatalf("%d deliveries: %v", b.deliveries(), got)
	}
	held := b.held()
	if len(held) != 1 || held[0].Why != "spec.maxTokensPerDay of the Hook, 1000, is used up" || !held[0].HoldEnds.Equal(start.Add(24*time.Hour)) {
		t.Fatalf("held back: %+v", held)
	}
	b.after(20 * time.Hour)
	b.reconsider(3)
	b.after(61 * time.Minute) // a day after the first call 700 are left
	b.reconsider(4)
	if d := b.newest(); d.Group != "Deployment/shop" || d.HeldBack.Events() != 1 {
		t.Errorf("the next call is about %s, and tells of %+v", d.Group, d.HeldBack)
	}
}

// took records what the task of a group's call took, as its agent tells it.
func (b *bench) took(about string, tokens int64) {
	b.Helper()
	all, err := b.store.AllDeliveries(b.Context(), 1000)
	if err != nil {
		b.Fatal(err)
	}
	for _, d := range all {
		if d.Group == about {
			d.Usage.Total = tokens
		}
	}
	if err := b.store.Write(b.Context(), func(tx *store.Tx) error {
		return tx.Save(b.Context(), &store.Changes{Deliveries: all})
	}); err != nil {
		b.Fatal(err)
	}
}

// reconsider looks again at what is held back, and checks how many deliveries there are then.
func (b *bench) reconsider(want int) {
	b.Helper()
	if err := b.ledger.Reconsider(b.Context()); err != nil {
		b.Fatal(err)
	}
	if n := b.deliveries(); n != want {
		b.Fatalf("%d deliveries, want %d", n, want)
	}
}

// covers checks which Pods a delivery is about.
func (b *bench) covers(d *delivery.Delivery, want ...string) {
	b.Helper()
	all, err := b.store.DeliveryIncidents(b.Context(), d.ID, 1000)
	if err != nil {
		b.Fatal(err)
	}
	got := map[string]bool{}
	for _, inc := range all {
		got[inc.Resource.Name] = true
	}
	for _, name := range want {
		if !got[name] {
			b.Errorf("the delivery is not about %s", name)
		}
	}
	if len(got) != len(want) {
		b.Errorf("the delivery is about %v, want %v", got, want)
	}
}

func TestAGroupThatIsHeldBackAndHealsIsNotCalledForLater(t *testing.T) {
	limit := func(e *v1alpha2.EventConfiguration) { n := int32(1); e.MaxCallsPerHour = &n }
	b := newBench(t, newHook("h", on(incident.PodRestart, limit)))
	b.apply(seen(incident.PodRestart, "cart-1", 1), seen(incident.PodRestart, "pay-1", 1))
	b.apply(sign(incident.Healthy, incident.PodRestart, "pay-1"))
	b.after(2 * time.Hour)
	b.reconsider(1)
	b.apply(seen(incident.PodRestart, "pay-1", 2))
	if d := b.newest(); b.deliveries() != 2 || d.HeldBack == nil || d.HeldBack.OverBudget != 1 {
		t.Errorf("what was held back is forgotten: %+v", d.HeldBack)
	}
}

func TestACallWaitsForItsGroupToGather(t *testing.T) {
	wait := func(e *v1alpha2.EventConfiguration) { e.GroupWait = &metav1.Duration{Duration: 30 * time.Second} }
	b := newBench(t, newHook("h", on(incident.PodRestart, wait)))
	b.apply(seen(incident.PodRestart, "cart-1", 1))
	b.after(10*time.Second).apply(seen(incident.PodRestart, "cart-2", 1), seen(incident.PodRestart, "pay-1", 1))
	all, err := b.store.AllDeliveries(t.Context(), 10)
	if err != nil || len(all) != 2 {
		t.Fatalf("%d deliveries, %v", len(all), err)
	}
	if at := all[0].NextAt; !at.Equal(start.Add(30 * time.Second)) {
		t.Errorf("due at %s", at)
	}
	b.covers(all[0], "cart-1", "cart-2")
}

func TestANewCallTellsOfAllThatFailsInItsGroup(t *testing.T) {
	b := newBench(t, newHook("h", on(incident.PodRestart)))
	b.apply(seen(incident.PodRestart, "cart-1", 1), seen(incident.PodRestart, "cart-2", 1), seen(incident.PodRestart, "cart-3", 1), seen(incident.PodRestart, "pay-1", 1))
	b.end(delivery.OutcomePersisting)
	b.after(11*time.Minute).apply(sign(incident.Healthy, incident.PodRestart, "cart-3"), seen(incident.PodRestart, "cart-2", 2))
	b.covers(b.newest(), "cart-1", "cart-2")
}

func TestACallThatWasNotMadeStandsForNothing(t *testing.T) {
	limit := func(e *v1alpha2.EventConfiguration) { n := int32(1); e.MaxCallsPerHour = &n }
	b := newBench(t, newHook("h", on(incident.PodRestart, limit)))
	for n := range 8 {
		b.apply(seen(incident.PodRestart, "cart-1", n))
		if got := b.dispositions(); len(got) != 1 || !strings.HasSuffix(got[0], "delivered") {
			t.Fatalf("event %d: %v", n, got)
		}
		b.apply(sign(incident.Healthy, incident.PodRestart, "cart-1"))
		d := b.newest()
		d.State, d.Skipped, d.EndedAt = delivery.Canceled, delivery.SkipRecovered, b.clock.Now()
		b.save(&store.Changes{Deliveries: []*delivery.Delivery{d}})
		events, err := b.store.IncidentEvents(t.Context(), d.IncidentID, 10)
		if err != nil || len(events) != 1 {
			t.Fatalf("%d events, %v", len(events), err)
		}
		decisions, err := b.store.Reader().IncidentDecisions(t.Context(), events[0].IncidentID, 10)
		if err != nil || len(decisions) != 1 || decisions[0].Disposition != delivery.RecoveredBefore {
			t.Errorf("event %d: %+v, %v", n, decisions, err)
		}
		b.after(time.Minute)
	}
}

func (b *bench) save(c *store.Changes) {
	b.Helper()
	if err := b.store.Write(b.Context(), func(tx *store.Tx) error { return tx.Save(b.Context(), c) }); err != nil {
		b.Fatal(err)
	}
}

// TestTheLoopGuardGoesByWorkloadHoweverCallsAreGrouped replaces the Pods of a Deployment for a day, one a minute, each of which
// fails: each is a resource of its own, and none of them is the failure of another one.
func TestTheLoopGuardGoesByWorkloadHoweverCallsAreGrouped(t *testing.T) {
	byResource := func(e *v1alpha2.EventConfiguration) { e.GroupBy = "resource" }
	b := newBench(t, newHook("h", on(incident.PodRestart, byResource)))
	inHour := 0
	for minute := range 24 * 60 {
		pod := fmt.Sprintf("cart-%d", minute)
		b.apply(seen(incident.PodRestart, pod, 1), sign(incident.Gone, incident.PodRestart, pod))
		b.end(delivery.OutcomeUnknown)
		b.after(time.Minute)
		if minute == 59 {
			inHour = b.deliveries()
		}
	}
	if n := b.deliveries(); inHour > 12 || n > 3*dayCalls {
		t.Errorf("%d calls in an hour and %d in a day for one Deployment", inHour, n)
	}
	b.apply(seen(incident.PodRestart, "pay-1", 1))
	if got := b.dispositions(); got[len(got)-1] != "pay-1 pod-restart delivered" {
		t.Errorf("another workload: %s", got[len(got)-1])
	}
	b.apply(seen(incident.PodRestart, "cart-new", 1))
	if got := b.dispositions(); got[len(got)-1] != "cart-new pod-restart loop-guard" {
		t.Fatalf("the Deployment: %s", got[len(got)-1])
	}
	b.restart() // the rows say the same
	if err := b.ledger.Resume(t.Context(), newestAbout(b, "cart-"), "ann", delivery.Entry{Kind: delivery.EntryPerson}); err != nil {
		t.Fatal(err)
	}
	b.apply(seen(incident.PodRestart, "cart-other", 1))
	if got := b.dispositions(); got[len(got)-1] != "cart-other pod-restart delivered" {
		t.Errorf("after a person let calls through: %s", got[len(got)-1])
	}
}

// newestAbout is the newest delivery about a Pod whose name begins so.
func newestAbout(b *bench, prefix string) string {
	b.Helper()
	all, err := b.store.AllDeliveries(b.Context(), 100_000)
	if err != nil {
		b.Fatal(err)
	}
	for _, d := range slices.Backward(all) {
		if strings.HasPrefix(d.Group, "Pod/"+prefix) {
			return d.ID
		}
	}
	b.Fatalf("no delivery about %s", prefix)
	return ""
}

// TestPodsThatFailTogetherAreEachCalledForWhereTheHookWantsThat: this is no loop.
func TestPodsThatFailTogetherAreEachCalledForWhereTheHookWantsThat(t *testing.T) {
	byResource := func(e *v1alpha2.EventConfiguration) { e.GroupBy = "resource" }
	b := newBench(t, newHook("h", on(incident.PodRestart, byResource)))
	for n := range 20 {
		b.after(5 * time.Second).apply(seen(incident.PodRestart, fmt.Sprintf("cart-%d", n), 1))
	}
	if b.deliveries() != 20 {
		t.Errorf("%d calls for 20 Pods", b.deliveries())
	}
}

// TestAllThatIsHeldBackIsLookedAtAgain has more groups than one look takes, the first of which stay held back.
func TestAllThatIsHeldBackIsLookedAtAgain(t *testing.T) {
	one := int32(1)
	held, free := newHook("a", on(incident.PodRestart)), newHook("z", on(incident.OOMKill))
	held.Spec.MaxCallsPerHour, free.Spec.MaxCallsPerHour = &one, &one
	b := newBench(t, held, free)
	var signals []incident.Signal
	for n := range 2*maxReconsidered + 10 {
		signals = append(signals, seen(incident.PodRestart, fmt.Sprintf("w%d-1", n), 1))
	}
	b.apply(append(signals, seen(incident.OOMKill, "cart-1", 1), seen(incident.OOMKill, "pay-1", 1))...)
	before := b.deliveries()
	b.end(delivery.OutcomePersisting)
	b.after(59 * time.Minute)
	b.reconsider(before)
	b.after(time.Minute + time.Second)
	b.reconsider(before + 2)
	calls, err := b.store.Reader().HookDeliveriesMade(t.Context(), delivery.HookRef{Namespace: "shop", Name: "z"}, start, start.Add(2*time.Hour))
	if err != nil || calls != 2 {
		t.Errorf("the last Hook has %d calls, %v", calls, err)
	}
}

// TestAHoldIsShownUntilTheCallIsLetThrough: its time is renewed while the budget stays used up.
func TestAHoldIsShownUntilTheCallIsLetThrough(t *testing.T) {
	one := int32(1)
	h := newHook("h", on(incident.PodRestart))
	h.Spec.MaxCallsPerHour = &one
	b := newBench(t, h)
	b.apply(seen(incident.PodRestart, "cart-1", 1), seen(incident.PodRestart, "pay-1", 1), seen(incident.PodRestart, "mail-1", 1))
	b.end(delivery.OutcomePersisting)
	b.after(time.Hour + time.Second)
	b.reconsider(2) // one of the two
	b.after(time.Minute)
	b.reconsider(2)
	if held := b.held(); len(held) != 1 || !held[0].HoldEnds.Equal(start.Add(2*time.Hour+time.Second)) {
		t.Errorf("held back: %+v", held)
	}
}
