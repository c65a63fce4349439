package review

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kagent-dev/khook/internal/limit"
)

// Meters are the metrics of asking. They have no label that callers choose. A nil one counts nothing.
type Meters struct {
	reviews *prometheus.CounterVec
	away    *prometheus.CounterVec
	wait    *prometheus.HistogramVec
	reg     prometheus.Registerer
}

// NewMeters registers the metrics; nil if there is nowhere to.
func NewMeters(r prometheus.Registerer) *Meters {
	if r == nil {
		return nil
	}
	m := &Meters{
		reg: r,
		reviews: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "khook_api_reviews_total", Help: "Questions to Kubernetes about callers: answered yes or no, failed, or stale where an old yes counted because it could not be asked.",
		}, []string{"kind", "result"}),
		away: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "khook_api_reviews_turned_away_total", Help: "Questions about callers that were not asked, because too many were waiting.",
		}, []string{"kind"}),
		wait: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "khook_api_review_wait_seconds", Help: "Time that a question about a caller waited for its turn.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
		}, []string{"kind"}),
	}
	r.MustRegister(m.reviews, m.away, m.wait)
	return m
}

// Watch tells how many wait in a queue.
func (m *Meters) Watch(name string, q *limit.Queue) {
	if m == nil {
		return
	}
	m.reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "khook_api_reviews_waiting", Help: "Questions about callers that wait for their turn.", ConstLabels: prometheus.Labels{"queue": name},
	}, func() float64 { return float64(q.Waiting()) }))
}

func (m *Meters) asked(kind string, yes bool, failed error) {
	if m == nil {
		return
	}
	result := "no"
	switch {
	case failed != nil:
		result = "failed"
	case yes:
		result = "yes"
	}
	m.reviews.WithLabelValues(kind, result).Inc()
}

func (m *Meters) stale(kind string) {
	if m != nil {
		m.reviews.WithLabelValues(kind, "stale").Inc()
	}
}

func (m *Meters) turnedAway(kind string) {
	if m != nil {
		m.away.WithLabelValues(kind).Inc()
	}
}

func (m *Meters) waited(kind string, d time.Duration) {
	if m != nil {
		m.wait.WithLabelValues(kind).Observe(d.Seconds())
	}
}
