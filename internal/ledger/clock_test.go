package ledger

import (
	"testing"
	"time"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// TestAClockThatWasAheadOnceSilencesNobody sets khook's clock back by three hours, while it runs or while it is down. What was
// called for and counted then counts as of now, and not until three hours have passed.
func TestAClockThatWasAheadOnceSilencesNobody(t *testing.T) {
	one := int32(1)
	perHour := func(e *v1alpha2.EventConfiguration) { e.MaxCallsPerHour = &one }
	for _, running := range []bool{true, false} {
		b := newBench(t, newHook("h", on(incident.PodRestart), on(incident.OOMKill, perHour)))
		b.after(3*time.Hour).apply(seen(incident.PodRestart, "cart-1", 1), seen(incident.OOMKill, "pay-1", 1), seen(incident.PodRestart, "idle-1", 1))
		b.end(delivery.OutcomePersisting)
		b.after(-3 * time.Hour)
		if !running {
			b.restart()
		}
		b.after(time.Minute).apply(sign(incident.Healthy, incident.OOMKill, "pay-1"))
		if all := b.ledger.Open(); len(all) != 2 || all[0].LastSeen.After(b.clock.Now()) || all[0].FirstSeen.After(b.clock.Now()) || all[0].ObservedAt.After(b.clock.Now()) {
			t.Fatalf("running %v: open: %+v", running, all)
		}
		b.after(11 * time.Minute).apply(sign(incident.Ongoing, incident.PodRestart, "cart-1"))
		if n := b.deliveries(); n != 4 {
			t.Errorf("running %v: %d calls after the window, want 4", running, n)
		}
		if err := b.ledger.EndQuiet(t.Context(), start.Add(-time.Hour)); err != nil || b.ledger.OpenCount() != 1 {
			t.Errorf("running %v: %d open, of which nothing is seen for ten minutes; %v", running, b.ledger.OpenCount(), err)
		}
		b.after(50 * time.Minute).apply(seen(incident.OOMKill, "pay-1", 2))
		if n := b.deliveries(); n != 5 {
			t.Errorf("running %v: %d calls after the hour of the budget, want 5", running, n)
		}
	}
}

// TestAClockThatGoesBackALittleChangesNothing: as one does that is kept in step.
func TestAClockThatGoesBackALittleChangesNothing(t *testing.T) {
	b := newBench(t, newHook("h", on(incident.PodRestart)))
	b.apply(seen(incident.PodRestart, "cart-1", 1))
	at := b.clock.Now()
	b.after(-clockSlack / 2).apply(seen(incident.PodRestart, "pay-1", 1))
	for _, inc := range b.ledger.Open() {
		if inc.Resource.Name == "cart-1" && !inc.FirstSeen.Equal(at) {
			t.Errorf("first seen at %s, want %s", inc.FirstSeen, at)
		}
	}
}
