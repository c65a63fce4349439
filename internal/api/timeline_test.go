package api

import (
	"fmt"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

var noon = time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)

// told are the entries of an incident's timeline, as "minute kind: text".
func told(inc *incident.Incident, decisions ...delivery.Decision) []string {
	var lines []string
	for _, e := range IncidentTimeline(inc, nil, decisions, nil, nil) {
		lines = append(lines, fmt.Sprintf("%d %s: %s", int(e.At.Sub(noon).Minutes()), e.Kind, e.Text))
	}
	return lines
}

func TestAStorySaysThatAnIncidentIsOpenAgainAndThatItsNodeIsLost(t *testing.T) {
	inc := &incident.Incident{
		Type: incident.PodPending, Observation: incident.Observation{Resource: incident.Resource{Kind: "Pod", Namespace: "shop", Name: "cart-1"}, Node: "n1"},
		FirstSeen: noon, LastSeen: noon,
	}
	inc.Resolve(incident.Quiet, noon.Add(10*time.Minute))
	if !inc.Reopen(noon.Add(30 * time.Minute)) {
		t.Fatal("it is not opened again")
	}
	inc.Unheard(noon.Add(40 * time.Minute))
	want := []string{
		"30 reopened: " + inc.Subject() + ": it had ended as quiet at 2026-01-15T12:10:00Z, and is seen to go on: open again",
		"40 unheard: " + inc.Subject() + ": nothing is heard of node n1 since, so nobody knows whether it goes on",
	}
	if got := told(inc); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for times, word := range map[int64]string{2: "2nd", 3: "3rd", 11: "11th", 22: "22nd", 112: "112th"} {
		inc.Reopenings = times
		if got := told(inc)[0]; got != want[0]+", for the "+word+" time" {
			t.Errorf("%d times: %q", times, got)
		}
	}
}

func TestAStorySaysWhyACallWasMadeWithoutAnEvent(t *testing.T) {
	inc := &incident.Incident{FirstSeen: noon, LastSeen: noon}
	for why, text := range map[delivery.MadeFor]string{
		delivery.ForEvent: "a call to its agent is scheduled", delivery.ForOngoing: "its agent is called again because the problem goes on",
		delivery.ForResume: "its agent is called because a person let calls through again",
	} {
		d := delivery.Decision{MadeFor: why, Hook: delivery.HookRef{Namespace: "shop", Name: "h"}, Config: "c", Disposition: delivery.Delivered, At: noon}
		if got := told(inc, d); fmt.Sprint(got) != "[0 decision: Hook shop/h (c): delivered, "+text+"]" {
			t.Errorf("%s: %q", why, got)
		}
	}
}

func TestAStorySaysThatACallHelpedOnlyForAWhile(t *testing.T) {
	d := &delivery.Delivery{Outcome: delivery.OutcomeRelapsed, RecoveredAt: noon.Add(6 * time.Minute), OutcomeAt: noon.Add(9 * time.Minute)}
	var got []string
	for _, e := range milestones(d) {
		got = append(got, fmt.Sprintf("%d %s", int(e.At.Sub(noon).Minutes()), e.Text))
	}
	if want := "[6 recovered for 3m0s 9 outcome: relapsed: it failed again]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
	if shaped := DeliveryOf(d); shaped.RelapseSeconds != 180 || shaped.RecoverySeconds != 0 || shaped.RecoveredIn != "" {
		t.Errorf("%+v", shaped)
	}
}
