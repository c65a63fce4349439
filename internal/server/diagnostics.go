package server

import (
	"context"
	"math"
	"runtime"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"time"

	"github.com/kagent-dev/khook/internal/api"
)

func (s *Server) diagnostics(ctx context.Context, _ *struct{}) (api.Diagnostics, error) {
	if err := s.allowDiagnostics(ctx); err != nil {
		return api.Diagnostics{}, err
	}
	d := api.Diagnostics{
		Health: s.Health(ctx), Queues: s.cfg.State.Queues(ctx), Deliveries: map[string]int{}, Hooks: s.cfg.State.Hooks(),
		Runtime: runtimeStats(), Build: buildInfo(s.cfg.Version), Settings: s.cfg.Settings,
	}
	d.Runtime.OpenConnections = int64(s.openConnections())
	if d.Queues == nil {
		d.Queues = []api.Queue{}
	}
	states, err := s.cfg.Reader.Unfinished(ctx)
	if err != nil {
		return d, s.storeError(ctx, err)
	}
	for state, n := range states {
		d.Deliveries[string(state)] = n
	}
	if d.Store, err = s.storeStats(ctx); err != nil {
		return d, s.storeError(ctx, err)
	}
	return d, nil
}

func milliseconds(d time.Duration) float64 {
	return math.Round(float64(d)/float64(time.Microsecond)) / 1000
}

func (s *Server) storeStats(ctx context.Context) (api.StoreStats, error) {
	st := api.StoreStats{RetentionSeconds: s.cfg.Retention.Seconds()}
	var err error
	if st.SizeBytes, err = s.cfg.Reader.Size(ctx); err != nil {
		return st, err
	}
	began := time.Now()
	if st.LastChange, err = s.cfg.Reader.LastChange(ctx); err != nil {
		return st, err
	}
	st.ReadLatencyMs = milliseconds(time.Since(began))
	write := s.probe.get(ctx, s.probeWrite)
	st.WriteLatencyMs, st.WriteError = write.latencyMs, write.failure
	return st, nil
}

// writeProbe is how long a transaction took, or why it failed.
type writeProbe struct {
	latencyMs float64
	failure   string
}

func (s *Server) probeWrite(ctx context.Context) writeProbe {
	began := time.Now()
	if err := s.cfg.Reader.ProbeWrite(ctx); err != nil {
		return writeProbe{failure: err.Error()}
	}
	return writeProbe{latencyMs: milliseconds(time.Since(began))}
}

func runtimeStats() api.RuntimeStats {
	samples := []runtimemetrics.Sample{
		{Name: "/sched/goroutines:goroutines"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/total:bytes"},
		{Name: "/gc/cycles/total:gc-cycles"}, {Name: "/cpu/classes/gc/total:cpu-seconds"}, {Name: "/sched/pauses/total/gc:seconds"},
	}
	runtimemetrics.Read(samples)
	r := api.RuntimeStats{CPUs: runtime.GOMAXPROCS(0)}
	number := func(i int) uint64 {
		if samples[i].Value.Kind() == runtimemetrics.KindUint64 {
			return samples[i].Value.Uint64()
		}
		return 0
	}
	r.Goroutines, r.HeapBytes, r.MemoryBytes, r.GCCycles = int(number(0)), number(1), number(2), number(3)
	if samples[4].Value.Kind() == runtimemetrics.KindFloat64 {
		r.GCCPUSeconds = samples[4].Value.Float64()
	}
	if samples[5].Value.Kind() == runtimemetrics.KindFloat64Histogram {
		r.GCPauseP99Ms = quantile(samples[5].Value.Float64Histogram(), 0.99) * 1000
	}
	if limit := debug.SetMemoryLimit(-1); limit != math.MaxInt64 {
		r.MemoryLimit = limit
	}
	return r
}

// quantile is the upper bound of the bucket that holds it.
func quantile(h *runtimemetrics.Float64Histogram, q float64) float64 {
	var all, seen uint64
	for _, n := range h.Counts {
		all += n
	}
	for i, n := range h.Counts {
		if seen += n; n > 0 && float64(seen) >= q*float64(all) {
			if math.IsInf(h.Buckets[i+1], 0) {
				return h.Buckets[i]
			}
			return h.Buckets[i+1]
		}
	}
	return 0
}

func buildInfo(version string) api.BuildInfo {
	b := api.BuildInfo{Version: version, GoVersion: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}
