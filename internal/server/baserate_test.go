package server

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// failures are incidents of two hours ago in the namespace of its own, none of which an agent was called for.
type failures struct {
	*fixture
	namespace string
	ago       time.Time
	all       []*incident.Incident
}

func newFailures(t *testing.T, change func(*v1alpha2.Hook)) *failures {
	f := &failures{namespace: "baseline", ago: time.Now().Add(-2 * time.Hour)}
	h := theHook()
	h.Namespace = f.namespace
	change(h)
	set := hook.NewSet(hook.Policy{AgentNamespaces: []string{"kagent"}})
	set.Put(h)
	f.fixture = newFixture(t, func(c *Config) { c.Configurations, c.VerifyWindow = set.Of, 10*time.Minute })
	return f
}

// fails adds an incident of a workload, which began some minutes after the others; it ends with a resolution after some more, or not at all.
func (f *failures) fails(workload string, after, lasts float64, resolution incident.Resolution, change ...func(*incident.Incident)) {
	minutes := func(m float64) time.Duration { return time.Duration(m * float64(time.Minute)) }
	name := fmt.Sprintf("%s-%d", workload, len(f.all))
	s := incident.Signal{Key: name, Kind: incident.Observed, Type: incident.OOMKill, At: f.ago.Add(minutes(after)), Count: 1, Observation: incident.Observation{
		Resource: incident.Resource{Kind: "Pod", Namespace: f.namespace, Name: name, UID: name}, Workload: incident.Workload{Kind: "Deployment", Name: workload}, Container: "app",
	}}
	inc := incident.Open(incident.Origin{}, &s)
	if resolution != "" {
		inc.Resolve(resolution, inc.FirstSeen.Add(minutes(lasts)))
	}
	for _, c := range change {
		c(inc)
	}
	f.all = append(f.all, inc)
}

func (f *failures) baseRate(t *testing.T, name string) *api.BaseRate {
	t.Helper()
	if err := f.store.Write(t.Context(), func(tx *store.Tx) error {
		return tx.Save(t.Context(), &store.Changes{Incidents: f.all})
	}); err != nil {
		t.Fatal(err)
	}
	answer := askServer(f.Server, "GET", "/api/v1/stats/hooks/"+f.namespace+"/"+name+"/metrics?timeRange=24h", "")
	var m api.HookMetrics
	if err := json.Unmarshal(answer.Body.Bytes(), &m); err != nil || answer.Code != 200 {
		t.Fatalf("%d %v: %s", answer.Code, err, answer.Body)
	}
	return m.Outcomes.BaseRate
}

// TestEffectivenessIsHeldAgainstWhatEndsWithoutACall: by the same rule and window as with one.
func TestEffectivenessIsHeldAgainstWhatEndsWithoutACall(t *testing.T) {
	const recovered, gone = incident.Recovered, incident.WasGone
	f := newFailures(t, func(*v1alpha2.Hook) {})
	f.fails("recovers", 0, 3, recovered)
	f.fails("recovers too late", 0, 11, recovered)
	f.fails("goes on", 0, 0, "")
	f.fails("was deleted", 0, 3, gone)
	f.fails("fails again", 0, 3, recovered)
	f.fails("fails again", 5, 1, recovered)
	f.fails("fails again after the window", 0, 3, recovered)
	f.fails("fails again after the window", 15, 3, recovered)
	f.fails("window not over", 119, 0, "")
	f.fails("of a type that the Hook does not name", 0, 3, recovered, func(i *incident.Incident) { i.Type = "other" })
	want := &api.BaseRate{Failures: 7, Recovered: 3, Relapsed: 1, Persisting: 2, Unknown: 1}
	if diff := cmp.Diff(want, f.baseRate(t, "memory")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for n := range 4 {
		f.fails(fmt.Sprint("more ", n), 0, 3, recovered)
	}
	rate := 70.0
	want = &api.BaseRate{Failures: 11, Recovered: 7, Relapsed: 1, Persisting: 2, Unknown: 1, Rate: &rate}
	if diff := cmp.Diff(want, f.baseRate(t, "memory")); diff != "" {
		t.Errorf("with ten known ones (-want +got)\n%s", diff)
	}
	if b := f.baseRate(t, "deleted"); b != nil {
		t.Errorf("of a Hook that is not there: %+v", b)
	}
}

// TestTheBaselineIsOfWhatTheHookIsAbout: its match expression leaves out the rest.
func TestTheBaselineIsOfWhatTheHookIsAbout(t *testing.T) {
	f := newFailures(t, func(h *v1alpha2.Hook) {
		for i := range h.Spec.EventConfigurations {
			h.Spec.EventConfigurations[i].Match = `event.workloadName.startsWith("cart")`
		}
	})
	f.fails("cart", 0, 3, incident.Recovered)
	f.fails("web", 0, 0, "")
	want := &api.BaseRate{Failures: 1, Recovered: 1}
	if diff := cmp.Diff(want, f.baseRate(t, "memory")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestOutcomesAreCountedWithTheirPhases: and those to come, which a call that was not made does not have.
func TestOutcomesAreCountedWithTheirPhases(t *testing.T) {
	f := newFailures(t, func(*v1alpha2.Hook) {})
	at := func(minutes int) time.Time { return f.ago.Add(time.Duration(minutes) * time.Minute) }
	recovers := func(when int) func(*delivery.Delivery) {
		return func(d *delivery.Delivery) {
			d.Outcome, d.OutcomeAt, d.RecoveredAt = delivery.OutcomeRecovered, at(when), at(when)
		}
	}
	c := &store.Changes{}
	for n, change := range []func(*delivery.Delivery){
		recovers(0), recovers(2), recovers(3), recovers(8),
		func(d *delivery.Delivery) {
			d.Outcome, d.OutcomeAt, d.RecoveredAt = delivery.OutcomeRelapsed, at(8), at(6)
		},
		func(d *delivery.Delivery) { d.Outcome, d.OutcomeAt = delivery.OutcomePersisting, at(15) },
		func(d *delivery.Delivery) { d.VerifyUntil = time.Now().Add(time.Hour) },
		func(d *delivery.Delivery) { d.VerifyUntil = time.Now().Add(-delivery.MaxDown - time.Minute) }, // khook was down
		func(d *delivery.Delivery) { d.State, d.EndedAt = delivery.Working, time.Time{} },
		func(d *delivery.Delivery) { d.State, d.Skipped = delivery.Canceled, delivery.SkipRecovered },
		func(d *delivery.Delivery) { d.State = delivery.Failed },
	} {
		d := &delivery.Delivery{ID: fmt.Sprint("d", n), State: delivery.Succeeded, Hook: delivery.HookRef{Namespace: f.namespace, Name: "memory"}, CreatedAt: at(0), CalledAt: at(1), EndedAt: at(5)}
		change(d)
		c.Deliveries = append(c.Deliveries, d)
	}
	if err := f.store.Write(t.Context(), func(tx *store.Tx) error { return tx.Save(t.Context(), c) }); err != nil {
		t.Fatal(err)
	}
	answer := askServer(f.Server, "GET", "/api/v1/stats/hooks/"+f.namespace+"/memory/metrics", "")
	var m api.HookMetrics
	if err := json.Unmarshal(answer.Body.Bytes(), &m); err != nil {
		t.Fatal(err)
	}
	share := 66.7
	want := api.HookOutcomes{Recovered: 4, RecoveredBeforeCall: 1, RecoveredDuringTask: 2, RecoveredAfterTask: 1, Relapsed: 1, Persisting: 1, Open: 2, Effectiveness: &share, BaseRate: &api.BaseRate{}}
	if diff := cmp.Diff(want, m.Outcomes); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
