package store

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// record saves an incident with so many events a minute apart, that ended at its last one or goes on.
func record(t *testing.T, st *Store, key string, from time.Time, events int, ends bool, deliveries ...delivery.State) *incident.Incident {
	t.Helper()
	var inc *incident.Incident
	must(t, st.Write(t.Context(), func(tx *Tx) error {
		var c *Changes
		if inc, c = recordFor(tx, key, from, events); ends {
			inc.Resolve(incident.Recovered, inc.LastSeen)
		}
		for _, state := range deliveries {
			c.Deliveries = append(c.Deliveries, due(inc, state))
		}
		return tx.Save(t.Context(), c)
	}))
	return inc
}

func namesOf(all []*incident.Incident) string {
	var got []string
	for _, i := range all {
		got = append(got, i.Resource.Name)
	}
	return strings.Join(got, " ")
}

func TestAHooksIncidentsAreTheOpenOnesAndThenTheRecentOnesNewestFirst(t *testing.T) {
	st := openStore(t, newPath(t))
	record(t, st, "old", long.Add(-time.Hour), 1, true)
	record(t, st, "open-long", long.Add(-time.Hour), 1, false)
	record(t, st, "recent", long.Add(time.Minute), 1, true)
	record(t, st, "open-new", long.Add(2*time.Minute), 3, false)
	for limit, want := range map[int]string{10: "open-new open-long recent", 2: "open-new open-long", 1: "open-new"} {
		got, err := st.HookIncidents(t.Context(), shopHook, long, limit)
		if must(t, err); namesOf(got) != want {
			t.Errorf("the first %d are %s, want %s", limit, namesOf(got), want)
		}
	}
	other, err := st.HookIncidents(t.Context(), delivery.HookRef{Namespace: "shop", Name: "other"}, long, 10)
	if must(t, err); len(other) != 0 {
		t.Errorf("another hook has %s", namesOf(other))
	}
	n, fired, err := st.HookSummary(t.Context(), shopHook)
	if must(t, err); n != 2 || !fired.IsZero() {
		t.Errorf("%d are open, it fired at %s", n, fired)
	}
}

func TestDeliveriesAreFoundByEachIncidentThatTheyCover(t *testing.T) {
	st := openStore(t, newPath(t))
	first := record(t, st, "first", long, 2, false, delivery.Working)
	cover := func(key string, d delivery.Disposition) *incident.Incident {
		inc := record(t, st, key, long.Add(time.Minute), 1, false)
		must(t, st.Write(t.Context(), func(tx *Tx) error {
			return tx.Save(t.Context(), &Changes{Decisions: []delivery.Decision{{EventID: tx.seq - 1, IncidentID: inc.ID,
				Hook: shopHook, Config: "second", Disposition: d, DeliveryID: "delivery of first", At: long}}})
		}))
		return inc
	}
	grouped, explained := cover("grouped", delivery.Grouped), cover("explained", delivery.Explained)
	for _, tc := range []struct {
		inc  *incident.Incident
		want int
	}{{first, 1}, {grouped, 1}, {explained, 0}} {
		found, err := st.DeliveriesOfIncidents(t.Context(), []string{tc.inc.ID})
		if must(t, err); len(found) != tc.want {
			t.Errorf("%s has %d deliveries, want %d", tc.inc.Resource.Name, len(found), tc.want)
		}
	}
	ids := []string{first.ID, grouped.ID}
	for n := range 150 { // more than one statement takes
		ids = slices.Insert(ids, 1, fmt.Sprint("unknown ", n))
	}
	found, err := st.DeliveriesOfIncidents(t.Context(), ids)
	if must(t, err); len(found) != 1 {
		t.Errorf("%d deliveries for two incidents that one covers", len(found))
	}
	incidents, err := st.DeliveryIncidents(t.Context(), "delivery of first", 10)
	if must(t, err); namesOf(incidents) != "first grouped" {
		t.Errorf("it covers %s", namesOf(incidents))
	}
}

func TestWhatIsReadIsWhatWasWritten(t *testing.T) {
	st, err := Open(t.Context(), Config{Path: newPath(t), Cluster: "prod"})
	must(t, err)
	t.Cleanup(func() { must(t, st.Close()) })
	code := int32(137)
	at := long.Add(123 * time.Microsecond)
	inc := &incident.Incident{
		ID: "i", Cluster: "prod", Type: incident.OOMKill, Observation: incident.Observation{
			Resource: incident.Resource{Kind: "Pod", Namespace: "shop", Name: "cart", UID: "u"}, Container: "app",
			Workload: incident.Workload{Kind: "Deployment", Name: "cart"}, Node: "n1",
			Attributes: incident.Attributes{Pod: &incident.PodAttributes{RestartCount: 3, ExitCode: &code, Labels: map[string]string{"app": "ca\"rt"}}},
			Reason:     "OOMKilled", Message: "größer\n",
		},
		FirstSeen: at, LastSeen: at.Add(time.Hour), CausedBy: "c", Events: 7, Duplicates: 6,
		UnheardSince: at.Add(1e9), Reopenings: 2, QuietAt: at.Add(2e9), ReopenedAt: at.Add(3e9),
	}
	ev := &incident.Event{
		Key: "k", Cluster: "prod", IncidentID: "i", Type: incident.OOMKill, Status: incident.Firing, At: at, RecordedAt: at, Observation: incident.Observation{
			Resource: inc.Resource, Container: "app",
			Workload: inc.Workload, Node: "n1",
			Reason: "OOMKilled", Message: "m",
			Attributes: incident.Attributes{Pod: &incident.PodAttributes{RestartCount: 3, ExitCode: &code}},
		},
		Count: 2,
	}
	d := &delivery.Delivery{
		ID: "d", Cluster: "prod", State: delivery.Working, Hook: shopHook, HookUID: "hu", Config: "oom-kill#2", EventType: incident.OOMKill, Group: "Deployment/cart", Workload: "Deployment/cart",
		Agent: delivery.AgentRef{Namespace: "kagent", Name: "medic"}, IncidentID: "i", CatchUp: true, Prompt: "p", Data: "{}", Timeout: 90 * time.Second,
		Attempt: 2, CreatedAt: at, NextAt: at.Add(1e9), CalledAt: at.Add(2e9), EndedAt: at.Add(3e9), Dialect: "1.0", ContextID: "c", TaskID: "t",
		TaskState: "working", Answer: "a", Error: "e", VerifyUntil: at.Add(5e9), RecoveredAt: at.Add(6e9), Outcome: delivery.OutcomeUnknown, OutcomeAt: at.Add(4e9),
	}
	decision := delivery.Decision{MadeFor: delivery.ForEvent, EventType: incident.OOMKill, IncidentID: "i", Hook: shopHook, Config: "oom-kill", Disposition: delivery.Delivered, DeliveryID: "d", At: at}
	must(t, st.Write(t.Context(), func(tx *Tx) error {
		ev.ID = tx.NextEvent()
		decision.EventID = ev.ID
		return tx.Save(t.Context(), &Changes{Events: []*incident.Event{ev}, Incidents: []*incident.Incident{inc},
			Deliveries: []*delivery.Delivery{d}, Decisions: []delivery.Decision{decision}})
	}))
	gotInc, err := st.Incident(t.Context(), "i")
	must(t, err)
	gotEvents, err := st.IncidentEvents(t.Context(), "i", 10)
	must(t, err)
	gotD, err := st.Delivery(t.Context(), "d")
	must(t, err)
	gotDecisions, err := st.Reader().IncidentDecisions(t.Context(), "i", 10)
	must(t, err)
	if diff := cmp.Diff([]any{inc, []*incident.Event{ev}, d, []delivery.Decision{decision}}, []any{gotInc, gotEvents, gotD, gotDecisions}); diff != "" {
		t.Errorf("(-written +read)\n%s", diff)
	}
}

func TestOnlyWhatIsNotFinishedIsGoneOnWith(t *testing.T) {
	st := openStore(t, newPath(t))
	record(t, st, "pending", long, 1, false, delivery.Pending)
	record(t, st, "no-outcome-to-come", long.Add(time.Hour), 1, false, delivery.Failed)
	for name, from := range map[string]time.Time{"ended": long.Add(time.Hour), "window-over-long-ago": long.Add(-time.Hour)} {
		record(t, st, name, from, 1, false, delivery.Succeeded)
		d, err := st.Delivery(t.Context(), "delivery of "+name)
		must(t, err)
		d.VerifyUntil = d.EndedAt.Add(10 * time.Minute)
		must(t, st.Write(t.Context(), func(tx *Tx) error { return tx.Save(t.Context(), &Changes{Deliveries: []*delivery.Delivery{d}}) }))
	}
	got, err := st.UnfinishedDeliveries(t.Context(), long, 10)
	must(t, err)
	var ids []string
	for _, d := range got {
		ids = append(ids, d.ID)
	}
	if diff := cmp.Diff([]string{"delivery of pending", "delivery of ended"}, ids); diff != "" {
		t.Error(diff)
	}
	oldest, err := st.OldestPending(t.Context())
	if must(t, err); !oldest.Equal(long) {
		t.Errorf("the oldest is of %s", oldest)
	}
}

// TestARowThatCantBeReadKeepsNoOtherFromBeingGoneOnWith damages what one delivery keeps as JSON.
func TestARowThatCantBeReadKeepsNoOtherFromBeingGoneOnWith(t *testing.T) {
	file := newPath(t)
	st := openStore(t, file)
	record(t, st, "damaged", long, 1, false, delivery.Pending)
	record(t, st, "whole", long.Add(time.Minute), 1, false, delivery.Pending)
	must(t, st.Write(t.Context(), func(tx *Tx) error {
		_, err := tx.exec(t.Context(), "UPDATE deliveries SET reply = '{', held_back = '[' WHERE id = ?", "delivery of damaged")
		return err
	}))
	if _, err := st.Delivery(t.Context(), "delivery of damaged"); err == nil {
		t.Fatal("it is not damaged")
	}
	got, err := st.UnfinishedDeliveries(t.Context(), long, 10)
	if must(t, err); len(got) != 2 || got[0].Prompt != "" {
		t.Errorf("%+v", got)
	}
}
