package main

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// TestKilledAtAnyMomentNothingIsLostAndNobodyIsCalledTwice kills khook with SIGKILL at random
// moments while Pods fail and agents work, and starts it again.
func TestKilledAtAnyMomentNothingIsLostAndNobodyIsCalledTwice(t *testing.T) {
	const kills, podsPerKill = 12, 4
	kagent := kagenttest.New(t, kagenttest.Options{Script: func(kagenttest.Message) kagenttest.Act {
		return kagenttest.Act{Work: time.Duration(rand.IntN(400)) * time.Millisecond, Answer: "done"}
	}})
	ns, dir := namespace(t), t.TempDir()
	applyHook(t, ns, "shop", incident.OOMKill, incident.PodRestart)
	khook := controller(t, settings(kagent, dir)...).ready()
	pods := 0
	for range kills {
		for range podsPerKill {
			pods++
			p := pod(t, ns, fmt.Sprintf("w%d", pods), fmt.Sprintf("w%d-abc-1", pods))
			crashLoops(t, p, 1, "OOMKilled")
		}
		select { // this is the moment, not a condition
		case <-t.Context().Done():
		case <-time.After(time.Duration(rand.IntN(150)) * time.Millisecond):
		}
		khook.kill()
		khook = controller(t, settings(kagent, dir)...)
		if rand.IntN(2) == 0 {
			khook.ready()
		}
	}
	khook.ready()
	if _, err := kagent.Await(t.Context(), pods); err != nil {
		t.Fatal(err)
	}
	history := filepath.Join(dir, "khook.db")
	var deliveries []*incident.Delivery
	eventually(t, "all deliveries have succeeded", func() error {
		deliveries = readDeliveries(t, history)
		for _, d := range deliveries {
			if d.State != incident.Succeeded {
				return fmt.Errorf("delivery of %s is %s: %s", d.Group, d.State, d.Error)
			}
		}
		if len(deliveries) < pods {
			return fmt.Errorf("%d deliveries for %d workloads", len(deliveries), pods)
		}
		return nil
	})
	if khook.stop(); len(deliveries) != pods {
		t.Errorf("%d deliveries for %d workloads", len(deliveries), pods)
	}
	for _, d := range deliveries {
		if n := kagent.Executions(d.MessageID()); n != 1 {
			t.Errorf("the agent ran the message of %s %d times", d.Group, n)
		}
	}
	if n := len(kagent.Messages()); n != pods {
		t.Errorf("agents ran %d messages for %d workloads", n, pods)
	}
	checkHistory(t, history, ns, map[incident.EventType]int{incident.OOMKill: pods, incident.PodRestart: pods})
}

func openHistory(t testing.TB, path string) *store.Store {
	t.Helper()
	st, err := store.Open(t.Context(), store.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func readDeliveries(t testing.TB, path string) []*incident.Delivery {
	t.Helper()
	st := openHistory(t, path)
	defer st.Close()
	all, err := st.AllDeliveries(t.Context(), 100_000)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// checkHistory holds the history of a namespace against what really happened: one incident with
// one event for each Pod and type.
func checkHistory(t testing.TB, path, ns string, want map[incident.EventType]int) {
	t.Helper()
	st := openHistory(t, path)
	defer st.Close()
	all, err := st.AllIncidents(t.Context(), 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	got, seen := map[incident.EventType]int{}, map[string]bool{}
	for _, inc := range all {
		if inc.Resource.Namespace != ns {
			continue
		}
		got[inc.Type]++
		slot := string(inc.Type) + "/" + inc.Resource.Name
		if seen[slot] || inc.Events != 1 {
			t.Errorf("%s has %d events, or is there twice", slot, inc.Events)
		}
		seen[slot] = true
		events, err := st.IncidentEvents(t.Context(), inc.ID, 10)
		if err != nil || len(events) != 1 {
			t.Errorf("%s: %d events, %v", slot, len(events), err)
		}
	}
	for et, n := range want {
		if got[et] != n {
			t.Errorf("%d incidents of %s, want %d", got[et], et, n)
		}
	}
}
