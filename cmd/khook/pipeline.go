package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/wait"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/capacity"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/detect"
	"github.com/kagent-dev/khook/internal/dispatch"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/kube"
	"github.com/kagent-dev/khook/internal/ledger"
	"github.com/kagent-dev/khook/internal/source"
	"github.com/kagent-dev/khook/internal/store"
)

// pipeline is the way of the data on the leader: kube to ledger to store to dispatch, with what
// the Hooks are told beside it.
type pipeline struct {
	options Options
	version string
	plan    *capacity.Plan
	log     logr.Logger
	store   *store.Store
	agents  *agent.Client
	hooks   *hook.Set
	kube    clusterClients
	story   *story
	kagent  *kagentCheck
	asked   lookupLimits
	status  *hook.StatusWriter

	hooksListed toolscache.InformerSynced // all Hooks are in the set
	checked     time.Time                 // when all agents were last looked for
	working     atomic.Pointer[work]      // nil while another replica leads
}

// work is what runs on the leader only.
type work struct {
	sources    source.List
	book       *ledger.Ledger
	dispatcher *dispatch.Dispatcher
}

// watches says whether khook watches a namespace.
func (p *pipeline) watches(namespace string) bool {
	return len(p.options.Namespaces) == 0 || slices.Contains(p.options.Namespaces, namespace)
}

func newPipeline(cfg Config, plan *capacity.Plan, mgr ctrl.Manager, st *store.Store, agents *agent.Client, log logr.Logger) (*pipeline, error) {
	clients, err := newClusterClients(mgr.GetConfig())
	if err != nil {
		return nil, err
	}
	set := hook.NewSet(cfg.Options.policy())
	m := newMeters(ctrlmetrics.Registry, cfg.Version)
	teller := hook.NewTeller(clients.tell, func(reason string) { m.droppedEvents.WithLabelValues(reason).Inc() }, log.WithName("story"))
	status := hook.NewStatusWriter(hook.StatusConfig{
		Client: mgr.GetClient(), Set: set, History: st, Changed: tellHolds(teller), Log: log.WithName("status"),
	})
	return &pipeline{
		options: cfg.Options, version: cfg.Version, plan: plan, log: log, store: st, agents: agents, hooks: set, kube: clients, status: status,
		asked:  newLookupLimits(int(plan.N(capacity.Callers))),
		kagent: &kagentCheck{agents: agents, up: m.kagentUp},
		story:  &story{meters: m, status: status, teller: teller, store: st, committed: func() {}, log: log.WithName("story"), resolved: make(chan []*incident.Incident, storyBacklog)},
	}, nil
}

// register adds the pipeline and its checks to the manager.
func (p *pipeline) register(ctx context.Context, mgr ctrl.Manager) error {
	if err := p.addProbePort(ctx, mgr); err != nil {
		return err
	}
	if err := p.followHooks(ctx, mgr); err != nil {
		return err
	}
	if err := mgr.Add(p.kagent); err != nil {
		return err
	}
	found, err := p.certificates(mgr)
	if err != nil {
		return err
	}
	api, err := newAPI(ctx, p, mgr, found.api)
	if err != nil {
		return err
	}
	if api != nil && api.listener != nil {
		if err := mgr.Add(api); err != nil {
			return err
		}
	}
	if err := p.addMetricsPort(ctx, mgr, api, found.metrics); err != nil {
		return err
	}
	return mgr.Add(manager.RunnableFunc(p.lead)) // needs leadership
}

// lead watches and calls while this replica is the leader.
func (p *pipeline) lead(ctx context.Context) error {
	if !toolscache.WaitForCacheSync(ctx.Done(), p.hooksListed) {
		return errors.New("the Hooks could not be listed")
	}
	if p.takeOver(ctx); ctx.Err() != nil {
		return nil // told to end before it began
	}
	book, err := ledger.New(ctx, ledger.Config{
		Cluster: p.options.Cluster, QuietAfter: p.options.QuietAfter, MaxCallsPerHour: p.options.MaxCallsPerHour, Observe: p.story.applied, Log: p.log.WithName("ledger"),
	}, p.store, p.hooks)
	if err != nil {
		return fmt.Errorf("read the history: %w", err)
	}
	cluster, err := kube.New(kube.Config{
		Client: p.kube.watch, Namespaces: p.options.Namespaces,
		Timing: detect.Timing{PendingAfter: p.options.PendingAfter, Stabilization: p.options.Stabilization, CatchUp: p.options.CatchUp, Start: time.Now()},
		Sink:   book.Record, Log: p.log.WithName("kube"), Registerer: ctrlmetrics.Registry,
		Queue: int(p.plan.N(capacity.Signals)), Inbox: int(p.plan.N(capacity.Inbox)),
	})
	if err != nil {
		return err
	}
	dispatcher := dispatch.New(dispatch.Config{
		Concurrency: p.options.AgentConcurrency, VerifyWindow: p.options.VerifyWindow, Follow: true,
		Workers: int(p.plan.N(capacity.Workers)), Followers: p.plan.N(capacity.Followers),
		Log: p.log.WithName("dispatch"), Shared: book.Shared, Refusal: p.refusal, Workload: workloadHealth(cluster), Observe: p.story.dispatched,
	}, p.store, p.agents)
	p.story.wake = dispatcher.Wake
	sources := source.List{cluster}
	p.working.Store(&work{sources, book, dispatcher})
	defer p.working.Store(nil)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return sources.Run(ctx, book.Open()) })
	group.Go(func() error { return dispatcher.Run(ctx) })
	group.Go(func() error { return p.status.Run(ctx) })
	group.Go(func() error { return p.story.run(ctx) })
	group.Go(func() error { return p.story.teller.Run(ctx) })
	group.Go(func() error { return p.endQuiet(ctx, book, sources) })
	group.Go(func() error { return p.reconsider(ctx, book) })
	group.Go(func() error { return p.replayDeadLetters(ctx, book) })
	group.Go(func() error { return p.prune(ctx) })
	group.Go(func() error { return p.checkAgents(ctx) })
	group.Go(func() error { return p.measure(ctx, dispatcher) })
	return group.Wait()
}

// takeOver keeps the former leader from writing, before its history is read. It may have been halted
// in the middle of a write: then that is waited for.
func (p *pipeline) takeOver(ctx context.Context) {
	_ = wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) {
		err := p.store.Lead(ctx)
		if err != nil && ctx.Err() == nil {
			p.log.Error(err, "cannot take over from the former leader, will retry")
		}
		return err == nil, nil
	})
}

// followHooks keeps the live set of hooks as the cluster has it, on every replica.
func (p *pipeline) followHooks(ctx context.Context, mgr ctrl.Manager) error {
	informer, err := mgr.GetCache().GetInformer(ctx, &v1alpha2.Hook{}, cache.BlockUntilSynced(false))
	if err != nil {
		return err
	}
	put := func(obj any) {
		if h, ok := obj.(*v1alpha2.Hook); ok {
			p.hooks.Put(h)
			p.status.Touch(refOf(h))
		}
	}
	handler, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    put,
		UpdateFunc: func(_, obj any) { put(obj) },
		DeleteFunc: func(obj any) {
			if gone, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
				obj = gone.Obj
			}
			if h, ok := obj.(*v1alpha2.Hook); ok {
				p.hooks.Delete(refOf(h))
			}
		},
	})
	if err == nil {
		p.hooksListed = handler.HasSynced
	}
	return err
}

// refusal tells why a delivery must not be sent any more.
func (p *pipeline) refusal(d *delivery.Delivery) (delivery.Skip, string) {
	return p.hooks.Refusal(d.Hook, d.HookUID, d.Agent)
}

// workloadHealth asks the watched cluster how a workload does.
func workloadHealth(cluster *kube.Source) func(context.Context, string, incident.Workload) (pods, healthy int, known bool) {
	return func(ctx context.Context, namespace string, w incident.Workload) (pods, healthy int, known bool) {
		h, err := cluster.Workload(ctx, namespace, w)
		return h.Pods, h.Healthy, err == nil && h.Synced
	}
}

func refOf(h *v1alpha2.Hook) delivery.HookRef {
	return delivery.HookRef{Namespace: h.Namespace, Name: h.Name}
}

func (p *pipeline) historyReady(r *http.Request) error { return p.store.Check(r.Context()) }

// watchReady is about the leader; another replica is ready to become it.
func (p *pipeline) watchReady(*http.Request) error {
	w := p.working.Load()
	if w == nil {
		return nil
	}
	return w.sources.Check()
}
