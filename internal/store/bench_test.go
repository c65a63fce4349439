package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// load makes batches such as the ledger commits in a storm: a quarter of the events open an
// incident, the others repeat one, and one hook decides about each.
type load struct{ keys int }

func (l *load) save(ctx context.Context, tx *Tx, events int, at time.Time) error {
	signals := make([]incident.Signal, events)
	keys := make([]string, events)
	for i := range signals {
		pod := fmt.Sprintf("cart-7d9f8b6c5d-%d", l.keys/4)
		keys[i] = fmt.Sprintf("pod-restart/3f0c8f8e-6a53-4a8f-9d0e-%012d/app/%d", l.keys/4, l.keys%4)
		l.keys++
		signals[i] = incident.Signal{
			Key: keys[i], Kind: incident.Observed, Type: incident.PodRestart, At: at, Observation: incident.Observation{
				Container: "app", Node: "node-17", Resource: incident.Resource{Kind: "Pod", Namespace: fmt.Sprintf("shop-%d", l.keys%20), Name: pod, UID: pod},
				Workload:   incident.Workload{Kind: "Deployment", Name: "cart"},
				Attributes: incident.Attributes{Pod: &incident.PodAttributes{Labels: map[string]string{"app": "cart", "pod-template-hash": "7d9f8b6c5d"}}},
				Reason:     "Error", Message: "the container stopped with exit code 1" + strings.Repeat(" and said why", 8),
			}, Count: 1,
		}
	}
	if known, err := tx.KnownKeys(ctx, keys); err != nil || len(known) > 0 {
		return fmt.Errorf("%d keys are known: %w", len(known), err)
	}
	c := &Changes{}
	for i := range signals {
		s := &signals[i]
		if i%4 == 0 {
			c.Incidents = append(c.Incidents, incident.Open(incident.Origin{}, s))
		} else {
			c.Incidents[len(c.Incidents)-1].Observe(s)
		}
		inc := c.Incidents[len(c.Incidents)-1]
		ev := incident.NewEvent(inc, s, at)
		ev.ID = tx.NextEvent()
		c.Events = append(c.Events, ev)
		c.Decisions = append(c.Decisions, delivery.Decision{
			EventID: ev.ID, IncidentID: inc.ID, Hook: shopHook, HookUID: "u", Config: "pod-restart", Disposition: delivery.Grouped,
			DeliveryID: incident.DeriveID("delivery", inc.Workload.Name), At: at,
		})
	}
	return tx.Save(ctx, c)
}

// cpu is the processor time that the process has taken, which other processes do not lengthen.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkSave tells how many events a second are recorded, with their incidents, decisions,
// counters and change log, by batches of different sizes and with and without a wait for the disk;
// and how many in a second of one processor's time.
func BenchmarkSave(b *testing.B) {
	for _, events := range []int{1, 20, 200, 500} {
		for name, write := range map[string]func(*Store, context.Context, func(*Tx) error) error{"Write": (*Store).Write, "WriteRelaxed": (*Store).WriteRelaxed} {
			b.Run(fmt.Sprintf("%s/%d", name, events), func(b *testing.B) {
				st, l := openStore(b, newPath(b)), &load{}
				began := cpu(b)
				for b.Loop() {
					must(b, write(st, b.Context(), func(tx *Tx) error { return l.save(b.Context(), tx, events, long) }))
				}
				b.ReportMetric(float64(b.N*events)/b.Elapsed().Seconds(), "events/s")
				b.ReportMetric(float64(b.N*events)/(cpu(b)-began).Seconds(), "events/cpu-s")
			})
		}
	}
}

// BenchmarkWriteBesidePrune tells how much longer a write takes while old history is deleted:
// the ratio of the medians and the slowest one of each, waits included.
func BenchmarkWriteBesidePrune(b *testing.B) {
	const events = 50
	old := 40_000
	if testing.Short() {
		old = 2000
	}
	for b.Loop() {
		st, l := openStore(b, newPath(b)), &load{}
		for l.keys < old {
			must(b, st.WriteRelaxed(b.Context(), func(tx *Tx) error { return l.save(b.Context(), tx, 500, long) }))
		}
		all, err := st.AllIncidents(b.Context(), old)
		must(b, err)
		for _, inc := range all {
			inc.Resolve(incident.Recovered, long)
		}
		must(b, st.WriteRelaxed(b.Context(), func(tx *Tx) error { return tx.Save(b.Context(), &Changes{Incidents: all}) }))
		write := func() float64 {
			began := time.Now()
			must(b, st.WriteRelaxed(b.Context(), func(tx *Tx) error { return l.save(b.Context(), tx, events, long.Add(time.Hour)) }))
			return float64(time.Since(began).Microseconds()) / 1000
		}
		var alone, beside []float64
		for range 200 {
			alone = append(alone, write())
		}
		var done atomic.Bool
		var took time.Duration
		go func() {
			defer done.Store(true)
			began := time.Now()
			if _, err := st.Prune(b.Context(), long.Add(time.Minute)); err != nil {
				b.Error(err)
			}
			took = time.Since(began)
		}()
		for !done.Load() {
			beside = append(beside, write())
		}
		slices.Sort(alone)
		slices.Sort(beside)
		if n := count(b, st, "events WHERE at < "+fmt.Sprint(micros(long.Add(time.Minute)))); n != 0 {
			b.Errorf("%d old events are left", n)
		}
		b.ReportMetric(beside[len(beside)/2]/alone[len(alone)/2], "median-ratio")
		b.ReportMetric(alone[len(alone)-1], "max-ms-alone")
		b.ReportMetric(beside[len(beside)-1], "max-ms-beside")
		b.ReportMetric(float64(old)/took.Seconds(), "pruned-events/s")
	}
}
