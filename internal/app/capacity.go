package app

import (
	"fmt"
	"math"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/kagent-dev/khook/internal/capacity"
	"github.com/kagent-dev/khook/internal/metric"
	"github.com/kagent-dev/khook/internal/server"
)

// memoryNow is the memory that khook has: Go's limit, and what the container has beside it.
func memoryNow() capacity.Memory {
	limit := debug.SetMemoryLimit(-1)
	if limit == math.MaxInt64 {
		return capacity.Memory{}
	}
	m := capacity.Memory{Go: limit, Outside: int64(float64(limit) * (1 - heapShare) / heapShare)}
	if whole, err := memlimit.FromCgroup(); err == nil && whole < math.MaxInt64 && int64(whole) > limit {
		m.Outside = int64(whole) - limit
	}
	return m
}

// planMemory adds up what khook may hold in the memory that it has, and tells what does not fit.
func (o *Options) planMemory(log logr.Logger) (*capacity.Plan, error) {
	plan, err := capacity.New(memoryNow(), capacity.Wanted{
		Streams: o.APIMaxStreams, Connections: o.APIMaxConnections, TLS: o.APITLSCertFile != "" || o.APITLSSelfSigned,
	})
	if err != nil {
		return nil, fmt.Errorf("plan the memory: %w", err)
	}
	shown := []any{"goMemoryLimit", "none"}
	if plan.Memory.Go > 0 {
		shown[1] = capacity.Text(plan.Memory.Go)
	}
	for _, n := range []capacity.Name{capacity.Pods, capacity.Incidents, capacity.Connections, capacity.Streams} {
		shown = append(shown, string(n), plan.N(n))
	}
	log.Info("khook bounds itself to the memory that it has", shown...)
	for _, warning := range plan.Shrunk() {
		log.Info("a setting does not fit into the memory", "warning", warning)
	}
	measurePlan(ctrlmetrics.Registry, plan)
	return plan, nil
}

func measurePlan(r prometheus.Registerer, plan *capacity.Plan) {
	limits := metric.Register(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "khook_capacity_limit", Help: "What khook bounds itself to in the memory that it has; those whose resource ends in bytes are bytes.",
	}, []string{"resource"}))
	for _, b := range plan.Bounds {
		limits.WithLabelValues(string(b.Name)).Set(float64(b.N))
	}
	memory := metric.Register(r, prometheus.NewGauge(prometheus.GaugeOpts{Name: "khook_memory_limit_bytes", Help: "Memory that the Go runtime keeps to; 0 for no limit."}))
	memory.Set(float64(plan.Memory.Go))
}

// apiLimits are the limits of the HTTP API.
func (o *Options) apiLimits(plan *capacity.Plan) server.Limits {
	n := func(name capacity.Name) int { return int(plan.N(name)) }
	return server.Limits{
		Rate: o.APIRateLimit, Burst: o.APIRateBurst, RequestTimeout: o.APIRequestTimeout,
		MaxBody: plan.MaxManifests(), Validations: int(plan.ValidationsAtOnce()), BodyBytes: max(plan.N(capacity.Bodies), plan.MaxManifests()), ResponseBytes: plan.N(capacity.Responses),
		MaxConnections: n(capacity.Connections), Streams: n(capacity.Streams), ClientStreams: o.APIMaxClientStreams, CatchUps: n(capacity.CatchUps), Callers: n(capacity.Callers),
	}
}
