package app

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
	"github.com/kagent-dev/khook/internal/feed"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/kube"
	"github.com/kagent-dev/khook/internal/ledger"
	"github.com/kagent-dev/khook/internal/notify"
	"github.com/kagent-dev/khook/internal/source"
	"github.com/kagent-dev/khook/internal/status"
	"github.com/kagent-dev/khook/internal/store"
)

// App is the process's parts: those of every replica, and while it leads the way of the data, kube to ledger to store to
// dispatch, with what the Hooks are told beside it.
type App struct {
	options   Options
	version   string
	name      string // of this replica
	plan      *capacity.Plan
	log       logr.Logger
	store     *store.Store
	agents    *agent.Client
	hooks     *hook.Set
	kube      clusterClients
	publisher *publisher
	kagent    *kagentProbe
	lookups   lookupLimits
	status    *status.Writer
	pauses    *pauses
	intake    *intake
	feed      *feed.Feed
	tellers   *notify.Tellers

	hooksListed toolscache.InformerSynced   // all Hooks are in the set
	checked     time.Time                   // when all agents were last looked for
	leader      atomic.Pointer[leaderParts] // nil while another replica leads
}

// leaderParts is what runs on the leader only.
type leaderParts struct {
	sources    source.List
	ledger     *ledger.Ledger
	dispatcher *dispatch.Dispatcher
}

// watches says whether khook watches a namespace.
func (a *App) watches(namespace string) bool {
	return len(a.options.Namespaces) == 0 || slices.Contains(a.options.Namespaces, namespace)
}

func newApp(cfg Config, plan *capacity.Plan, mgr ctrl.Manager, st *store.Store, agents *agent.Client, log logr.Logger) (*App, error) {
	clients, err := newClusterClients(mgr.GetConfig())
	if err != nil {
		return nil, err
	}
	set := hook.NewSet(cfg.Options.policy())
	m := newMetrics(ctrlmetrics.Registry, cfg.Version)
	events := status.NewEventRecorder(clients.tell, func(reason string) { m.droppedEvents.WithLabelValues(reason).Inc() }, log.WithName("events"))
	status := status.NewWriter(status.Config{
		Client: mgr.GetClient(), Set: set, History: st, Changed: recordHolds(events), Log: log.WithName("status"),
	})
	tail := plan.N(capacity.Tail)
	if cfg.Options.ServeClusters {
		tail /= 2 // the other half is for the others'
	}
	live := newFeed(st, pollOf(st), log, tail)
	a := &App{
		options: cfg.Options, version: cfg.Version, name: replicaName(), plan: plan, log: log, store: st, agents: agents, hooks: set, kube: clients, status: status, feed: live,
		lookups: newLookupLimits(int(plan.N(capacity.Callers))),
		kagent:  &kagentProbe{agents: agents, up: m.kagentUp},
	}
	a.intake = &intake{store: st, log: log.WithName("intake")}
	a.pauses = &pauses{app: a, log: log.WithName("pauses")}
	if a.tellers, err = a.newTellers(cfg.Faults.Notify); err != nil {
		return nil, err
	}
	a.publisher = &publisher{
		metrics: m, status: status, events: events, store: st, wake: a.wake, committed: live.Wake,
		log: log.WithName("publisher"), resolved: make(chan []*incident.Incident, resolvedBacklog),
	}
	return a, nil
}

// wake has the dispatcher look at deliveries now. On a replica that stands by it does nothing: the one that leads
// has its own.
func (a *App) wake(ids ...string) {
	if leader := a.leader.Load(); leader != nil {
		leader.dispatcher.Wake(ids...)
	}
}

// register adds all parts and their checks to the manager.
func (a *App) register(ctx context.Context, mgr ctrl.Manager) error {
	if err := a.addProbePort(ctx, mgr); err != nil {
		return err
	}
	if err := a.followHooks(ctx, mgr); err != nil {
		return err
	}
	if err := mgr.Add(a.kagent); err != nil {
		return err
	}
	if err := mgr.Add(newReplicaProbe(a, ctrlmetrics.Registry)); err != nil {
		return err
	}
	found, err := a.certificates(ctx, mgr)
	if err != nil {
		return err
	}
	api, err := newAPI(ctx, a, mgr, found.api)
	if err != nil {
		return err
	}
	if api != nil && api.listener != nil {
		if err := mgr.Add(api); err != nil {
			return err
		}
	}
	if err := a.addMetricsPort(ctx, mgr, api, found.metrics); err != nil {
		return err
	}
	return mgr.Add(manager.RunnableFunc(a.runLeader)) // needs leadership
}

// runLeader watches and calls while this replica is the leader.
func (a *App) runLeader(ctx context.Context) error {
	if !toolscache.WaitForCacheSync(ctx.Done(), a.hooksListed) {
		return errors.New("the Hooks could not be listed")
	}
	if a.takeOver(ctx); ctx.Err() != nil {
		return nil // told to end before it began
	}
	if err := a.pauses.load(ctx); err != nil {
		return err
	}
	leader := &leaderParts{}
	lookedFor, err := a.openLedger(ctx, leader)
	if err != nil {
		return fmt.Errorf("read the history: %w", err)
	}
	cluster, err := kube.New(kube.Config{
		Client: a.kube.watch, Namespaces: a.options.Namespaces,
		Timing: detect.Timing{PendingAfter: a.options.PendingAfter, Stabilization: a.options.Stabilization, CatchUp: a.options.CatchUp, QuietAfter: a.options.QuietAfter, Start: time.Now()},
		Sink:   leader.ledger.Record, Log: a.log.WithName("kube"), Registerer: ctrlmetrics.Registry,
		Queue: int(a.plan.N(capacity.Signals)), Inbox: int(a.plan.N(capacity.Inbox)),
	})
	if err != nil {
		return err
	}
	leader.sources = source.List{cluster}
	leader.dispatcher = dispatch.New(dispatch.Config{
		Concurrency: a.options.AgentConcurrency, VerifyWindow: a.options.VerifyWindow, CallLimit: a.options.KagentTimeout, Follow: true,
		Workers: int(a.plan.N(capacity.Workers)), Calls: int(a.plan.N(capacity.Calls)), Followers: a.plan.N(capacity.Followers),
		Log: a.log.WithName("dispatch"), Shared: leader.ledger.Shared, Refusal: a.refusal, Paused: a.paused, Workload: workloadHealth(cluster), WatchedSince: leader.sources.WatchedSince, Observe: a.publisher.onDelivery,
	}, a.store, a.agents)
	a.leader.Store(leader)
	defer a.leader.Store(nil)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.untilDeposed(ctx) })
	group.Go(func() error { return leader.sources.Run(ctx, lookedFor) })
	group.Go(func() error { return leader.dispatcher.Run(ctx) })
	group.Go(func() error { return a.status.Run(ctx) })
	group.Go(func() error { return a.publisher.run(ctx) })
	group.Go(func() error { return a.publisher.events.Run(ctx) })
	group.Go(func() error { return a.endQuiet(ctx, leader) })
	group.Go(func() error { return a.reconsider(ctx, leader) })
	group.Go(func() error { return a.pauses.run(ctx, leader) })
	group.Go(func() error { return a.takeIn(ctx) })
	group.Go(func() error { return a.tellers.Run(ctx) })
	group.Go(func() error { return a.replayDeadLetters(ctx, leader) })
	group.Go(func() error { return a.prune(ctx) })
	group.Go(func() error { return a.checkAgents(ctx) })
	group.Go(func() error { return a.measure(ctx, leader.dispatcher) })
	return group.Wait()
}

// openLedger reads the history that the ledger goes on from, and returns the incidents that sources are to look for.
func (a *App) openLedger(ctx context.Context, leader *leaderParts) (lookedFor []*incident.Incident, err error) {
	leader.ledger, err = ledger.New(ctx, ledger.Config{
		QuietAfter: a.options.QuietAfter, MaxCallsPerHour: a.options.MaxCallsPerHour, PageURL: a.options.pageURL(), Observe: a.publisher.onRecorded, Log: a.log.WithName("ledger"),
	}, a.store, a.hooks)
	if err != nil {
		return nil, err
	}
	return leader.ledger.LookedFor(ctx)
}

// takeOver keeps the former leader from writing, before its history is read. It may have been halted
// in the middle of a write: then that is waited for.
func (a *App) takeOver(ctx context.Context) {
	_ = wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) {
		err := a.store.Lead(ctx)
		if err != nil && ctx.Err() == nil {
			a.log.Error(err, "cannot take over from the former leader, will retry")
		}
		return err == nil, nil
	})
}

// deposedEvery is how often a leader asks whether it still is one.
const deposedEvery = time.Second

// untilDeposed ends the process of a leader after which another one has led. The Lease alone does not tell: who was halted, or was late to renew,
// may have lost it to another one and got it back when that one ended, without noticing. The history refuses all that such a leader writes, for
// good: only one that begins anew knows what was recorded meanwhile.
func (a *App) untilDeposed(ctx context.Context) error {
	err := wait.PollUntilContextCancel(ctx, deposedEvery, false, func(ctx context.Context) (bool, error) {
		if err := a.store.StillLeads(ctx); errors.Is(err, store.ErrDeposed) {
			return false, err
		}
		return false, nil
	})
	if ctx.Err() != nil {
		return nil //nolint:nilerr // it was told to end
	}
	return fmt.Errorf("this khook must begin anew: %w", err)
}

// followHooks keeps the live set of hooks as the cluster has it, on every replica.
func (a *App) followHooks(ctx context.Context, mgr ctrl.Manager) error {
	informer, err := mgr.GetCache().GetInformer(ctx, &v1alpha2.Hook{}, cache.BlockUntilSynced(false))
	if err != nil {
		return err
	}
	put := func(obj any) {
		if h, ok := obj.(*v1alpha2.Hook); ok {
			a.hooks.Put(h)
			a.status.Touch(refOf(h))
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
				a.hooks.Delete(refOf(h))
			}
		},
	})
	if err == nil {
		a.hooksListed = handler.HasSynced
	}
	return err
}

// refusal tells why a delivery must not be sent any more.
func (a *App) refusal(d *delivery.Delivery) (delivery.Skip, string) {
	return a.hooks.Refusal(d.Hook, d.HookUID, d.Agent)
}

// paused tells whether the calls of a Hook are paused now.
func (a *App) paused(hook delivery.HookRef) (delivery.Pause, bool) {
	return a.hooks.Paused(hook, time.Now())
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

func (a *App) historyReady(r *http.Request) error { return a.store.Check(r.Context()) }

// watchReady is about the leader; another replica is ready to become it.
func (a *App) watchReady(*http.Request) error {
	w := a.leader.Load()
	if w == nil {
		return nil
	}
	return w.sources.Check()
}
