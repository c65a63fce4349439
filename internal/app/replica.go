package app

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/metric"
	"github.com/kagent-dev/khook/internal/store"
)

// feedPoll is how often the changes of other replicas are looked for, where there may be some: one row is read.
const feedPoll = 75 * time.Millisecond

// pollOf is how often the feed of a history looks without being woken; 0 for what it does by itself.
func pollOf(st *store.Store) time.Duration {
	if st.Shared() {
		return feedPoll
	}
	return 0
}

// replicaName is the name of this process among the replicas: that of its Pod in a cluster.
func replicaName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	if os.Getenv("KUBERNETES_SERVICE_HOST") != "" {
		return host
	}
	return fmt.Sprintf("%s/%d", host, os.Getpid())
}

// replicaProbe tells who leads, and how far this replica is behind, on every replica.
type replicaProbe struct {
	app    *App
	leads  prometheus.Gauge
	term   prometheus.Gauge
	behind prometheus.Gauge
	age    prometheus.Gauge
}

func newReplicaProbe(app *App, r prometheus.Registerer) *replicaProbe {
	gauge := func(name, help string) prometheus.Gauge {
		return metric.Register(r, prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help}))
	}
	return &replicaProbe{
		app:    app,
		leads:  gauge("khook_replica_leads", "Whether this replica watches and calls: 1 or 0."),
		term:   gauge("khook_replica_term", "Term of the leader, as the history has it: it grows with each one."),
		behind: gauge("khook_replica_lag_changes", "Numbers of the change sequence that the streams of this replica are behind."),
		age:    gauge("khook_replica_lag_seconds", "How long ago the streams of this replica had seen all changes."),
	}
}

// replicaCheckEvery is how often the metrics are brought up to date.
const replicaCheckEvery = 5 * time.Second

// Start implements manager.Runnable.
func (p *replicaProbe) Start(ctx context.Context) error {
	return runEvery(ctx, replicaCheckEvery, func(ctx context.Context) {
		h := p.app.replica(ctx)
		leads := 0.0
		if p.app.leader.Load() != nil {
			leads = 1
		}
		p.leads.Set(leads)
		p.age.Set(h.LagSeconds)
		if h.Term > 0 {
			p.term.Set(float64(h.Term))
			p.behind.Set(float64(h.LagChanges))
		}
	})
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (p *replicaProbe) NeedLeaderElection() bool { return false }

// replica is what this replica knows of the one that leads and of itself. What can't be read now is left out: it is told of the history.
func (a *App) replica(ctx context.Context) api.ReplicaHealth {
	h := api.ReplicaHealth{Name: a.name}
	if current := a.feed.Current(); !current.IsZero() {
		h.LagSeconds = max(0, time.Since(current).Seconds())
	}
	term, led, err := a.store.Reader().NewestTerm(ctx)
	if err != nil || !led {
		return h
	}
	h.Leader, h.Term, h.Since = term.Leader, term.No, term.At
	if last, err := a.store.Reader().LastChange(ctx); err == nil {
		h.LagChanges = max(0, last-a.feed.Head())
	}
	return h
}
