package cli

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

var updateWidths = flag.Bool("update", false, "write testdata/widths anew")

// What is shown of one bad night, at a moment of it.
var (
	thatNight = time.Date(2026, 11, 27, 3, 0, 0, 0, time.UTC)
	night     = struct {
		events     []api.Event
		incidents  []api.Incident
		deliveries []api.Delivery
		hooks      []api.Hook
	}{
		events: []api.Event{
			{ID: 412, IncidentID: anID, Status: incident.Firing, Timestamp: thatNight.Add(-3 * time.Minute), Subject: ofCart("cart-7d4b9c-x2x9k"), Count: 1},
			{ID: 1398, IncidentID: anID, Status: incident.Duplicate, Timestamp: thatNight.Add(-40 * time.Second), Subject: ofCart("käse-字字字字-x2x9k"), Count: 12},
		},
		incidents: []api.Incident{
			{ID: anID, Status: "firing", Subject: ofCart("cart-7d4b9c-x2x9k"), FirstSeen: thatNight.Add(-3 * time.Minute), Events: 5, DurationSeconds: 180},
			{ID: "9d97edac-0000-4000-8000-000000000000", Status: "resolved", Resolution: incident.Recovered, Subject: ofCart("cart-7d4b9c-a1b2c"), FirstSeen: thatNight.Add(-26 * time.Hour), Events: 1, DurationSeconds: 71},
		},
		deliveries: []api.Delivery{
			{ID: anID, State: delivery.InputRequired, Hook: api.Name{Namespace: "shop", Name: "memory"}, EventType: "oom-kill", Group: "Deployment/cart", Agent: api.Name{Namespace: "kagent", Name: "k8s-agent"}, CreatedAt: thatNight.Add(-2 * time.Minute)},
			{ID: "c0ffee00-0000-4000-8000-000000000000", State: delivery.Succeeded, Outcome: delivery.OutcomeRecovered, Hook: api.Name{Namespace: "shop", Name: "memory"}, EventType: "pod-restart", Group: "StatefulSet/a-rather-long-name-of-a-database", Agent: api.Name{Namespace: "kagent", Name: "k8s-agent"}, CreatedAt: thatNight.Add(-90 * time.Minute)},
		},
		hooks: []api.Hook{{Namespace: "shop", Name: "memory", Ready: "True", Statistics: api.HookStatistics{ActiveIncidents: 1, Events: 6, Deliveries: 2, Succeeded: 1, Recovered: 1, LastFired: thatNight.Add(-2 * time.Minute)}, CreatedAt: thatNight.Add(-240 * time.Hour)}},
	}
)

func ofCart(pod string) api.Subject {
	return api.Subject{
		EventType: "oom-kill", Namespace: "shop", ResourceKind: "Pod", ResourceName: pod, Container: "app", Workload: api.Workload{Kind: "Deployment", Name: "cart"},
		Reason: "OOMKilled", Message: "Container app was OOM-killed (exit code 137): its memory limit is 128Mi, and the node has 字 left",
	}
}

func within[T any](s *shape[T]) *shape[T] {
	s.within = true
	return s
}

// TestListsAtTheWidthsOfTerminals holds what the lists show at three widths, and where there is no terminal.
func TestListsAtTheWidthsOfTerminals(t *testing.T) {
	for _, width := range []int{80, 100, 140, 0} {
		var out bytes.Buffer
		p := &display{out: &out, form: "table", width: width, now: thatNight}
		env := Env{Out: &out, Err: io.Discard}
		for _, show := range []func() error{
			func() error { return eventShape(false).print(env, p, &foundList[api.Event]{items: night.events}) },
			func() error { return incidentShape().print(env, p, &foundList[api.Incident]{items: night.incidents}) },
			func() error { return deliveryShape().print(env, p, &foundList[api.Delivery]{items: night.deliveries}) },
			func() error { return hookShape().print(env, p, &foundList[api.Hook]{items: night.hooks}) },
			// With -n, which says the namespace.
			func() error {
				return within(eventShape(true)).print(env, p, &foundList[api.Event]{items: night.events})
			},
			func() error {
				return within(incidentShape()).print(env, p, &foundList[api.Incident]{items: night.incidents})
			},
			func() error {
				return within(deliveryShape()).print(env, p, &foundList[api.Delivery]{items: night.deliveries})
			},
			func() error { return within(hookShape()).print(env, p, &foundList[api.Hook]{items: night.hooks}) },
		} {
			if err := show(); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintln(&out)
		}
		for line := range strings.SplitSeq(out.String(), "\n") {
			if width > 0 && breadth(line) > width {
				t.Errorf("a line of %d columns at %d: %s", breadth(line), width, line)
			}
		}
		path := filepath.Join("testdata", "widths", fmt.Sprintf("%d.txt", width))
		if *updateWidths {
			if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(out.String(), "\n")); diff != "" {
			t.Errorf("%s: what users see has changed; if it is meant, run the test with -update:\n%s", path, diff)
		}
	}
}
