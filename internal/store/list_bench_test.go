package store_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
	"github.com/kagent-dev/khook/internal/store/storetest"
)

// historySizes are those of the histories that the benchmarks compare, in events.
func historySizes() (small, large int) {
	if testing.Short() {
		return 1000, 5000
	}
	return 10_000, 1_000_000
}

// now is the end of both histories.
var now = time.Date(2026, 1, 15, 10, 30, 0, 0, time.UTC)

func history(b *testing.B, events int) *store.Store {
	b.Helper()
	st, err := store.Open(b.Context(), store.Config{Engine: pgtest.Engine(b, ":memory:"), Path: filepath.Join(b.TempDir(), "khook.db")})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = st.Close() })
	if err := storetest.Fill(b.Context(), st, events, now); err != nil {
		b.Fatal(err)
	}
	return st
}

// beside measures what an operation costs on the large history, as a ratio to what it costs on the
// small one; both are run by turns.
func beside(b *testing.B, small, large *store.Store, op func(context.Context, *store.Store) error) {
	b.Helper()
	times := [2][]time.Duration{}
	for i := 0; b.Loop(); i++ {
		for n, st := range []*store.Store{small, large} {
			began := time.Now()
			if err := op(b.Context(), st); err != nil {
				b.Fatal(err)
			}
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
// what they cost on one of ten thousand. With -short both are smaller.
func BenchmarkHistory(b *testing.B) {
	few, many := historySizes()
	small, large := history(b, few), history(b, many)
	day, hour := now.Add(-24*time.Hour).Truncate(time.Hour), now.Truncate(time.Hour).Add(time.Hour)
	const ns, workload = storetest.Namespace, storetest.Workload
	hook := delivery.HookRef{Namespace: ns, Name: storetest.Hook}
	for name, q := range map[string]store.EventQuery{
		"all":             {},
		"namespace":       {Namespace: ns},
		"type":            {Type: incident.OOMKill},
		"namespaceType":   {Namespace: ns, Type: incident.PodPending},
		"status":          {Status: incident.Resolved},
		"firing":          {Status: incident.Firing},
		"namespaceStatus": {Namespace: ns, Status: incident.Duplicate},
		"workload":        {Workload: workload},
		"resource":        {Name: workload + "-100"},
		"hook":            {Hook: hook},
		"hookType":        {Hook: hook, Type: incident.OOMKill},
		"timeRange":       {Namespace: ns, From: bound(day.Add(-72 * time.Hour)), To: bound(day)},
		"byType":          {Namespace: ns, Sort: store.ByType},
		"byName":          {Namespace: ns, Sort: store.ByName},
		"allFilters":      {Namespace: ns, Type: incident.PodRestart, Status: incident.Duplicate, Workload: workload, From: bound(day.Add(-144 * time.Hour))},
	} {
		q.Descending = true
		for _, count := range []bool{false, true} {
			kind := map[bool]string{false: "page/", true: "pageAndTotal/"}[count]
			b.Run(kind+name, func(b *testing.B) {
				beside(b, small, large, func(ctx context.Context, st *store.Store) error {
					_, _, err := st.Reader().ListEvents(ctx, q, store.Paging{Limit: 50, Count: count})
					return err
				})
			})
		}
	}
	for name, op := range map[string]func(context.Context, *store.Store) error{
		"summary": func(ctx context.Context, st *store.Store) error {
			_, err := st.Reader().EventCounts(ctx, now.Add(-7*24*time.Hour).Truncate(time.Hour), hour, "")
			return err
		},
		"summaryNamespace": func(ctx context.Context, st *store.Store) error {
			_, err := st.Reader().EventCounts(ctx, day, hour, ns)
			return err
		},
		"active": func(ctx context.Context, st *store.Store) error {
			_, err := st.Reader().ActiveEvents(ctx, "")
			return err
		},
		"hook": func(ctx context.Context, st *store.Store) error {
			_, err := st.Reader().HookCounts(ctx, hook, now.Add(-7*24*time.Hour).Truncate(time.Hour), hour)
			return err
		},
		"trend": func(ctx context.Context, st *store.Store) error {
			_, err := st.Reader().Trend(ctx, now.Add(-7*24*time.Hour).Truncate(time.Hour), hour, time.Hour, "")
			return err
		},
		"trendByNamespace": func(ctx context.Context, st *store.Store) error {
			_, err := st.Reader().TrendByNamespace(ctx, now.Add(-7*24*time.Hour).Truncate(24*time.Hour), now.Truncate(24*time.Hour).Add(24*time.Hour), 24*time.Hour)
			return err
		},
	} {
		b.Run("statistics/"+name, func(b *testing.B) { beside(b, small, large, op) })
	}
}

func bound(t time.Time) sql.Null[time.Time] { return sql.Null[time.Time]{V: t, Valid: true} }
