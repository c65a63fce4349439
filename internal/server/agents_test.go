package server

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// TestAgentsAreJudgedByWhatBecameOfTheirCalls counts calls of each end, by hand.
func TestAgentsAreJudgedByWhatBecameOfTheirCalls(t *testing.T) {
	now := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	medic, other := delivery.AgentRef{Namespace: "kagent", Name: "medic"}, delivery.AgentRef{Namespace: "kagent", Name: "other"}
	made := now.Add(-time.Hour)
	of := func(a delivery.AgentRef, state delivery.State, change func(*delivery.Delivery)) delivery.Delivery {
		d := delivery.Delivery{Agent: a, Hook: memory, EventType: incident.OOMKill, State: state, CreatedAt: made, CalledAt: made.Add(10 * time.Second)}
		if state.Ended() {
			d.EndedAt = made.Add(70 * time.Second)
		}
		if change != nil {
			change(&d)
		}
		return d
	}
	becomes := func(o delivery.Outcome, after time.Duration) func(*delivery.Delivery) {
		return func(d *delivery.Delivery) {
			d.Outcome, d.OutcomeAt, d.RecoveredAt = o, made.Add(after), made.Add(after)
		}
	}
	stats := agentStats([]delivery.Delivery{
		of(other, delivery.Succeeded, nil),
		of(medic, delivery.Succeeded, becomes(delivery.OutcomeRecovered, 5*time.Second)),
		of(medic, delivery.Succeeded, becomes(delivery.OutcomeRecovered, 30*time.Second)),
		of(medic, delivery.Succeeded, becomes(delivery.OutcomeRecovered, 5*time.Minute)),
		of(medic, delivery.Succeeded, becomes(delivery.OutcomeRelapsed, 5*time.Minute)),
		of(medic, delivery.Failed, becomes(delivery.OutcomePersisting, 5*time.Minute)),
		of(medic, delivery.Succeeded, becomes(delivery.OutcomeUnknown, 5*time.Minute)),
		of(medic, delivery.Succeeded, func(d *delivery.Delivery) { d.VerifyUntil, d.EventType = now.Add(time.Minute), incident.PodRestart }),
		of(medic, delivery.InputRequired, func(d *delivery.Delivery) { d.Replies, d.Usage.Total = 2, 100 }),
		of(medic, delivery.Pending, func(d *delivery.Delivery) { d.CalledAt = time.Time{} }),
		of(medic, delivery.Canceled, func(d *delivery.Delivery) { d.Skipped, d.CalledAt = delivery.SkipRecovered, time.Time{} }),
	}, now)
	if len(stats) != 2 || stats[0].Agent.Name != "medic" || stats[1].Calls != 1 {
		t.Fatalf("%+v", stats)
	}
	a := stats[0]
	if a.Calls != 8 || a.Answered != 6 || a.Failed != 1 || a.Open != 2 || a.Skipped != 1 || a.Questions != 3 || a.Tokens != 100 || len(a.Hooks) != 1 {
		t.Errorf("%+v", a)
	}
	o := a.Outcomes
	if o.Recovered != 3 || o.RecoveredBeforeCall != 1 || o.RecoveredDuringTask != 1 || o.RecoveredAfterTask != 1 || o.Relapsed != 1 || o.Persisting != 1 || o.Unknown != 1 || o.Open != 2 || *o.Effectiveness != 60 {
		t.Errorf("%+v", o)
	}
	if *a.Answer.P50 != 60 || a.Answer.Samples != 6 || *a.Recovery.P50 != 30 || *a.Recovery.P95 != 300 {
		t.Errorf("%+v %+v", a.Answer, a.Recovery)
	}
	if oom := a.ByType[incident.OOMKill]; oom != (api.AgentCount{Calls: 7, Answered: 5, Recovered: 3, Known: 5}) || a.ByType[incident.PodRestart].Calls != 1 {
		t.Errorf("%+v", a.ByType)
	}
}

func TestAgentsAreToldToWhoMayReadTheHooksThatCallThem(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Access = people() })
	f.make(t, func(d *delivery.Delivery) {
		d.State, d.CalledAt, d.EndedAt = delivery.Succeeded, time.Now(), time.Now()
	})
	for path, want := range map[string]int{"/agents?namespace=shop": http.StatusOK, "/agents": http.StatusForbidden, "/agents?namespace=shop&agent=medic": http.StatusBadRequest} {
		if w := f.as("viewer", http.MethodGet, api.Base+path, ""); w.Code != want {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	var all api.Agents
	if err := json.Unmarshal(f.as("viewer", http.MethodGet, api.Base+"/agents?namespace=shop&agent=kagent%2Fmedic", "").Body.Bytes(), &all); err != nil || len(all.Items) != 1 || all.Items[0].Calls < 1 {
		t.Errorf("%+v, %v", all, err)
	}
	if body := f.as("elsewhere", http.MethodGet, api.Base+"/agents?namespace=pay", "").Body.String(); strings.Contains(body, "medic") {
		t.Errorf("another namespace's calls are told: %s", body)
	}
}
