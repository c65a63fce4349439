package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

var long = time.Date(2026, 1, 15, 10, 0, 0, 0, time.UTC)

var (
	shopHook  = delivery.HookRef{Namespace: "shop", Name: "h"}
	shopGroup = delivery.GroupKey{Hook: shopHook, Config: "pod-restart", Group: "Pod/k"}
)

// recordFor is an incident with so many events, a minute apart, about each of which a hook decided.
func recordFor(tx *Tx, key string, from time.Time, events int) (*incident.Incident, *Changes) {
	c := &Changes{}
	var inc *incident.Incident
	for n := range events {
		s := &incident.Signal{
			Key: fmt.Sprintf("%s %d", key, n), Kind: incident.Observed, Type: incident.PodRestart, At: from.Add(time.Duration(n) * time.Minute),
			Observation: incident.Observation{Resource: incident.Resource{Kind: "Pod", Namespace: "shop", Name: key, UID: key}},
		}
		if inc == nil {
			inc = incident.Open(incident.Origin{}, s)
		} else {
			inc.Observe(s)
		}
		ev := incident.NewEvent(inc, s, s.At)
		ev.ID = tx.NextEvent()
		c.Events = append(c.Events, ev)
		c.Decisions = append(c.Decisions, delivery.Decision{
			EventID: ev.ID, IncidentID: inc.ID, Hook: shopHook, Config: "pod-restart",
			Disposition: delivery.Delivered, DeliveryID: "delivery of " + key, At: s.At,
		})
	}
	c.Incidents = []*incident.Incident{inc}
	return inc, c
}

func due(inc *incident.Incident, state delivery.State) *delivery.Delivery {
	d := &delivery.Delivery{ID: "delivery of " + inc.Resource.Name, State: state, Hook: shopHook, Config: "pod-restart", IncidentID: inc.ID, CreatedAt: inc.FirstSeen}
	if state.Ended() {
		d.EndedAt = inc.FirstSeen.Add(time.Minute)
	}
	return d
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestPruneTakesWhatIsOverAndLeavesWhatIsNot(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(long)
	st, err := Open(t.Context(), Config{Engine: pgtest.Engine(t, ":memory:"), Path: newPath(t), Clock: clock})
	must(t, err)
	defer st.Close()
	for key, of := range map[string]struct {
		events int
		ends   bool
		state  delivery.State
	}{
		"over":        {3*pruneRows + 7, true, delivery.Succeeded},
		"called":      {5, true, delivery.Working},
		"goes-on":     {2*pruneRows + 3, false, delivery.Succeeded},
		"over-shorty": {1, true, delivery.Failed},
	} {
		must(t, st.Write(t.Context(), func(tx *Tx) error {
			inc, c := recordFor(tx, key, long, of.events)
			if of.ends {
				inc.Resolve(incident.Recovered, inc.LastSeen)
			}
			c.Deliveries = []*delivery.Delivery{due(inc, of.state)}
			c.Decisions = append(c.Decisions, delivery.Decision{
				MadeFor: delivery.ForOngoing, EventType: inc.Type, IncidentID: inc.ID, Hook: shopHook, Config: "pod-restart",
				Disposition: delivery.Delivered, DeliveryID: c.Deliveries[0].ID, At: inc.FirstSeen,
			})
			return tx.Save(t.Context(), c)
		}))
	}
	clock.SetTime(long.Add(72 * time.Hour))
	must(t, st.Write(t.Context(), func(tx *Tx) error {
		inc, c := recordFor(tx, "fresh", clock.Now(), 3)
		inc.Resolve(incident.Recovered, inc.LastSeen)
		return tx.Save(t.Context(), c)
	}))

	_, err = st.Prune(t.Context(), long.Add(48*time.Hour))
	must(t, err)
	for what, n := range map[string]int{
		"incidents":      3, // called, goes-on, fresh
		"events":         1 + 1 + 3,
		"decisions":      1 + 1 + 3 + 1, // that of the call that goes on
		"hook_incidents": 3,
		"deliveries":     1, // called
		"changes":        3 + 1 + 1,
		"event_counts WHERE span = 1 AND namespace <> '*' AND type <> '*'":                        3 + 1,
		"hook_counts WHERE span = 1":                                                              3,
		"events WHERE incident_id NOT IN (SELECT id FROM incidents)":                              0,
		"decisions WHERE event_id NOT IN (SELECT id FROM events)":                                 1,
		"decisions WHERE made_for = 'ongoing' AND delivery_id NOT IN (SELECT id FROM deliveries)": 0,
		"incidents WHERE id NOT IN (SELECT incident_id FROM events)":                              0,
	} {
		if got := count(t, st, what); got != n {
			t.Errorf("%d %s, want %d", got, what, n)
		}
	}
	deleted, err := st.Prune(t.Context(), long.Add(48*time.Hour))
	if must(t, err); deleted != 0 {
		t.Errorf("a second time it deleted %d rows", deleted)
	}
}

// TestPruneKeepsTheConfigurationsOfHooksThatHaveAHistory holds that no history is left whose configurations are not known.
func TestPruneKeepsTheConfigurationsOfHooksThatHaveAHistory(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(long)
	st, err := Open(t.Context(), Config{Engine: pgtest.Engine(t, ":memory:"), Path: newPath(t), Clock: clock})
	must(t, err)
	defer st.Close()
	configs := []delivery.Configuration{{Key: "pod-restart"}, {Key: "oom-kill"}}
	hooks := map[string]delivery.HookRef{"with a delivery": shopHook, "with a group": {Namespace: "shop", Name: "g"}, "with nothing": {Namespace: "shop", Name: "n"}}
	must(t, st.Write(t.Context(), func(tx *Tx) error {
		for _, ref := range hooks {
			must(t, tx.SaveConfigurations(t.Context(), ref, configs))
		}
		inc, c := recordFor(tx, "k", long, 1)
		c.Deliveries = []*delivery.Delivery{due(inc, delivery.Working)}
		c.Groups = []*delivery.GroupState{{GroupKey: delivery.GroupKey{Hook: hooks["with a group"]}, HoldEnds: long.Add(9 * 24 * time.Hour)}}
		return tx.Save(t.Context(), c)
	}))
	for _, step := range []struct {
		after time.Duration
		keeps []string
	}{
		{configurationsKept - time.Hour, []string{"with a delivery", "with a group", "with nothing"}},
		{configurationsKept + time.Hour, []string{"with a delivery", "with a group"}},
	} {
		clock.SetTime(long.Add(step.after))
		_, err := st.Prune(t.Context(), clock.Now())
		must(t, err)
		must(t, st.Write(t.Context(), func(tx *Tx) error {
			for name, ref := range hooks {
				found, err := tx.Configurations(t.Context(), ref)
				must(t, err)
				if kept := slices.Contains(step.keeps, name); kept && len(found) != 2 || !kept && len(found) != 0 {
					t.Errorf("%s later a hook %s has %d configurations", step.after, name, len(found))
				}
			}
			return nil
		}))
	}
}

func TestPruneEndsWithItsContext(t *testing.T) {
	st := openStore(t, newPath(t))
	must(t, st.Write(t.Context(), func(tx *Tx) error {
		inc, c := recordFor(tx, "over", long, 3*pruneRows)
		inc.Resolve(incident.Recovered, inc.LastSeen)
		return tx.Save(t.Context(), c)
	}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := st.Prune(ctx, time.Now()); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	_, err := st.Prune(t.Context(), time.Now())
	if must(t, err); count(t, st, "events") != 0 {
		t.Error("what it left it does not find again")
	}
}

func TestClustersInOneDatabaseDoNotSeeEachOther(t *testing.T) {
	file := newPath(t)
	for _, cluster := range []string{"one", "two"} {
		st, err := Open(t.Context(), Config{Engine: pgtest.Engine(t, file), Path: file, Cluster: cluster, ClusterUID: "uid of " + cluster})
		must(t, err)
		defer st.Close()
		must(t, st.Write(t.Context(), func(tx *Tx) error {
			if known, err := tx.KnownKeys(t.Context(), []string{"k 0"}); err != nil || len(known) > 0 {
				t.Errorf("%s knows %v, %v", cluster, known, err)
			}
			for range 2 {
				group, err := tx.GroupDeliveries(t.Context(), shopGroup, 10)
				n, again := tx.CountDeliveries(t.Context(), shopHook, "pod-restart", long, 10)
				if errors.Join(err, again) != nil || len(group) != n || n > 1 || n == 1 && group[0].Cluster != cluster {
					t.Errorf("%s sees %d deliveries, counts %d, %v, %v", cluster, len(group), n, err, again)
				}
				inc, c := recordFor(tx, "k", long, 1)
				inc.Cluster = cluster // and the same ID: what is of another cluster is another thing
				d := due(inc, delivery.Pending)
				d.Cluster, d.Group = cluster, "Pod/k"
				c.Events[0].Cluster, c.Decisions[0].IncidentID = cluster, inc.ID
				c.Deliveries = []*delivery.Delivery{d}
				if n == 0 {
					must(t, tx.Save(t.Context(), c))
				}
			}
			return nil
		}))
		if _, last, err := st.HookSummary(t.Context(), shopHook); err != nil || last.IsZero() {
			t.Errorf("the last delivery of %s: %s, %v", cluster, last, err)
		}
		incidents, err := st.HookIncidents(t.Context(), shopHook, long, 10)
		if must(t, err); len(incidents) != 1 || incidents[0].Cluster != cluster {
			t.Errorf("%s has %d incidents", cluster, len(incidents))
		}
	}
}
