package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	ctrl "sigs.k8s.io/controller-runtime"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/capacity"
	"github.com/kagent-dev/khook/internal/feed"
	"github.com/kagent-dev/khook/internal/server"
)

// apiServer is the HTTP API of the process, on every replica.
type apiServer struct {
	server   *server.Server
	feed     *feed.Feed
	listener net.Listener // nil if the API serves nothing but the metrics port
}

// newAPI returns the HTTP API, which listens already; nil if it is turned off, and the metrics port does not need
// it to know its callers.
func newAPI(ctx context.Context, p *pipeline, mgr ctrl.Manager, own certificate) (*apiServer, error) {
	o := &p.options
	address := o.apiAddress()
	if address == "0" && !o.MetricsSecure {
		return nil, nil //nolint:nilnil // it is turned off
	}
	a := &apiServer{
		feed: feed.New(feed.Config{History: p.store, Encode: api.EncodeEvent, Log: p.log.WithName("feed"), RingBytes: int(p.plan.N(capacity.Ring))}),
	}
	p.story.committed = a.feed.Wake
	access, err := o.apiAccess(mgr.GetConfig(), ctrlmetrics.Registry, p.plan.N(capacity.Callers))
	if err != nil {
		return nil, err
	}
	proxies, err := o.trustedProxies()
	if err != nil {
		return nil, err
	}
	a.server, err = server.New(server.Config{
		Store: p.store, Feed: a.feed, Hooks: mgr.GetClient(), Access: access, State: &state{pipeline: p, kagent: p.kagent}, Actions: actions{p},
		Validate: p.validate(access), Registry: ctrlmetrics.Registry, Log: p.log.WithName("api"), Version: p.version,
		Retention: o.Retention, Settings: p.settings(), Limits: o.apiLimits(p.plan), Warnings: p.plan.Shrunk(), HTTP2Cleartext: o.APIHTTP2Cleartext,
		Hosts: o.hosts(), TrustedProxies: proxies, TokenAudience: o.tokenAudience(),
		Pprof: o.APIPprof, GetCertificate: own, Drain: o.ShutdownTimeout,
	})
	if err != nil {
		return nil, fmt.Errorf("set up the HTTP API: %w", err)
	}
	if address == "0" {
		return a, nil
	}
	if a.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", address); err != nil {
		return nil, fmt.Errorf("--api-bind-address: %w", err)
	}
	return a, nil
}

// Start implements manager.Runnable.
func (a *apiServer) Start(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var group errgroup.Group
	group.Go(func() error { return a.feed.Run(ctx) })
	group.Go(func() error { defer cancel(); return a.server.Run(ctx, a.listener) })
	return group.Wait()
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (a *apiServer) NeedLeaderElection() bool { return false }

// kagentCheckEvery is how often it is looked whether kagent answers.
const kagentCheckEvery = 30 * time.Second

// kagentCheck looks whether kagent answers, on every replica.
type kagentCheck struct {
	agents *agent.Client
	up     *prometheus.GaugeVec
	last   atomic.Pointer[api.KagentHealth]
}

// Start implements manager.Runnable.
func (k *kagentCheck) Start(ctx context.Context) error { return every(ctx, kagentCheckEvery, k.look) }

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (k *kagentCheck) NeedLeaderElection() bool { return false }

func (k *kagentCheck) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	h := &api.KagentHealth{PartHealth: api.PartHealth{Status: api.Healthy}}
	if err := k.agents.Health(ctx); err != nil {
		if ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) {
			return
		}
		h.PartHealth = api.PartHealth{Status: api.Degraded, Reason: agent.Brief(err)}
	}
	up := 0.0
	if h.Status == api.Healthy {
		up = 1
	}
	k.up.WithLabelValues().Set(up)
	h.CheckedAt = time.Now().UTC()
	k.last.Store(h)
}

func (k *kagentCheck) health() api.KagentHealth {
	if h := k.last.Load(); h != nil {
		return *h
	}
	return api.KagentHealth{PartHealth: api.PartHealth{Status: api.Degraded, Reason: "it was not looked at yet"}}
}
