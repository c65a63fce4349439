package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	ctrl "sigs.k8s.io/controller-runtime"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/capacity"
	"github.com/kagent-dev/khook/internal/feed"
	"github.com/kagent-dev/khook/internal/server"
	"github.com/kagent-dev/khook/internal/web"
)

// apiServer is the HTTP API of the process, on every replica.
type apiServer struct {
	server   *server.Server
	feed     *feed.Feed
	listener net.Listener // nil if the API serves nothing but the metrics port
}

// newAPI returns the HTTP API, which listens already; nil if it is turned off, and the metrics port does not need
// it to know its callers.
func newAPI(ctx context.Context, app *App, mgr ctrl.Manager, own certificate) (*apiServer, error) {
	o := &app.options
	address := o.apiAddress()
	if address == "0" && !o.MetricsSecure {
		return nil, nil //nolint:nilnil // it is turned off
	}
	a := &apiServer{feed: app.feed}
	access, err := o.apiAccess(mgr.GetConfig(), ctrlmetrics.Registry, app.plan.N(capacity.Callers))
	if err != nil {
		return nil, err
	}
	proxies, err := o.trustedProxies()
	if err != nil {
		return nil, err
	}
	external, err := o.externalURL()
	if err != nil {
		return nil, err
	}
	reader := app.store.Reader()
	page, err := o.dashboard()
	if err != nil {
		return nil, err
	}
	a.server, err = server.New(server.Config{
		Reader: reader, ServeClusters: o.ServeClusters, Feed: a.feed, Feeds: app.clusterFeeds(), Hooks: mgr.GetClient(), Access: access, State: introspection{app, reader}, Actions: actions{app, reader}, Pausing: app.pauses,
		Validate: app.validate(access), Explain: app.explain(reader), Configurations: app.hooks.Of, VerifyWindow: o.VerifyWindow, Registry: ctrlmetrics.Registry, Log: app.log.WithName("api"), Version: app.version,
		Retention: o.Retention, Settings: app.settings(), Limits: o.apiLimits(app.plan), Warnings: app.warnings, HTTP2Cleartext: o.APIHTTP2Cleartext,
		Hosts: o.hosts(), TrustedProxies: proxies, ExternalURL: external, TokenAudience: o.tokenAudience(),
		Dashboard: page, Pprof: o.APIPprof, GetCertificate: own, Drain: o.ShutdownTimeout,
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

// maxClusterFeeds is how many clusters beside the own one are followed at the same time. Their tails together are as large as that of the own
// one: a stream that falls behind a short tail reads from the history.
const maxClusterFeeds = 16

// clusterFeeds are the feeds of other clusters; nil if they are not served.
func (a *App) clusterFeeds() *feed.Clusters {
	if !a.options.ServeClusters {
		return nil
	}
	return &feed.Clusters{Most: maxClusterFeeds, New: func(h feed.History) *feed.Feed {
		return newFeed(h, feedPoll, a.log, a.plan.N(capacity.Tail)/2/maxClusterFeeds)
	}}
}

// newFeed is a feed that keeps so many bytes of messages.
func newFeed(history feed.History, poll time.Duration, log logr.Logger, tail int64) *feed.Feed {
	return feed.New(feed.Config{History: history, Encode: api.EncodeEvent, EncodeIncident: api.EncodeIncident, EncodeDelivery: server.EncodeDelivery, Log: log.WithName("feed"), Poll: poll, TailBytes: int(tail)})
}

// dashboard is the page for people; nil if it is turned off.
func (o *Options) dashboard() (server.Dashboard, error) {
	if !o.Dashboard {
		return nil, nil //nolint:nilnil // it is turned off
	}
	page, err := web.New()
	if err != nil {
		return nil, fmt.Errorf("read the dashboard: %w", err)
	}
	return page, nil
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

// kagentProbe looks whether kagent answers, on every replica.
type kagentProbe struct {
	agents *agent.Client
	up     *prometheus.GaugeVec
	last   atomic.Pointer[api.KagentHealth]
}

// Start implements manager.Runnable.
func (k *kagentProbe) Start(ctx context.Context) error {
	return runEvery(ctx, kagentCheckEvery, k.look)
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (k *kagentProbe) NeedLeaderElection() bool { return false }

func (k *kagentProbe) look(ctx context.Context) {
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

func (k *kagentProbe) health() api.KagentHealth {
	if h := k.last.Load(); h != nil {
		return *h
	}
	return api.KagentHealth{PartHealth: api.PartHealth{Status: api.Degraded, Reason: "it was not looked at yet"}}
}
