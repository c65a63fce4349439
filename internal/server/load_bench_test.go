package server

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/ledger"
	"github.com/kagent-dev/khook/internal/store"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
	"github.com/kagent-dev/khook/internal/store/storetest"
)

// The load: so many clients ask one query after the other without a pause, while so many signals a
// second are recorded.
const (
	loadClients = 200
	loadSignals = 500
	loadPods    = 200 // that the signals are about
)

// mixed are the queries of the load.
func mixed() []string {
	ns, workload := storetest.Namespace, storetest.Workload
	return []string{
		"/events", "/events?limit=200", "/events/" + ns, "/events/" + ns + "?eventType=oom-kill", "/events?status=firing", "/events?workload=" + workload,
		"/events/" + ns + "?status=duplicate&sort=resourceName", "/events/types/pod-restart?offset=500", "/hooks/" + ns + "/" + storetest.Hook + "/events",
		"/incidents?status=resolved", "/incidents?namespace=" + ns, "/deliveries", "/stats/events/summary?timeRange=7d", "/stats/events/by-type?namespace=" + ns,
		"/stats/hooks/" + ns + "/" + storetest.Hook + "/metrics", "/stats/trends?timeRange=7d", "/stats/trends?by=namespace&timeRange=24h", "/health",
	}
}

// BenchmarkLoad reports how long queries take under load, over a history of a million events, and how
// long the recording of signals takes with and without it. With -short the history has 10,000.
func BenchmarkLoad(b *testing.B) {
	events, loadTime := 1_000_000, 15*time.Second
	if testing.Short() {
		events, loadTime = 10_000, 3*time.Second
	}
	st, err := store.Open(b.Context(), store.Config{Engine: pgtest.Engine(b, ":memory:"), Path: filepath.Join(b.TempDir(), "khook.db")})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	if err := storetest.Fill(b.Context(), st, events, time.Now()); err != nil {
		b.Fatal(err)
	}
	base, stop := listen(b, st)
	defer stop()
	book, err := ledger.New(b.Context(), ledger.Config{}, st, hook.NewSet(hook.Policy{}))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		alone := recordEvery(b, st, book, "alone", loadTime/3)
		var queries []time.Duration
		var failed int
		var wg sync.WaitGroup
		wg.Go(func() { queries, failed = load(b.Context(), base, loadTime) })
		beside := recordEvery(b, st, book, "beside", loadTime)
		wg.Wait()
		b.ReportMetric(float64(len(queries))/loadTime.Seconds(), "queries/s")
		b.ReportMetric(millis(queries, 0.5), "query-p50-ms")
		b.ReportMetric(millis(queries, 0.99), "query-p99-ms")
		b.ReportMetric(float64(failed), "errors")
		b.ReportMetric(millis(alone, 0.99), "write-p99-alone-ms")
		b.ReportMetric(millis(beside, 0.99), "write-p99-ms")
		b.ReportMetric(0, "ns/op")
	}
}

func millis(all []time.Duration, p float64) float64 {
	slices.Sort(all)
	return float64(all[int(p*float64(len(all)-1))].Microseconds()) / 1000
}

// listen serves a history.
func listen(b *testing.B, st *store.Store) (base string, stop func()) {
	b.Helper()
	s, err := New(Config{
		Reader: st.Reader(), Hooks: testServer.client, State: calm{}, Registry: prometheus.NewRegistry(), Log: logr.Discard(), Retention: 8 * 24 * time.Hour,
		Limits: Limits{Rate: 1e9, Burst: 1 << 30}, Drain: time.Second,
	})
	if err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Run(ctx, l) }()
	return "http://" + l.Addr().String() + api.Base, func() { cancel(); <-done }
}

// load asks until the time is over.
func load(ctx context.Context, base string, d time.Duration) (took []time.Duration, failed int) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: loadClients}}
	defer client.CloseIdleConnections()
	end := time.Now().Add(d)
	var mu sync.Mutex
	var wg sync.WaitGroup
	var errs atomic.Int64
	for range loadClients {
		wg.Go(func() {
			var own []time.Duration
			for paths := mixed(); time.Now().Before(end); {
				began := time.Now()
				if !gotAnswer(ctx, client, base+paths[rand.IntN(len(paths))]) {
					errs.Add(1)
				}
				own = append(own, time.Since(began))
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, own...)
		})
	}
	wg.Wait()
	return took, int(errs.Load())
}

func gotAnswer(ctx context.Context, client *http.Client, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err == nil && resp.StatusCode == http.StatusOK
}

// recordEvery writes signals at the rate of the load, and checks that none is lost.
func recordEvery(b *testing.B, st *store.Store, book *ledger.Ledger, name string, d time.Duration) []time.Duration {
	b.Helper()
	const perTick = 10
	before, err := st.LastChange(b.Context()) // so that each run has keys of its own
	if err != nil {
		b.Fatal(err)
	}
	var took []time.Duration
	n, began := 0, time.Now()
	ticker := time.NewTicker(perTick * time.Second / loadSignals)
	defer ticker.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); <-ticker.C {
		signals := make([]incident.Signal, perTick)
		for i := range signals {
			n++
			id := fmt.Sprintf("%s-%d-%d", name, before, n)
			pod := fmt.Sprint("load-", n%loadPods)
			signals[i] = incident.Signal{
				Key: id, Kind: incident.Observed, Type: incident.PodRestart, At: time.Now(), Count: 1, Observation: incident.Observation{
					Container: "app",
					Reason:    "Error", Message: "it ended", Resource: incident.Resource{Kind: "Pod", Namespace: "load", Name: pod, UID: pod},
					Workload: incident.Workload{Kind: "Deployment", Name: "load"},
				},
			}
		}
		start := time.Now()
		if err := book.Apply(b.Context(), signals); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	// Each is an event, none is left out.
	last, total, err := st.Reader().ListEvents(b.Context(), store.EventQuery{Namespace: "load", From: sql.Null[time.Time]{V: began, Valid: true}}, store.Paging{Limit: 1, Offset: n - 1})
	if err != nil || len(last) != 1 || total.More {
		b.Fatalf("not all of %d signals are there: %v", n, err)
	}
	return took
}
