package ledger

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// TestACallThatWasPausedIsMadeWhenCallsGoOnIfItStillFails pauses a namespace while one workload fails for good and another one recovers.
func TestACallThatWasPausedIsMadeWhenCallsGoOnIfItStillFails(t *testing.T) {
	b := newBench(t, newHook("h", on(incident.PodRestart)))
	b.hooks.SetPauses(delivery.Pauses{
		{PauseScope: delivery.PauseScope{Namespace: "elsewhere"}, By: "ben", At: b.clock.Now()},
		{PauseScope: delivery.PauseScope{Namespace: "shop"}, By: "ann", Reason: "it does harm", At: b.clock.Now()},
	})
	b.apply(seen(incident.PodRestart, "cart-1", 1), seen(incident.PodRestart, "web-1", 1))
	if got := b.dispositions(); b.deliveries() != 0 || len(got) != 2 || !strings.Contains(got[0], "paused") || !strings.Contains(got[1], "paused") {
		t.Fatalf("%d calls: %v", b.deliveries(), got)
	}
	held := b.held()
	if len(held) != 2 || held[0].Hold != delivery.Paused || !strings.Contains(held[0].Why, "paused by ann") || !strings.Contains(held[0].Why, "it does harm") {
		t.Fatalf("held back: %+v", held)
	}
	b.apply(sign(incident.Healthy, incident.PodRestart, "web-1"))
	for range 5 { // longer than a hold lasts that is not moved on
		b.after(8 * time.Hour)
		b.reconsider(0)
	}
	b.hooks.SetPauses(b.hooks.Pauses()[:1])
	b.reconsider(1)
	d := b.newest()
	if d.HeldBack == nil || d.HeldBack.Paused != 1 || !slices.Equal(d.HeldBack.Resources, []string{"cart-1"}) {
		t.Errorf("the agent is told: %+v", d.HeldBack)
	}
	if held := b.held(); slices.ContainsFunc(held, func(g *delivery.GroupState) bool { return g.Hold == delivery.Paused && g.Group == d.Group }) {
		t.Errorf("still held back: %+v", held)
	}
	b.reconsider(1)
}

// TestAPauseThatIsOverByItselfLetsTheCallBeMade does not wait for anybody.
func TestAPauseThatIsOverByItselfLetsTheCallBeMade(t *testing.T) {
	b := newBench(t, newHook("h", on(incident.PodRestart)))
	b.hooks.SetPauses(delivery.Pauses{{By: "ann", At: b.clock.Now(), Ends: b.clock.Now().Add(time.Hour)}})
	b.apply(seen(incident.PodRestart, "cart-1", 1))
	b.after(59 * time.Minute).reconsider(0)
	b.after(time.Minute).reconsider(1)
}

// TestAPauseSaysWhatWouldElseBeCalledFor: what a call stands for already is no call that was paused.
func TestAPauseSaysWhatWouldElseBeCalledFor(t *testing.T) {
	b := newBench(t, newHook("h", on(incident.PodRestart)))
	b.apply(seen(incident.PodRestart, "cart-1", 1))
	b.hooks.SetPauses(delivery.Pauses{{By: "ann", At: b.clock.Now()}})
	b.apply(seen(incident.PodRestart, "cart-1", 2))
	if got := b.dispositions(); len(got) != 2 || strings.Contains(got[1], "paused") {
		t.Errorf("%v", got)
	}
}

// TestTheEndOfAPauseDoesNotDisturbTheLookThatIsUnderWay: khook looks at what is held back by itself, and when people resume.
func TestTheEndOfAPauseDoesNotDisturbTheLookThatIsUnderWay(t *testing.T) {
	b := newBench(t, newHook("h", on(incident.PodRestart)))
	b.hooks.SetPauses(delivery.Pauses{{By: "ann", At: b.clock.Now()}})
	b.apply(seen(incident.PodRestart, "cart-1", 1), seen(incident.PodRestart, "web-1", 1))
	b.hooks.SetPauses(nil)
	var looks sync.WaitGroup
	for range 4 {
		looks.Go(func() {
			if err := b.ledger.Reconsider(b.Context()); err != nil {
				b.Error(err)
			}
		})
	}
	looks.Wait()
	b.reconsider(2)
}
