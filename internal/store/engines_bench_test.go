package store_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
	"github.com/kagent-dev/khook/internal/store/engine"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
	"github.com/kagent-dev/khook/internal/store/sqlite"
	"github.com/kagent-dev/khook/internal/store/storetest"
)

// envEvents is the size of the one history that BenchmarkEnginesLists compares with a small one, instead of those it has by itself.
const envEvents = "KHOOK_BENCH_EVENTS"

// roomForAnEvent is what a benchmark needs on the disk for an event in both engines, with the logs that are written ahead and what is being rewritten.
const roomForAnEvent = 6 << 10

// place is a database in which histories of several clusters can be: one of PostgreSQL, or a folder of SQLite files, of which each is of one.
type place struct {
	name   string
	engine func(cluster string) engine.Engine
}

// places are a PostgreSQL database and a folder, both on the disk of temporary files.
func places(b *testing.B) []place {
	b.Helper()
	dir, url := b.TempDir(), pgtest.Shared(b).Schema(b)
	return []place{
		{"sqlite", func(cluster string) engine.Engine {
			return sqlite.New(sqlite.Config{Path: filepath.Join(dir, cluster+".db")})
		}},
		{"postgres", func(string) engine.Engine { return pgtest.At(url) }},
	}
}

func (p place) open(b *testing.B, cluster string) *store.Store {
	b.Helper()
	st, err := store.Open(b.Context(), store.Config{Engine: p.engine(cluster), Cluster: cluster, ClusterUID: cluster})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = st.Close() })
	return st
}

// BenchmarkEnginesRecord tells how many events a second one writer records on each engine, with all that belongs to them, in batches that are not
// waited for, as khook records signals.
func BenchmarkEnginesRecord(b *testing.B) {
	stores := map[string]*store.Store{}
	for _, p := range places(b) {
		stores[p.name] = p.open(b, "c")
	}
	took, n := map[string]time.Duration{}, 0
	for b.Loop() {
		for name, st := range stores { // by turns
			began := time.Now()
			if err := storetest.FillMore(b.Context(), st, n, now); err != nil {
				b.Fatal(err)
			}
			took[name] += time.Since(began)
		}
		n += storetest.Batch
	}
	rate := func(name string) float64 { return float64(n) / took[name].Seconds() }
	b.ReportMetric(rate("sqlite"), "sqlite-events/s")
	b.ReportMetric(rate("postgres"), "postgres-events/s")
	b.ReportMetric(rate("postgres")/rate("sqlite"), "postgres/sqlite")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkEnginesCommits tells how many commits a second, which wait for the disk, the leaders of 1, 10 and 40 clusters make at the same time: in one
// PostgreSQL, and each in a SQLite file of its own; and what the slowest of them makes.
func BenchmarkEnginesCommits(b *testing.B) {
	for _, writers := range []int{1, 10, 40} {
		b.Run(fmt.Sprint(writers), func(b *testing.B) {
			each := 50
			if testing.Short() {
				each = 3
			}
			rates := map[string][]float64{}
			all := places(b)
			stores := map[string][]*store.Store{}
			for _, p := range all {
				for w := range writers {
					stores[p.name] = append(stores[p.name], p.open(b, fmt.Sprint("c", w)))
				}
			}
			round, slowest := 0, map[string]time.Duration{}
			for b.Loop() {
				for _, p := range all {
					began := time.Now()
					var wg sync.WaitGroup
					var mu sync.Mutex
					for _, st := range stores[p.name] {
						wg.Go(func() {
							for i := range each {
								if err := commitOne(b.Context(), st, round*each+i); err != nil {
									b.Error(err)
								}
							}
							mu.Lock()
							defer mu.Unlock()
							slowest[p.name] = max(slowest[p.name], time.Since(began))
						})
					}
					wg.Wait()
					rates[p.name] = append(rates[p.name], float64(writers*each)/time.Since(began).Seconds())
				}
				round++
			}
			for _, p := range all {
				slices.Sort(rates[p.name])
				b.ReportMetric(rates[p.name][len(rates[p.name])/2], p.name+"-commits/s")
				b.ReportMetric(float64(each)/slowest[p.name].Seconds(), p.name+"-slowest-writer-commits/s")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// commitOne writes a delivery that is about to be called, as khook does before each call.
func commitOne(ctx context.Context, st *store.Store, n int) error {
	return st.Write(ctx, func(tx *store.Tx) error {
		d := &delivery.Delivery{
			ID: fmt.Sprint("delivery ", n), State: delivery.Calling, Hook: delivery.HookRef{Namespace: "shop", Name: "h"}, HookUID: "u", Config: "pod-restart",
			Group: "Deployment/cart", IncidentID: "i", CreatedAt: now, CalledAt: now, Prompt: "look at it",
		}
		return tx.Save(ctx, &store.Changes{Deliveries: []*delivery.Delivery{d}})
	})
}

// sizes are those of the histories whose lists and statistics are compared, in events.
func sizes(b *testing.B) []int {
	b.Helper()
	if text := os.Getenv(envEvents); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 10_000 || n%1000 != 0 {
			b.Fatalf("%s=%s is not a number of events, a multiple of 1000 from 10000 on", envEvents, text)
		}
		return []int{10_000, n}
	}
	if testing.Short() {
		return []int{1000, 5000}
	}
	return []int{10_000, 100_000, 1_000_000}
}

// BenchmarkEnginesLists tells what a filtered page and statistics cost on histories of different sizes on each engine, and how many bytes an event takes.
func BenchmarkEnginesLists(b *testing.B) {
	all := sizes(b)
	largest := slices.Max(all)
	_, free, err := sqlite.New(sqlite.Config{Path: filepath.Join(b.TempDir(), "khook.db")}).Disk()
	if err != nil {
		b.Fatal(err)
	}
	if free/roomForAnEvent < uint64(largest) {
		b.Fatalf("histories of %d events need %d GiB of free disk where temporary files are (TMPDIR), and there are %d GiB", largest, largest*roomForAnEvent>>30+1, free>>30)
	}
	day, hour := now.Add(-24*time.Hour).Truncate(time.Hour), now.Truncate(time.Hour).Add(time.Hour)
	questions := map[string]func(context.Context, *store.Store) error{
		"page": func(ctx context.Context, st *store.Store) error {
			_, _, err := st.Reader().ListEvents(ctx, store.EventQuery{Namespace: storetest.Namespace, Type: incident.PodRestart, Workload: storetest.Workload, Descending: true}, store.Paging{Limit: 50})
			return err
		},
		"statistics": func(ctx context.Context, st *store.Store) error {
			_, err := st.Reader().EventCounts(ctx, day, hour, storetest.Namespace)
			return err
		},
	}
	type filled struct {
		*store.Store
		bytes float64
	}
	histories := map[string]map[int]filled{}
	for _, events := range all {
		for _, p := range places(b) { // anew: the size is that of the database
			st := p.open(b, fmt.Sprint("c", events))
			if err := storetest.Fill(b.Context(), st, events, now); err != nil {
				b.Fatal(err)
			}
			size, err := st.Size(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			if histories[p.name] == nil {
				histories[p.name] = map[int]filled{}
			}
			histories[p.name][events] = filled{st, float64(size) / float64(events)}
		}
	}
	for what, read := range questions {
		for _, events := range all {
			b.Run(fmt.Sprint(what, "/", events), func(b *testing.B) {
				times := map[string][]time.Duration{}
				timed := func(name string, st *store.Store) {
					began := time.Now()
					if err := read(b.Context(), st); err != nil {
						b.Fatal(err)
					}
					times[name] = append(times[name], time.Since(began))
				}
				for b.Loop() {
					for name, of := range histories { // by turns, with the small one
						timed(name, of[events].Store)
						if events != all[0] {
							timed(name+" small", of[all[0]].Store)
						}
					}
				}
				median := func(name string) float64 {
					slices.Sort(times[name])
					return times[name][len(times[name])/2].Seconds() * 1000
				}
				for name, of := range histories {
					b.ReportMetric(median(name), name+"-p50-ms")
					if events != all[0] {
						b.ReportMetric(median(name)/median(name+" small"), name+"-large/small")
					}
					b.ReportMetric(of[events].bytes, name+"-B/event")
				}
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}
