package store

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var (
	writeSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "khook_store_write_duration_seconds",
		Help:    "Time of one write transaction of the history, waiting for earlier ones not included.",
		Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
	})
	writeErrors = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "khook_store_write_errors_total",
		Help: "Write transactions of the history that failed and were rolled back.",
	})
)

func init() { metrics.Registry.MustRegister(writeSeconds, writeErrors) }
