package server

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/conns"
	"github.com/kagent-dev/khook/internal/stream"
)

// serverMetrics are the metrics of the API. A route is a pattern, never what a client asked for.
type serverMetrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	inFlight prometheus.Gauge
	limited  *prometheus.CounterVec
	closed   *prometheus.CounterVec

	streams prometheus.Gauge
	stream  *stream.Metrics

	answered, broken, open atomic.Int64 // the same for the health
}

func newMetrics(r prometheus.Registerer) *serverMetrics {
	m := &serverMetrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "khook_http_requests_total", Help: "Requests that the HTTP API answered.",
		}, []string{"route", "method", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "khook_http_request_duration_seconds", Help: "Time from a request's header to the end of its answer.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 12),
		}, []string{"route"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "khook_http_requests_in_flight", Help: "Requests that are being answered."}),
		limited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "khook_http_requests_limited_total", Help: "Requests that were refused: too many of a client or an address in a second, too many of a client under way, or too many of all (busy).",
		}, []string{"by"}),
	}
	for _, by := range []string{"client", "address", "review", "under-way", "busy"} {
		m.limited.WithLabelValues(by)
	}
	m.closed = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "khook_http_connections_closed_total", Help: "Connections to the HTTP API that khook closed: full to make room for others, idle because no caller was known on them, refused because there was no room.",
	}, []string{"reason"})
	for _, r := range conns.Reasons() {
		m.closed.WithLabelValues(string(r))
	}
	m.streams = prometheus.NewGauge(prometheus.GaugeOpts{Name: "khook_stream_connections", Help: "Live streams that are open."})
	m.stream = stream.NewMetrics(r)
	r.MustRegister(m.streams, m.requests, m.seconds, m.inFlight, m.limited, m.closed)
	return m
}

// methods are those that are told apart.
var methods = map[string]bool{http.MethodGet: true, http.MethodHead: true, http.MethodPost: true, http.MethodDelete: true, http.MethodOptions: true}

func (m *serverMetrics) observe(route, method string, code int, took time.Duration) {
	if !methods[method] {
		method = "other"
	}
	m.requests.WithLabelValues(route, method, strconv.Itoa(code)).Inc()
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
	m.answered.Add(1)
	if code >= http.StatusInternalServerError && route != api.Base+"/health" {
		m.broken.Add(1)
	}
}
