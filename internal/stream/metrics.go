package stream

import "github.com/prometheus/client_golang/prometheus"

// Metrics count what streams do.
type Metrics struct {
	Messages  prometheus.Counter
	Coalesced prometheus.Counter
	Gaps      prometheus.Counter
	Lag       prometheus.Histogram
}

// NewMetrics registers the metrics of streams.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		Messages:  prometheus.NewCounter(prometheus.CounterOpts{Name: "khook_stream_messages_total", Help: "Messages that were sent to live streams."}),
		Coalesced: prometheus.NewCounter(prometheus.CounterOpts{Name: "khook_stream_messages_coalesced_total", Help: "Messages that live streams left out for a later one of the same event."}),
		Gaps:      prometheus.NewCounter(prometheus.CounterOpts{Name: "khook_stream_gaps_total", Help: "Times that a live stream was told that it missed something."}),
		Lag:       prometheus.NewHistogram(prometheus.HistogramOpts{Name: "khook_stream_lag_seconds", Help: "Time from a change to its way into a live stream.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 10)}),
	}
	r.MustRegister(m.Messages, m.Coalesced, m.Gaps, m.Lag)
	return m
}
