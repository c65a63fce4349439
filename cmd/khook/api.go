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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/capacity"
	"github.com/kagent-dev/khook/internal/feed"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/server"
)

// api is the HTTP API of the process, on every replica.
type api struct {
	server   *server.Server
	feed     *feed.Feed
	listener net.Listener
}

// newAPI returns the HTTP API, which listens already; nil if it is turned off.
func newAPI(ctx context.Context, p *pipeline, mgr ctrl.Manager) (*api, error) {
	c := p.cmd
	address := c.apiAddress()
	if address == "0" {
		return nil, nil //nolint:nilnil // it is turned off
	}
	a := &api{
		feed: feed.New(feed.Config{History: p.store, Encode: server.EncodeEvent, Log: p.log.WithName("feed"), RingBytes: int(p.plan.N(capacity.Ring))}),
	}
	p.story.committed = a.feed.Wake
	access, err := c.apiAccess(p.kube, mgr.GetConfig())
	if err != nil {
		return nil, err
	}
	a.server, err = server.New(server.Config{
		Store: p.store, Feed: a.feed, Hooks: mgr.GetClient(), Access: access, State: &state{pipeline: p, kagent: p.kagent}, Actions: actions{p},
		Validate: p.validate(access), Registry: metrics.Registry, Log: p.log.WithName("api"), Version: buildVersion(),
		Retention: c.Retention, Settings: p.settings(), Limits: c.apiLimits(p.plan), Warnings: p.plan.Shrunk(), HTTP2Cleartext: c.APIHTTP2Cleartext,
		Pprof: c.APIPprof, CertFile: c.APITLSCertFile, KeyFile: c.APITLSKeyFile, Drain: c.ShutdownTimeout,
	})
	if err != nil {
		return nil, fmt.Errorf("set up the HTTP API: %w", err)
	}
	if a.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", address); err != nil {
		return nil, fmt.Errorf("--api-bind-address: %w", err)
	}
	return a, nil
}

// Start implements manager.Runnable.
func (a *api) Start(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var group errgroup.Group
	group.Go(func() error { return a.feed.Run(ctx) })
	group.Go(func() error { defer cancel(); return a.server.Run(ctx, a.listener) })
	return group.Wait()
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (a *api) NeedLeaderElection() bool { return false }

// apiAccess asks the cluster who may read, unless that is turned off.
func (c *controllerCmd) apiAccess(client kubernetes.Interface, cfg *rest.Config) (server.Access, error) {
	switch c.APIAuth {
	case "none":
		return nil, nil //nolint:nilnil // everybody may
	case "caller":
		return server.CallerAccess(cfg)
	default:
		return server.KubernetesAccess(client)
	}
}

// kagentCheckEvery is how often it is looked whether kagent answers.
const kagentCheckEvery = 30 * time.Second

// kagentCheck looks whether kagent answers, on every replica.
type kagentCheck struct {
	agents *agent.Client
	up     *prometheus.GaugeVec
	last   atomic.Pointer[server.KagentHealth]
}

// Start implements manager.Runnable.
func (k *kagentCheck) Start(ctx context.Context) error { return every(ctx, kagentCheckEvery, k.look) }

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (k *kagentCheck) NeedLeaderElection() bool { return false }

func (k *kagentCheck) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	h := &server.KagentHealth{PartHealth: server.PartHealth{Status: server.Healthy}}
	if err := k.agents.Health(ctx); err != nil {
		if ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) {
			return
		}
		h.PartHealth = server.PartHealth{Status: server.Degraded, Reason: agent.Brief(err)}
	}
	up := 0.0
	if h.Status == server.Healthy {
		up = 1
	}
	k.up.WithLabelValues().Set(up)
	h.CheckedAt = time.Now().UTC()
	k.last.Store(h)
}

func (k *kagentCheck) health() server.KagentHealth {
	if h := k.last.Load(); h != nil {
		return *h
	}
	return server.KagentHealth{PartHealth: server.PartHealth{Status: server.Degraded, Reason: "it was not looked at yet"}}
}

// validate checks manifests as the controller would, for a caller who sees only what the caller may.
func (p *pipeline) validate(access server.Access) func(context.Context, []byte) hook.Report {
	return func(ctx context.Context, manifests []byte) hook.Report {
		return hook.Validate(ctx, manifests, hook.ValidateOptions{
			Policy: p.cmd.policy(), Cluster: p.cmd.Cluster, Lookup: &lookup{p, access},
		})
	}
}

// lookup asks the cluster and kagent.
type lookup struct {
	*pipeline
	access server.Access
}

// Namespace implements hook.Lookup.
func (l *lookup) Namespace(ctx context.Context, name string) error {
	if l.access != nil {
		ok, err := server.MayRead(ctx, l.access, name)
		if err != nil {
			return fmt.Errorf("whether you may use namespace %s %w: the API server does not answer", name, hook.ErrUnknown)
		}
		if !ok {
			return fmt.Errorf("you may not list Hooks in namespace %s: ask for a Role with that right", name)
		}
	}
	if !l.watches(name) {
		return fmt.Errorf("khook does not watch namespace %s: let the operator add it to --namespaces", name)
	}
	_, err := l.kube.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("there is no namespace %s: create it first", name)
	case err != nil:
		return fmt.Errorf("whether there is a namespace %s %w: %s", name, hook.ErrUnknown, apierrors.ReasonForError(err))
	}
	return nil
}

// Agent implements hook.Lookup.
func (l *lookup) Agent(ctx context.Context, ref incident.AgentRef) error {
	err := l.agents.Exists(ctx, ref)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, agent.ErrNoAgent):
		return fmt.Errorf("kagent has no agent %s: create it, or correct the name", ref)
	}
	return fmt.Errorf("whether there is an agent %s %w: %s", ref, hook.ErrUnknown, agent.Explain(err))
}
