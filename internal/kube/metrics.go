package kube

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kagent-dev/khook/internal/metric"
	"github.com/kagent-dev/khook/internal/source"
)

// sourceMetrics are the metrics of the watches.
type sourceMetrics struct {
	up       *prometheus.GaugeVec
	down     *prometheus.GaugeVec
	heard    *prometheus.GaugeVec
	reopened *prometheus.GaugeVec
	lag      *prometheus.GaugeVec
	signals  *prometheus.CounterVec
	retries  prometheus.Counter
	waiting  prometheus.Gauge
}

func newSourceMetrics(r prometheus.Registerer) *sourceMetrics {
	if r == nil {
		r = prometheus.NewRegistry()
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return metric.Register(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"resource", "namespace"}))
	}
	return &sourceMetrics{
		up:       gauge("khook_watch_up", "Whether a watch is open: 1 or 0."),
		down:     gauge("khook_watch_down_seconds", "For how long a watch has been down; 0 while it is up."),
		heard:    gauge("khook_watch_last_contact_timestamp_seconds", "When the API server last said something on a watch; bookmarks count."),
		reopened: gauge("khook_watch_reopened", "How often a watch had to be opened again since khook became the leader."),
		lag:      gauge("khook_watch_lag_seconds", "How long the newest change on a watch had waited to be looked at."),
		signals: metric.Register(r, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "khook_signals_total", Help: "Signals from the cluster.",
		}, []string{"kind"})),
		retries: metric.Register(r, prometheus.NewCounter(prometheus.CounterOpts{
			Name: "khook_signal_retries_total", Help: "Failed attempts to record signals; they are kept and tried again.",
		})),
		waiting: metric.Register(r, prometheus.NewGauge(prometheus.GaugeOpts{Name: "khook_signals_waiting", Help: "Signals that wait to be recorded."})),
	}
}

// observe shows how one watch does.
func (m *sourceMetrics) observe(h source.StreamHealth, now time.Time) {
	up, down := 1.0, 0.0
	if !h.Up {
		up, down = 0, downFor(h, now).Seconds()
	}
	m.up.WithLabelValues(h.Stream, h.Namespace).Set(up)
	m.down.WithLabelValues(h.Stream, h.Namespace).Set(down)
	m.reopened.WithLabelValues(h.Stream, h.Namespace).Set(float64(h.Restarts))
	m.lag.WithLabelValues(h.Stream, h.Namespace).Set(h.Lag.Seconds())
	if !h.LastContact.IsZero() {
		m.heard.WithLabelValues(h.Stream, h.Namespace).Set(float64(h.LastContact.UnixMilli()) / 1000)
	}
}
