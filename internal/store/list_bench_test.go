package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/incident"
)

// Sizes of the histories that the benchmarks compare, in events.
const (
	smallHistory = 10_000
	largeHistory = 1_000_000
)

// history records events of a week, of 40 namespaces and 2,000 workloads, the decisions of a hook
// in each namespace, and deliveries. What a filter selects grows with the history.
func history(b *testing.B, events int) *Store {
	b.Helper()
	st, err := Open(b.Context(), Config{Path: path(b)})
	must(b, err)
	b.Cleanup(func() { _ = st.Close() })
	rnd := rand.New(rand.NewPCG(7, 7))
	from := long.Add(-7 * 24 * time.Hour)
	step := 7 * 24 * time.Hour / time.Duration(events)
	const batch = 1000
	for n := 0; n < events; n += batch {
		must(b, st.WriteSoon(b.Context(), func(tx *Tx) error {
			c := &Changes{}
			for i := n; i < n+batch; i++ {
				s := observed(fmt.Sprint("k", i), from.Add(time.Duration(i)*step))
				s.Type = incident.EventTypes()[min(rnd.IntN(12), 3)]
				ns := rnd.IntN(40)
				s.Resource.Namespace = fmt.Sprint("ns-", ns)
				s.Workload.Name = fmt.Sprint("workload-", ns, "-", rnd.IntN(50))
				s.Resource.Name = fmt.Sprint(s.Workload.Name, "-", i/20)
				inc := incident.Open("", s)
				e := incident.NewEvent(inc, s, s.At)
				e.ID = tx.Next()
				switch {
				case i > events-50: // the newest are firing
				case i%5 == 0:
					e.Status = incident.Resolved
					inc.Resolve(incident.Recovered, s.At.Add(time.Minute))
				default:
					e.Status = incident.Duplicate
				}
				if e.Status != incident.Duplicate {
					c.Incidents = append(c.Incidents, inc)
				}
				hook := incident.HookRef{Namespace: s.Resource.Namespace, Name: "hook"}
				c.Decisions = append(c.Decisions, incident.Decision{EventID: e.ID, IncidentID: inc.ID, Hook: hook, Config: "a", Disposition: incident.DupOfOpen, At: e.At})
				c.Events = append(c.Events, e)
			}
			return tx.Save(b.Context(), c)
		}))
	}
	return st
}

// beside measures what an operation costs on the large history, as a ratio to what it costs on the
// small one; both are run by turns.
func beside(b *testing.B, small, large *Store, op func(context.Context, *Store) error) {
	b.Helper()
	times := [2][]time.Duration{}
	for i := 0; b.Loop(); i++ {
		for n, st := range []*Store{small, large} {
			began := time.Now()
			must(b, op(b.Context(), st))
			times[n] = append(times[n], time.Since(began))
		}
	}
	median := func(all []time.Duration) float64 {
		slices.Sort(all)
		return float64(all[len(all)/2])
	}
	b.ReportMetric(median(times[1])/median(times[0]), "large/small")
	b.ReportMetric(median(times[1])/1e6, "large-p50-ms")
	b.ReportMetric(median(times[0])/1e6, "small-p50-ms")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkHistory compares what queries and statistics cost on a history of a million events with
// what they cost on one of ten thousand.
func BenchmarkHistory(b *testing.B) {
	small, large := history(b, smallHistory), history(b, largeHistory)
	day := long.Add(-24 * time.Hour)
	hook := incident.HookRef{Namespace: "ns-7", Name: "hook"}
	for name, q := range map[string]EventQuery{
		"all":             {},
		"namespace":       {Namespace: "ns-7"},
		"type":            {Type: incident.OOMKill},
		"namespaceType":   {Namespace: "ns-7", Type: incident.PodPending},
		"status":          {Status: incident.Resolved},
		"firing":          {Status: incident.Firing},
		"namespaceStatus": {Namespace: "ns-7", Status: incident.Duplicate},
		"workload":        {Workload: "workload-7-3"},
		"resource":        {Name: "workload-7-3-100"},
		"hook":            {Hook: hook},
		"hookType":        {Hook: hook, Type: incident.OOMKill},
		"timeRange":       {Namespace: "ns-7", From: day.Add(-72 * time.Hour), To: day},
		"byType":          {Namespace: "ns-7", Sort: ByType},
		"byName":          {Namespace: "ns-7", Sort: ByName},
		"allFilters":      {Namespace: "ns-7", Type: incident.PodRestart, Status: incident.Duplicate, Workload: "workload-7-3", From: day.Add(-144 * time.Hour)},
	} {
		q.Descending = true
		for _, count := range []bool{false, true} {
			kind := map[bool]string{false: "page/", true: "pageAndTotal/"}[count]
			b.Run(kind+name, func(b *testing.B) {
				beside(b, small, large, func(ctx context.Context, st *Store) error {
					_, _, err := st.ListEvents(ctx, q, Paging{Limit: 50, Count: count})
					return err
				})
			})
		}
	}
	for name, op := range map[string]func(context.Context, *Store) error{
		"summary": func(ctx context.Context, st *Store) error {
			_, err := st.EventCounts(ctx, long.Add(-7*24*time.Hour), long, "")
			return err
		},
		"summaryNamespace": func(ctx context.Context, st *Store) error {
			_, err := st.EventCounts(ctx, day, long, "ns-7")
			return err
		},
		"active": func(ctx context.Context, st *Store) error { _, err := st.ActiveEvents(ctx, ""); return err },
		"hook": func(ctx context.Context, st *Store) error {
			_, err := st.HookCounts(ctx, hook, long.Add(-7*24*time.Hour), long)
			return err
		},
		"trend": func(ctx context.Context, st *Store) error {
			_, err := st.Trend(ctx, long.Add(-7*24*time.Hour), long, time.Hour, "")
			return err
		},
		"trendByNamespace": func(ctx context.Context, st *Store) error {
			_, err := st.TrendByNamespace(ctx, long.Add(-7*24*time.Hour), long, 24*time.Hour)
			return err
		},
	} {
		b.Run("statistics/"+name, func(b *testing.B) { beside(b, small, large, op) })
	}
}
