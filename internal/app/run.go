package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	goruntime "runtime"
	"strings"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/capacity"
	"github.com/kagent-dev/khook/internal/store"
	"github.com/kagent-dev/khook/internal/store/postgres"
)

// What the controller may do in the cluster; config/rbac is generated from these.
//
// +kubebuilder:rbac:groups="",resources=pods,verbs=list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=list;watch;create
// +kubebuilder:rbac:groups=kagent.dev,resources=hooks,verbs=get;list;watch
// +kubebuilder:rbac:groups=kagent.dev,resources=hooks/status,verbs=get;update;patch
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get
// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create
// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create
// +kubebuilder:rbac:groups="",resources=events,namespace=kagent,verbs=create;patch
// +kubebuilder:rbac:groups="",resources=configmaps,resourceNames=khook-ca,namespace=kagent,verbs=patch
// +kubebuilder:rbac:groups="",resources=secrets,resourceNames=khook-authority,namespace=kagent,verbs=get;update
// +kubebuilder:rbac:groups=coordination.k8s.io,resources=leases,namespace=kagent,verbs=create
// +kubebuilder:rbac:groups=coordination.k8s.io,resources=leases,resourceNames=khook.kagent.dev,namespace=kagent,verbs=get;update

// Config is what the process is made of.
type Config struct {
	Options Options
	Version string    // of the build, as people are told it
	Log     io.Writer // where the log goes
	Faults  Faults    // of tests
}

// Run runs the controller until ctx ends. Then it stops in order, and returns nil; an error says what could not be
// set up or ended the process.
func Run(ctx context.Context, cfg Config) error {
	log := newLog(cfg.Log, cfg.Options.LogLevel, cfg.Options.LogFormat)
	ctrl.SetLogger(log)
	klog.SetLogger(log)
	warnOfOldGo(log, goruntime.Version())
	limitMemory(log)
	cluster, err := restConfig(cfg.Options.Kubeconfig)
	if err != nil {
		return err
	}
	return runOn(ctx, cfg, cluster, log)
}

// heapShare is the part of the container's memory limit that Go's heap may take before its garbage
// collector works harder. SQLite's memory is outside of it.
const heapShare = 0.75

// limitMemory makes Go mind the container's memory limit, if there is one; GOMEMLIMIT wins.
func limitMemory(log logr.Logger) {
	limit, err := memlimit.Set(memlimit.WithRatio(heapShare))
	if err != nil {
		log.V(1).Info("there is no memory limit to mind", "reason", err.Error())
		return
	}
	log.V(1).Info("Go minds a memory limit", "bytes", limit)
}

// runOn runs the controller against a cluster.
func runOn(ctx context.Context, cfg Config, cluster *rest.Config, log logr.Logger) error {
	o := &cfg.Options
	if cfg.Faults.Cluster != nil {
		cluster.Wrap(cfg.Faults.Cluster)
	}
	mgr, err := newManager(cluster, o, cfg.Faults, log)
	if err != nil {
		return cannotSetUp(err)
	}
	plan, err := o.planMemory(log)
	if err != nil {
		return err
	}
	uid, err := readClusterUID(ctx, o, cluster, log)
	if err != nil {
		return err
	}
	st, err := openHistory(ctx, cfg, plan, uid)
	if err != nil {
		return err
	}
	defer func() {
		if err := st.Close(); err != nil {
			log.Error(err, "cannot close the history")
		}
	}()
	agents, err := newAgents(cfg, plan)
	if err != nil {
		return fmt.Errorf("set up the client of kagent: %w", err)
	}
	if err := hooksKnown(mgr); err != nil {
		return err
	}
	p, err := newApp(cfg, plan, mgr, st, agents, log)
	if err != nil {
		return fmt.Errorf("set up the controller: %w", err)
	}
	if err := p.register(ctx, mgr); err != nil {
		return fmt.Errorf("set up the controller: %w", err)
	}
	log.Info("khook starts", "version", cfg.Version, "database", o.databaseShown(), "kagent", o.KagentURL,
		"namespaces", o.Namespaces, "leaderElection", o.LeaderElect)
	ctx, stop := linger(ctx, o.ShutdownDelay, log)
	defer stop()
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("controller: %w", err)
	}
	log.Info("khook stopped")
	return nil
}

// linger returns a context that ends some time after another one. A Service sends requests to a Pod until it has learned that the
// Pod ends, which takes a moment: until then it must be served.
func linger(told context.Context, delay time.Duration, log logr.Logger) (context.Context, context.CancelFunc) {
	if delay == 0 {
		return context.WithCancel(told)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(told))
	remove := context.AfterFunc(told, func() {
		log.Info("khook was told to stop, and goes on for a moment, until nobody asks it any more", "delay", delay.String())
		time.AfterFunc(delay, stop)
	})
	return ctx, func() { remove(); stop() }
}

// readClusterUID is what the cluster is known by. Where that can't be read it is known by its name alone.
func readClusterUID(ctx context.Context, o *Options, cluster *rest.Config, log logr.Logger) (string, error) {
	if o.ClusterUID != "" {
		return o.ClusterUID, nil
	}
	clients, err := kubernetes.NewForConfig(cluster)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, clusterUIDTimeout)
	defer cancel()
	system, err := clients.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	switch {
	case apierrors.IsForbidden(err) || apierrors.IsNotFound(err):
		log.Info("the history can't tell this cluster from another one of the same name: name it by --cluster-uid, or let khook get the namespace kube-system", "reason", err.Error())
		return "", nil
	case err != nil:
		return "", fmt.Errorf("read the UID of the namespace %s: %w", metav1.NamespaceSystem, err)
	}
	return string(system.UID), nil
}

// clusterUIDTimeout is how long the API server has for that.
const clusterUIDTimeout = 30 * time.Second

func openHistory(ctx context.Context, cfg Config, plan *capacity.Plan, clusterUID string) (*store.Store, error) {
	o := &cfg.Options
	if err := o.prepareDatabase(); err != nil {
		return nil, err
	}
	database, err := postgres.Named(o.Database, o.DatabaseFile, o.DatabaseMaxConnections)
	if err != nil {
		return nil, fmt.Errorf("open the history (--database): %w", err)
	}
	st, err := store.Open(ctx, store.Config{Engine: database, Path: o.Database, Cluster: o.Cluster, ClusterUID: clusterUID, Replica: replicaName(), Committing: cfg.Faults.Commit, CacheBytes: plan.SQLiteCache()})
	if err != nil {
		return nil, fmt.Errorf("open the history (--database): %w", err)
	}
	return st, nil
}

func newAgents(cfg Config, plan *capacity.Plan) (*agent.Client, error) {
	o := &cfg.Options
	return agent.New(agent.Config{
		BaseURL: o.KagentURL, UserID: o.KagentUserID, Headers: o.KagentHeaders,
		TokenFile: o.KagentTokenFile, Timeout: o.KagentTimeout, Dialect: o.KagentDialect,
		Transport: cfg.Faults.Kagent, MaxResponse: plan.MaxAnswer(), ReceiveBytes: plan.N(capacity.Answers), DecodeMemory: plan.N(capacity.Decoding),
	})
}

func newManager(cluster *rest.Config, o *Options, faults Faults, log logr.Logger) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha2.AddToScheme(scheme); err != nil {
		return nil, err
	}
	hooks := cache.ByObject{}
	if len(o.Namespaces) > 0 {
		hooks.Namespaces = map[string]cache.Config{}
		for _, ns := range o.Namespaces {
			hooks.Namespaces[ns] = cache.Config{}
		}
	}
	return ctrl.NewManager(cluster, ctrl.Options{
		Scheme: scheme,
		Logger: log,
		Cache:  cache.Options{ByObject: map[client.Object]cache.ByObject{&v1alpha2.Hook{}: hooks}},

		Metrics:                 metricsserver.Options{BindAddress: "0"}, // khook has its own: see addMetricsPort
		HealthProbeBindAddress:  "0",                                     // see addProbePort
		GracefulShutdownTimeout: &o.ShutdownTimeout,

		LeaderElection:                o.LeaderElect,
		LeaderElectionID:              o.LeaderElectionID,
		LeaderElectionNamespace:       o.leaseNamespace(),
		LeaderElectionReleaseOnCancel: true,
		LeaderElectionConfig:          withRate(cluster, leaseQPS, leaseBurst),

		LeaseDuration: faults.Lease, RenewDeadline: faults.Renew, RetryPeriod: faults.Retry,
	})
}

// hooksKnown makes sure that the cluster has the resource.
func hooksKnown(mgr ctrl.Manager) error {
	_, err := mgr.GetRESTMapper().RESTMapping(v1alpha2.SchemeGroupVersion.WithKind("Hook").GroupKind(), v1alpha2.SchemeGroupVersion.Version)
	if err != nil {
		return cannotSetUp(fmt.Errorf("ask the API server for the Hook resource: %w", err))
	}
	return nil
}

// cannotSetUp says what to do where the cluster lacks the Hook resource. Already the manager's cache looks for it.
func cannotSetUp(err error) error {
	if meta.IsNoMatchError(err) {
		return fmt.Errorf("the cluster does not know Hooks: install their CRD, by the chart with crds.install=true, or by kubectl apply -f config/crd in khook's repository: %w", err)
	}
	return fmt.Errorf("set up the controller: %w", err)
}

// restConfig finds the cluster.
func restConfig(kubeconfig string) (*rest.Config, error) {
	cfg, err := findCluster(kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("find a cluster: %w; set --kubeconfig or KUBECONFIG", err)
	}
	return withRate(cfg, statusQPS, statusBurst), nil
}

// findCluster looks at the flag, KUBECONFIG, the in-cluster account, ~/.kube/config. client-go would look at the account
// last, and reads KUBECONFIG, which may name several files, by itself: it only matters here whether it is set.
func findCluster(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" && os.Getenv("KUBECONFIG") == "" {
		if cfg, err := rest.InClusterConfig(); err == nil {
			return cfg, nil
		}
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
}

// newLog returns the log of all parts, client-go's included.
func newLog(w io.Writer, level, format string) logr.Logger {
	var l slog.Level
	if strings.EqualFold(level, "warning") {
		level = "warn"
	}
	if err := l.UnmarshalText([]byte(level)); err != nil {
		l = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: l}
	var handler slog.Handler = slog.NewJSONHandler(w, options)
	if format == "text" {
		handler = slog.NewTextHandler(w, options)
	}
	return logr.FromSlogHandler(handler)
}
