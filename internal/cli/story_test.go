package cli

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
)

// toldCall is a call that took a while, with the timeline and the log that the API has of it.
func toldCall() api.DeliveryDetail {
	at := time.Date(2026, 1, 15, 10, 0, 0, 0, time.Local)
	after := func(n int) time.Time { return at.Add(time.Duration(n) * time.Second) }
	return api.DeliveryDetail{
		Delivery: api.Delivery{
			ID: anID, State: delivery.Succeeded, Attempt: 1, Hook: api.Name{Namespace: "shop", Name: "memory"}, Agent: api.Name{Namespace: "kagent", Name: "medic"}, Group: "Deployment/cart",
			CreatedAt: at, CalledAt: after(1), EndedAt: after(9), Prompt: "why?", Answer: "raise the limit", Outcome: delivery.OutcomeRecovered, RecoveredIn: delivery.DuringTask, RecoverySeconds: 7,
		},
		Log: []api.LogEntry{
			{At: after(2), Kind: delivery.EntryCall, Text: "attempt 1: the agent took the message"},
			{At: after(3), Kind: delivery.EntryState, State: "working"},
			{At: after(4), Kind: delivery.EntryToolCall, By: "agent", Name: "get_pods", Text: `{"ns":"shop"}`},
			{At: after(8), Kind: delivery.EntryArtifact, By: "agent", Text: "raise the limit"},
			{At: after(9), Kind: delivery.EntryState, State: "completed"},
		},
		Timeline: []api.TimelineEntry{
			{At: after(-5), Kind: "event", Text: "oom-kill of cart-1 was first seen"},
			{At: at, Kind: "delivery", DeliveryID: anID, Text: "Hook shop/memory makes a call due"}, {At: after(1), Kind: "delivery", DeliveryID: anID, Text: "agent kagent/medic was called (attempt 1)"},
			{At: after(2), Kind: "delivery", DeliveryID: anID, Text: "attempt 1: the agent took the message"}, {At: after(9), Kind: "delivery", DeliveryID: anID, Text: "agent kagent/medic finished its task"},
			{At: after(7), Kind: "resolution", Text: "cart-1: seen healthy again, after 12s"},
		},
	}
}

func TestCLITellsTheAnswerFirstAndNothingTwice(t *testing.T) {
	url := answers(t, func(*http.Request) any { return toldCall() })
	_, out, _ := khook(t, "deliveries", "show", anID, "--server", url)
	_, story, _ := strings.Cut(out, "\n\n")
	if diff := cmp.Diff(strings.Split(`Answer:
  raise the limit

Outcome: recovered while the agent worked
It took 7s from the call being due to recovery.

Timeline, in UTC:
  2026-01-15 09:59:55  oom-kill of cart-1 was first seen
  2026-01-15 10:00:00  call to kagent/medic about Deployment/cart for Hook shop/memory: called 10:00:01, taken 10:00:02, working 10:00:03, finished 10:00:09
  2026-01-15 10:00:04  the agent calls get_pods {"ns":"shop"}
  2026-01-15 10:00:07  cart-1: seen healthy again, after 12s

Prompt to kagent/medic (delivery `+anID+`, succeeded):
  why?
`, "\n"), strings.Split(story, "\n")); diff != "" {
		t.Error(diff)
	}
}

func TestCLITellsTheQuestionFirst(t *testing.T) {
	d := toldCall()
	d.State, d.Answer, d.Outcome, d.RecoveredIn, d.RecoverySeconds, d.EndedAt = delivery.InputRequired, "", "", "", 0, time.Time{}
	d.Question, d.QuestionID = "May I delete the Pod?", "q'1"
	d.Log = append(d.Log[:3], api.LogEntry{At: d.CreatedAt.Add(5 * time.Second), Kind: delivery.EntryState, State: "input-required"}, api.LogEntry{At: d.CreatedAt.Add(5 * time.Second), Kind: delivery.EntryQuestion, Text: d.Question})
	url := answers(t, func(r *http.Request) any {
		if strings.Contains(r.URL.Path, "/incidents/") {
			return api.IncidentDetail{Incident: api.Incident{ID: anID}, Deliveries: []api.Delivery{d.Delivery}, Timeline: d.Timeline}
		}
		return d
	})
	_, out, _ := khook(t, "deliveries", "show", anID, "--server", url)
	_, story, _ := strings.Cut(out, "\n\n")
	if !strings.HasPrefix(story, "The agent asks, and has waited for ") || !strings.Contains(story, `Answer: khook deliveries reply `+anID+` --question 'q'\''1' "..."`+"\n\nTimeline, in ") ||
		!strings.Contains(story, "working 10:00:03, input-required 10:00:05\n") || strings.Count(story, "May I delete the Pod?") != 2 {
		t.Errorf("%s", story)
	}
	_, out, _ = khook(t, "incidents", "show", anID, "--server", url)
	_, story, _ = strings.Cut(out, "\n\n")
	if !strings.HasPrefix(story, "Question of kagent/medic (delivery "+anID+", input-required):\n  May I delete the Pod?\n") || strings.Count(story, "kagent/medic") != 3 || !strings.Contains(story, "called 10:00:01; delivery") {
		t.Errorf("%s", story)
	}
}

// TestCLITellsEachCallOfAnIncidentInALine: the API's timeline has several for each.
func TestCLITellsEachCallOfAnIncidentInALine(t *testing.T) {
	d := toldCall()
	failed := d.Delivery
	failed.ID, failed.State, failed.Attempt, failed.Answer, failed.Error, failed.EndedAt = "7bb12b53-7f03-5f1b-8118-075e1fe1a03b", delivery.Failed, 3, "", "kagent is gone", d.CreatedAt.Add(48*time.Hour)
	other := api.TimelineEntry{At: d.CreatedAt, Kind: "delivery", Text: "of a call that is not shown", DeliveryID: "another"}
	url := answers(t, func(*http.Request) any {
		return api.IncidentDetail{Incident: api.Incident{ID: anID}, Deliveries: []api.Delivery{d.Delivery, failed}, Timeline: append(d.Timeline, other)}
	})
	_, out, _ := khook(t, "incidents", anID, "--server", url)
	for want, n := range map[string]int{
		"\n  2026-01-15 10:00:00  call to kagent/medic about Deployment/cart for Hook shop/memory: called 10:00:01, finished 10:00:09; delivery " + anID + "\n": 1,
		": called (attempt 3) 10:00:01, failed 2026-01-17 10:00:00; delivery " + failed.ID + "\n":                                                               1,
		"was called (attempt 1)": 0, "of a call that is not shown": 1, "seen healthy again": 1, "\nAnswer of kagent/medic (delivery " + anID + ", succeeded):\n  raise the limit\n": 1,
		"\nError of kagent/medic (delivery " + failed.ID + ", failed):\n  kagent is gone\n": 1,
	} {
		if got := strings.Count(out, want); got != n {
			t.Errorf("%d times %q in\n%s", got, want, out)
		}
	}
}
