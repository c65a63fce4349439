package ledger

import (
	"testing"
	"time"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// TestAnIncidentIsQuietByWhenKhookSawIt has a node whose clock is behind: what it tells is old when it is told.
func TestAnIncidentIsQuietByWhenKhookSawIt(t *testing.T) {
	b := newBench(t, newHook("h", on(incident.PodRestart)))
	late := seen(incident.PodRestart, "cart-1", 1)
	late.At = start.Add(-20 * time.Minute)
	b.apply(late)
	for _, restarted := range []bool{false, true} {
		if restarted {
			b.restart()
		}
		if err := b.ledger.EndQuiet(t.Context(), start.Add(-time.Hour)); err != nil || b.ledger.OpenCount() != 1 {
			t.Fatalf("restarted %v: it ended before it was seen for ten minutes: %d open, %v", restarted, b.ledger.OpenCount(), err)
		}
	}
	b.after(11 * time.Minute)
	if err := b.ledger.EndQuiet(t.Context(), start.Add(-time.Hour)); err != nil || b.ledger.OpenCount() != 0 {
		t.Errorf("%d open after ten minutes without a sign, %v", b.ledger.OpenCount(), err)
	}
}

func TestNothingIsRecordedAsOfTheFuture(t *testing.T) {
	b := newBench(t, newHook("h", on(incident.PodRestart)))
	ahead := seen(incident.PodRestart, "cart-1", 1)
	ahead.At = start.Add(time.Hour)
	b.apply(ahead)
	if open := b.ledger.Open(); len(open) != 1 || !open[0].FirstSeen.Equal(start) || !open[0].LastSeen.Equal(start) {
		t.Errorf("open: %+v", open)
	}
}

// TestThatNothingIsHeardKeepsAnIncidentOpenAndCallsNobody holds the sign that a node is lost against the sign that a
// problem goes on.
func TestThatNothingIsHeardKeepsAnIncidentOpenAndCallsNobody(t *testing.T) {
	for kind, calls := range map[incident.SignalKind]int{incident.Unheard: 1, incident.Ongoing: 2} {
		b := newBench(t, newHook("h", on(incident.PodRestart)))
		b.apply(seen(incident.PodRestart, "cart-1", 1))
		b.end(delivery.OutcomePersisting)
		for range 5 {
			b.after(4 * time.Minute).apply(sign(kind, incident.PodRestart, "cart-1"))
		}
		if err := b.ledger.EndQuiet(t.Context(), start); err != nil || b.ledger.OpenCount() != 1 || b.deliveries() != calls {
			t.Errorf("%s: %d open, %d calls, want %d; %v", kind, b.ledger.OpenCount(), b.deliveries(), calls, err)
		}
	}
}

// TestASignIsJudgedByTheFactsOfItsIncident: it has none of its own.
func TestASignIsJudgedByTheFactsOfItsIncident(t *testing.T) {
	code := int32(137)
	for expression, calls := range map[string]int{"event.exitCode != 137": 0, "event.exitCode == 137 && event.restartCount >= 3 && event.reason == 'Because'": 2} {
		b := newBench(t, newHook("h", on(incident.PodRestart, matching(expression), func(e *v1alpha2.EventConfiguration) {
			e.Prompt = "{{.ExitCode}} {{.RestartCount}} {{.Reason}}"
		})))
		crash := seen(incident.PodRestart, "cart-1", 1)
		crash.Attributes = incident.Attributes{Pod: &incident.PodAttributes{RestartCount: 4, ExitCode: &code}}
		b.apply(crash)
		b.end(delivery.OutcomePersisting)
		b.after(11 * time.Minute).apply(sign(incident.Ongoing, incident.PodRestart, "cart-1"))
		if b.deliveries() != calls {
			t.Errorf("%s: %d calls, want %d", expression, b.deliveries(), calls)
		}
		if calls > 0 {
			if p := b.newest().Prompt; p != "137 4 Because" {
				t.Errorf("the second time the agent is told %q", p)
			}
		}
	}
}

func TestAPromptLeadsToThePageOfItsIncident(t *testing.T) {
	for base, want := range map[string]string{"https://ops.example.com/khook": "see https://ops.example.com/khook/incidents/", "": "see "} {
		b := newBench(t, newHook("h", on(incident.PodRestart, func(e *v1alpha2.EventConfiguration) { e.Prompt = "see {{.URL}}" })))
		b.ledger.cfg.PageURL = base
		b.apply(seen(incident.PodRestart, "cart-1", 1))
		d := b.newest()
		if base != "" {
			want += d.IncidentID
		}
		if d.Prompt != want {
			t.Errorf("the agent is told %q, want %q", d.Prompt, want)
		}
	}
}
