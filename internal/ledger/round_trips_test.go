package ledger

import (
	"fmt"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
	"github.com/kagent-dev/khook/internal/store/engine"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
	"github.com/kagent-dev/khook/internal/store/sqlite"
	"github.com/kagent-dev/khook/internal/store/storetest"
)

// endAll ends all calls.
func endAll(b *bench) error {
	all, err := b.store.AllDeliveries(b.Context(), 10_000)
	if err != nil {
		return err
	}
	for _, d := range all {
		d.State, d.EndedAt = delivery.Succeeded, b.clock.Now()
	}
	return b.store.Write(b.Context(), func(tx *store.Tx) error { return tx.Save(b.Context(), &store.Changes{Deliveries: all}) })
}

// TestABatchTakesFewRoundTrips: what 500 signals ask of the database, and tell it, is asked and told together, whatever is known of them.
func TestABatchTakesFewRoundTrips(t *testing.T) {
	const signals, most = 500, 100
	const ended, quiet incident.SignalKind = "calls end", "incidents end"
	engines := map[string]func(*testing.T) engine.Engine{
		"SQLite":     func(*testing.T) engine.Engine { return sqlite.New(sqlite.Config{Path: ":memory:"}) },
		"PostgreSQL": func(t *testing.T) engine.Engine { return pgtest.At(pgtest.Shared(t).Schema(t)) },
	}
	for name, newEngine := range engines {
		for _, by := range []v1alpha2.GroupBy{v1alpha2.GroupByWorkload, v1alpha2.GroupByResource} {
			t.Run(fmt.Sprint(name, ", grouped by ", by), func(t *testing.T) {
				counting := &storetest.Counting{Engine: newEngine(t)}
				b := &bench{T: t, clock: clocktesting.NewFakePassiveClock(start), hooks: hook.NewSet(hook.Policy{AgentNamespaces: []string{"kagent"}})}
				var err error
				if b.store, err = store.Open(t.Context(), store.Config{Engine: counting}); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = b.store.Close() })
				b.restart()
				if errs := b.hooks.Put(newHook("h", on(incident.PodRestart, func(e *v1alpha2.EventConfiguration) { e.GroupBy = by }))); len(errs) > 0 {
					t.Fatal(errs)
				}
				later := func(kind incident.SignalKind, round int) []incident.Signal {
					all := storm(signals)
					for i := range all {
						all[i].Kind, all[i].At = kind, b.clock.Now()
						all[i].Key += fmt.Sprint("/", round)
					}
					return all
				}
				for round, c := range []struct {
					what  string
					after time.Duration
					kind  incident.SignalKind
				}{
					{"first failures", 0, incident.Observed},
					{"failures within the window", time.Second, incident.Observed},
					{"failures after the window", time.Hour, incident.Observed},
					{"failures that go on", time.Hour, incident.Ongoing},
					{"the calls end", time.Second, ended},
					{"failures that go on after the calls", time.Hour, incident.Ongoing},
					{"recovery", time.Second, incident.Healthy},
					{"failures again", time.Minute, incident.Observed},
					{"an end without a sign", 48 * time.Hour, quiet},
					{"a sign that it was none", time.Second, incident.Ongoing},
				} {
					b.clock.SetTime(b.clock.Now().Add(c.after))
					was := counting.Statements.Load()
					var err error
					switch c.kind {
					case ended:
						err = endAll(b)
					case quiet:
						err = b.ledger.EndQuiet(t.Context(), start)
					default:
						b.apply(later(c.kind, round)...)
					}
					if err != nil {
						t.Fatal(err)
					}
					n := counting.Statements.Load() - was
					t.Logf("%s: %d statements", c.what, n)
					if n < 5 || n > most {
						t.Errorf("%s: %d statements for %d signals", c.what, n, signals)
					}
				}
			})
		}
	}
}
