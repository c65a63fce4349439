package scrape

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

// cluster is a registry with metrics of two namespaces.
func cluster() *prometheus.Registry {
	r := prometheus.NewRegistry()
	gauge := func(name string, shop, pay float64) {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: "h"}, []string{"resource", "namespace"})
		r.MustRegister(g)
		g.WithLabelValues("pods", "shop").Set(shop)
		g.WithLabelValues("pods", "pay").Set(pay)
		g.WithLabelValues("events", "shop").Set(7)
	}
	gauge("khook_watch_up", 1, 0)
	gauge("khook_watch_down_seconds", 0, 42)
	gauge("khook_watch_last_contact_timestamp_seconds", 1000, 900)
	gauge("khook_watch_reopened", 2, 3)
	gauge("khook_new_gauge", 5, 4)
	calls := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "khook_calls_total", Help: "h"}, []string{"hook", "namespace"})
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "khook_took_seconds", Help: "h", Buckets: []float64{1, 10}}, []string{"namespace"})
	summary := prometheus.NewSummaryVec(prometheus.SummaryOpts{Name: "khook_size_bytes", Help: "h", Objectives: map[float64]float64{0.5: 0.05}}, []string{"namespace"})
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "khook_build_info", Help: "h"}, []string{"version"})
	r.MustRegister(calls, seconds, summary, build)
	build.WithLabelValues("v1").Set(1)
	for ns, n := range map[string]float64{"shop": 2, "pay": 5} {
		calls.WithLabelValues("memory", ns).Add(n)
		seconds.WithLabelValues(ns).Observe(n)
		summary.WithLabelValues(ns).Observe(n)
	}
	return r
}

func TestWithoutNamespacesTheMetricsTellTheWorstAndTheSum(t *testing.T) {
	r := httptest.NewRecorder()
	Open(cluster()).ServeHTTP(r, httptest.NewRequest(http.MethodGet, Path, nil))
	var got []string
	for line := range strings.Lines(r.Body.String()) {
		if !strings.HasPrefix(line, "#") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	want := []string{
		`khook_build_info{version="v1"} 1`,
		`khook_calls_total 7`,
		`khook_new_gauge{resource="events"} 7`, `khook_new_gauge{resource="pods"} 5`,
		`khook_size_bytes_sum 7`, `khook_size_bytes_count 2`,
		`khook_took_seconds_bucket{le="1"} 0`, `khook_took_seconds_bucket{le="10"} 2`, `khook_took_seconds_bucket{le="+Inf"} 2`,
		`khook_took_seconds_sum 7`, `khook_took_seconds_count 2`,
		`khook_watch_down_seconds{resource="events"} 7`, `khook_watch_down_seconds{resource="pods"} 42`,
		`khook_watch_last_contact_timestamp_seconds{resource="events"} 7`, `khook_watch_last_contact_timestamp_seconds{resource="pods"} 900`,
		`khook_watch_reopened{resource="events"} 7`, `khook_watch_reopened{resource="pods"} 5`,
		`khook_watch_up{resource="events"} 7`, `khook_watch_up{resource="pods"} 0`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestThePortServesTheMetricsOnly(t *testing.T) {
	h := Open(cluster())
	for _, c := range []struct {
		method, path string
		code         int
	}{
		{http.MethodGet, Path, 200}, {http.MethodHead, Path, 200}, {http.MethodPost, Path, 405}, {http.MethodGet, "/", 404}, {http.MethodGet, "/debug/pprof/", 404}, {http.MethodGet, "/metrics/x", 404},
	} {
		r := httptest.NewRecorder()
		h.ServeHTTP(r, httptest.NewRequest(c.method, c.path, nil))
		if r.Code != c.code {
			t.Errorf("%s %s: %d", c.method, c.path, r.Code)
		}
	}
}

// holders opens connections that never send anything, and returns how many of them are still open.
func holders(t *testing.T, address string, n int) (open func() int) {
	t.Helper()
	var closed atomic.Int64
	for range n {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		go func() {
			_, _ = c.Read(make([]byte, 1)) // until khook closes it
			closed.Add(1)
		}()
	}
	return func() int { return n - int(closed.Load()) }
}

func TestAScrapeGetsThroughWhenOthersHoldAllConnections(t *testing.T) {
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := Server(Open(cluster()), logr.Discard())
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(Listener(raw, nil)) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	open := holders(t, raw.Addr().String(), 3*maxConnections)
	resp, err := http.Get("http://" + raw.Addr().String() + Path)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("the scrape got %d", resp.StatusCode)
	}
	for deadline := time.Now().Add(time.Minute); open() > maxConnections; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are held, and %d are the bound", open(), maxConnections)
		}
	}
}

func TestTheServerSpeaksHTTP1Only(t *testing.T) {
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := Server(Open(cluster()), logr.Discard())
	go func() { _ = srv.Serve(Listener(raw, nil)) }()
	t.Cleanup(func() { _ = srv.Close() })
	c, err := net.Dial("tcp", raw.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(c)
	if !strings.HasPrefix(string(answer), "HTTP/1.1 ") {
		t.Errorf("it answers the preface of HTTP/2 with %q", answer)
	}
}
