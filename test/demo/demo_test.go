package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// decided is an event of a Deployment, with the decision of the Hook.
func decided(id int64, t api.EventType, d delivery.Disposition) api.Event {
	e := api.Event{ID: id, Dispositions: []api.Decision{{Disposition: d, DeliveryID: "call"}}}
	e.EventType, e.Workload = t, api.Workload(incident.Workload{Kind: "Deployment", Name: "hog"})
	return e
}

func TestWhatRepeatsADecisionIsToldTogether(t *testing.T) {
	types := map[string]api.EventType{"call": "oom-kill"}
	start := time.Date(2026, 1, 15, 10, 0, 0, 0, time.UTC)
	d := newDigest(time.Minute)
	events := []api.Event{decided(1, "oom-kill", delivery.Delivered)}
	var told []string
	see := func(after time.Duration, more ...api.Event) {
		events = append(events, more...) // khook is asked for all of them each time
		told = append(told, d.add(events, types, start.Add(after))...)
	}
	see(0)
	see(time.Second, decided(2, "pod-restart", delivery.Explained))
	see(2*time.Second, decided(3, "oom-kill", delivery.Duplicate))
	see(30*time.Second, decided(4, "oom-kill", delivery.Duplicate), decided(5, "oom-kill", delivery.Duplicate))
	see(70 * time.Second)
	see(80*time.Second, decided(6, "oom-kill", delivery.Duplicate))
	told = append(told, d.rest(start.Add(81*time.Second))...)
	want := []string{
		"pod-restart of Deployment/hog: explained by the oom-kill, no second call",
		"oom-kill of Deployment/hog again: same group, no second call",
		"2 more OOM kills of Deployment/hog: same group, no second call",
		"once more oom-kill of Deployment/hog: same group, no second call",
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestTheSummaryCountsEventsCallsAndReasons(t *testing.T) {
	call := api.Delivery{ID: "call", EventType: "oom-kill", Group: "Deployment/hog", Outcome: delivery.OutcomeRecovered}
	open := api.Incident{Status: string(incident.Firing)}
	open.EventType, open.Workload = "pod-restart", api.Workload(incident.Workload{Kind: "Deployment", Name: "hog"})
	got := summary(facts{
		events: []api.Event{
			decided(1, "oom-kill", delivery.Delivered), decided(2, "pod-restart", delivery.Explained),
			decided(3, "oom-kill", delivery.Duplicate), decided(4, "oom-kill", delivery.Duplicate),
		},
		deliveries: []api.Delivery{call}, incidents: []api.Incident{open},
	})
	want := strings.TrimPrefix(`
TYPE          ABOUT            EVENTS   CALLS   NO CALL, BECAUSE   NOW       OUTCOME
oom-kill      Deployment/hog   3        1       2 duplicate        ended     recovered
pod-restart   Deployment/hog   1        0       1 explained        failing   -

khook recorded 4 events, and called its agent once.
`, "\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestLinesBreakBetweenWordsAndIDsStayWhole(t *testing.T) {
	const id = "6feb3c80-dc64-5bcc-a199-e5036e8699c6"
	for name, c := range map[string]struct {
		text  string
		width int
		want  []string
	}{
		"no terminal":       {"a long line of words", 0, []string{"a long line of words"}},
		"it fits":           {"a long line", 11, []string{"a long line"}},
		"between words":     {"a long line of words", 11, []string{"a long line", "of words"}},
		"an ID is wider":    {"delivery " + id + " ended", 12, []string{"delivery", id, "ended"}},
		"characters count":  {"⟦äöü⟧ ⟦äöü⟧", 5, []string{"⟦äöü⟧", "⟦äöü⟧"}},
		"lines of the text": {"one two\n\nthree", 5, []string{"one", "two", "", "three"}},
	} {
		if diff := cmp.Diff(c.want, wrap(c.text, c.width)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
}
