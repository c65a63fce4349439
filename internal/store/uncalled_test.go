package store

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// uncalledTrial is a history of failures, each of a workload of its own unless it says otherwise.
type uncalledTrial struct {
	*testing.T
	store *Store
	c     Changes
}

func (u *uncalledTrial) fails(name string, at time.Duration, change ...func(*incident.Incident)) *incident.Incident {
	s := incident.Signal{Key: name, Kind: incident.Observed, Type: incident.PodRestart, At: long.Add(at), Observation: incident.Observation{
		Resource: incident.Resource{Kind: "Pod", Namespace: "shop", Name: name, UID: name}, Workload: incident.Workload{Kind: "Deployment", Name: name},
	}}
	inc := incident.Open(incident.Origin{}, &s)
	for _, c := range change {
		c(inc)
	}
	u.c.Incidents = append(u.c.Incidents, inc)
	return inc
}

// calls makes a call of any Hook of the namespace for an incident, which takes two minutes.
func (u *uncalledTrial) calls(inc *incident.Incident, at time.Duration, change ...func(*delivery.Delivery)) {
	d := due(inc, delivery.Failed)
	d.ID, d.Hook.Name, d.Workload, d.CreatedAt, d.EndedAt = "call for "+inc.Resource.Name, "another", inc.Workload.String(), long.Add(at), long.Add(at+2*time.Minute)
	for _, c := range change {
		c(d)
	}
	u.c.Deliveries = append(u.c.Deliveries, d)
}

// TestFailuresThatSomebodyMayHaveBeenCalledForAreNoBaseline: neither for them, nor for their causes, nor for their workload within the window.
func TestFailuresThatSomebodyMayHaveBeenCalledForAreNoBaseline(t *testing.T) {
	u := &uncalledTrial{T: t, store: openStore(t, newPath(t))}
	of := func(workload string) func(*incident.Incident) {
		return func(i *incident.Incident) { i.Workload.Name = workload }
	}
	by := func(cause *incident.Incident) func(*incident.Incident) {
		return func(i *incident.Incident) { i.CausedBy = cause.ID }
	}
	typed := func(i *incident.Incident) { i.Type = incident.OOMKill }
	u.fails("nobody was called", 0)
	u.calls(u.fails("called for", time.Hour), time.Hour)
	u.calls(u.fails("not called after all", time.Hour), time.Hour, func(d *delivery.Delivery) { d.Skipped = delivery.SkipRecovered })
	cause := u.fails("cause", time.Hour, typed)
	u.calls(cause, -9*time.Hour)
	effect := u.fails("effect", time.Hour, by(cause))
	u.fails("effect of the effect", time.Hour, by(effect))
	u.calls(u.fails("web-1", -3*time.Hour, of("web")), time.Hour)
	u.fails("web-2, while its agent works", time.Hour+time.Minute, of("web"))
	u.fails("web-3, within the window after it", time.Hour+11*time.Minute, of("web"))
	u.fails("web-4, after that", time.Hour+13*time.Minute, of("web"))
	u.fails("web-5, within the window before it", 51*time.Minute, of("web"))
	u.fails("web-6, before that", 49*time.Minute, of("web"))
	u.fails("web of another namespace", time.Hour, of("web"), func(i *incident.Incident) { i.Resource.Namespace = "other" })
	u.calls(u.fails("cart-1", -30*time.Hour, of("cart")), -30*time.Hour, func(d *delivery.Delivery) { d.EndedAt, d.State = time.Time{}, delivery.Working })
	u.fails("cart-2, while its agent works", time.Hour, of("cart"))
	covered := u.fails("told with another", time.Hour)
	u.c.Covers = []DeliveryIncident{{"call for called for", covered.ID}}
	u.fails("of another type", time.Hour, typed)
	u.fails("out of the range", 3*time.Hour)
	must(t, u.store.Write(t.Context(), func(tx *Tx) error { return tx.Save(t.Context(), &u.c) }))
	q := UncalledQuery{Namespace: "shop", Type: incident.PodRestart, From: long, To: long.Add(2 * time.Hour), Window: 10 * time.Minute, Limit: 100}
	want := []string{"nobody was called", "web-6, before that", "not called after all", "web-4, after that"}
	if diff := cmp.Diff(want, u.uncalled(q)); diff != "" {
		t.Error(diff)
	}
	q.Limit = 2 // the newest, called for or not
	if diff := cmp.Diff([]string{"web-4, after that"}, u.uncalled(q)); diff != "" {
		t.Error(diff)
	}
}

func (u *uncalledTrial) uncalled(q UncalledQuery) (names []string) {
	u.Helper()
	found, err := u.store.Reader().Uncalled(u.Context(), q)
	must(u.T, err)
	for _, inc := range found {
		names = append(names, inc.Resource.Name)
	}
	return names
}

func TestTheBaselineIsReadByIndexes(t *testing.T) {
	st := openStore(t, newPath(t))
	steps := planOf(t, st, st.Reader().uncalled())
	for _, step := range steps {
		if strings.HasPrefix(step, "SCAN ") && step != "SCAN counted" || strings.HasSuffix(step, "(cluster=?)") {
			t.Error(step)
		}
	}
	for _, index := range []string{"incidents_namespace_type (cluster=? AND namespace=? AND type=? AND first_seen>? AND first_seen<?)", "deliveries_calls (cluster=? AND hook_ns=? AND workload=? AND created_at>? AND created_at<?)"} {
		if !slices.ContainsFunc(steps, func(step string) bool { return strings.HasSuffix(step, index) }) {
			t.Errorf("no step uses %s:\n%s", index, strings.Join(steps, "\n"))
		}
	}
}
