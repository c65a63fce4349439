// Package kube is Kubernetes as a source of signals: it watches Pods and Events, gives them in order to
// a detector, and hands the signals to a sink without losing any.
//
// It must not decide what a version of a Pod means, which is internal/detect's, nor write to the cluster.
//
//	reflector (one a watch) -> inbox -> detect (one goroutine) -> queue -> deliver -> sink
//
// Each arrow is bounded and waits: a sink that is slow or fails makes the watches wait, and the API server
// keeps what they have not read. What is on its way when khook ends is found again by the next start, under
// the same keys.
package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"github.com/kagent-dev/khook/internal/detect"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/source"
)

// Bounds of the Source.
const (
	maxBatch   = 1000                   // signals that the sink is given at once
	maxQueue   = 20_000                 // Config.Queue if it is unset
	maxInbox   = 1024                   // Config.Inbox if it is unset
	retryFirst = 100 * time.Millisecond // between two attempts to record, at first
	retryMost  = 10 * time.Second       // and at most
	downAfter  = time.Minute            // a watch that is down for longer is a failure

	// A watch ends every few minutes and goes on where it was: nothing is missed meanwhile.
	reopenWithin = 5 * time.Second
)

// AboutPods selects the Events that are looked at: those about Pods, but for what each Pod has that starts and stops as it
// should, and BackOff, which repeats what the status says. That is one watch: a selector can't ask for two reasons, and each
// further watch of Events makes the API server, which has no cache of them, read them all once more
// (pkg/kubeapiserver/default_storage_factory_builder.go, DefaultWatchCacheSizes).
var AboutPods = fields.ParseSelectorOrDie("regarding.kind=Pod,reason!=Scheduled,reason!=Pulled,reason!=Created,reason!=Started," +
	"reason!=Killing,reason!=BackOff").String()

// Config holds the settings of a Source.
type Config struct {
	Client     kubernetes.Interface
	Namespaces []string // all if empty
	Timing     detect.Timing
	Clock      clock.WithTicker // of the timers; the real one if nil
	Sink       source.Sink
	Log        logr.Logger
	Registerer prometheus.Registerer
	Queue      int // signals that wait for the sink; then the watches wait; 20,000
	Inbox      int // watch events that wait for the detector; then the watches wait; 1,024
}

// Source watches a cluster and emits signals. It is a source.Source.
type Source struct {
	cfg      Config
	detector *detect.Detector // only its goroutine touches it
	inbox    chan message
	queries  chan workloadQuery
	queue    *queue
	watches  []*objectWatch
	metrics  *sourceMetrics
	begun    time.Time
	stop     <-chan struct{} // closed when Run is to end
	ended    chan struct{}   // closed when the detector's goroutine has ended

	mu    sync.Mutex
	since time.Time // since when everything has been watched; zero if it is not
}

var _ source.Source = (*Source)(nil)

// New returns a source; Run starts it. It fails without a Client or a Sink.
func New(cfg Config) (*Source, error) {
	if cfg.Client == nil || cfg.Sink == nil {
		return nil, errors.New("a Source needs a Client and a Sink")
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	if cfg.Queue == 0 {
		cfg.Queue = maxQueue
	}
	if cfg.Inbox == 0 {
		cfg.Inbox = maxInbox
	}
	if cfg.Timing.Start.IsZero() {
		cfg.Timing.Start = cfg.Clock.Now()
	}
	s := &Source{
		cfg: cfg, detector: detect.New(cfg.Timing), metrics: newSourceMetrics(cfg.Registerer),
		inbox: make(chan message, cfg.Inbox), queries: make(chan workloadQuery), queue: newQueue(cfg.Queue),
		begun: cfg.Clock.Now(), ended: make(chan struct{}),
	}
	namespaces := cfg.Namespaces
	if len(namespaces) == 0 {
		namespaces = []string{metav1.NamespaceAll}
	}
	for _, ns := range namespaces {
		pods := s.watchPods(ns)
		s.watches = append(s.watches, pods, s.watchEvents(ns, pods))
	}
	return s, nil
}

// Run watches until ctx ends. open are the incidents that are open in the history.
func (s *Source) Run(ctx context.Context, open []*incident.Incident) error {
	s.detector.Seed(open)
	s.stop = ctx.Done()
	var running sync.WaitGroup
	running.Go(func() { s.deliver(ctx) })
	running.Go(func() { s.detect(ctx) })
	running.Go(func() { s.supervise(ctx) })
	for _, w := range s.watches {
		running.Go(func() { s.reflect(ctx, w) })
	}
	running.Wait()
	return nil
}

// reflect keeps one watch going. Events are watched once the Pods that they are about are listed.
func (s *Source) reflect(ctx context.Context, w *objectWatch) {
	if w.after != nil {
		select {
		case <-w.after.listed:
		case <-ctx.Done():
			return
		}
	}
	log := s.cfg.Log.WithValues("watch", w.name)
	reflector := cache.NewReflectorWithOptions(w.listerWatcher(), w.object, w, cache.ReflectorOptions{
		Name: w.name, Logger: &log, Backoff: reopenPauses(),
	})
	reflector.RunWithContext(ctx)
}

// reopenPauses are those between attempts to watch again. One khook watches: it need not wait for
// half a minute, as client-go does by default, after the API server is back.
func reopenPauses() *wait.Backoff {
	return &wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 10, Cap: 5 * time.Second}
}

func (s *Source) watchPods(namespace string) *objectWatch {
	pods := s.cfg.Client.CoreV1().Pods(namespace)
	w := s.newObjectWatch("pods", namespace, &corev1.Pod{})
	w.list = func(ctx context.Context, o metav1.ListOptions) (any, error) { return pods.List(ctx, o) }
	w.watch = pods.Watch
	return w
}

func (s *Source) watchEvents(namespace string, pods *objectWatch) *objectWatch {
	events := s.cfg.Client.EventsV1().Events(namespace)
	w := s.newObjectWatch("events", namespace, &eventsv1.Event{})
	w.selector = AboutPods
	w.list = func(ctx context.Context, o metav1.ListOptions) (any, error) { return events.List(ctx, o) }
	w.watch = events.Watch
	w.after = pods
	return w
}

// supervise keeps account of whether everything is watched.
func (s *Source) supervise(ctx context.Context) {
	ticker := s.cfg.Clock.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		s.noteHealth()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		}
	}
}

// noteHealth brings up to date since when everything has been watched: a watch that was reopened at once
// has missed nothing.
func (s *Source) noteHealth() {
	now, watching := s.cfg.Clock.Now(), true
	for _, w := range s.watches {
		h := w.health()
		watching = watching && (h.Up || w.isListed() && now.Sub(h.Since) < reopenWithin)
		s.metrics.observe(h, now)
	}
	s.metrics.waiting.Set(float64(s.queue.depth()))
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !watching:
		s.since = time.Time{}
	case s.since.IsZero():
		s.since = now
	}
}

// WatchedSince returns since when everything has been watched without a break; false if it is not.
func (s *Source) WatchedSince() (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.since, !s.since.IsZero()
}

// Synced says whether all first lists are in.
func (s *Source) Synced() bool {
	for _, w := range s.watches {
		select {
		case <-w.listed:
		default:
			return false
		}
	}
	return true
}

// Health tells how each watch does.
func (s *Source) Health() []source.StreamHealth {
	waiting := s.queue.depth()
	streams := make([]source.StreamHealth, len(s.watches))
	for i, w := range s.watches {
		streams[i] = w.health()
		streams[i].Waiting = waiting
	}
	return streams
}

// Check returns what keeps khook from seeing the cluster: a watch that is down for more than a
// minute, or signals that can't be recorded.
func (s *Source) Check() error {
	now := s.cfg.Clock.Now()
	var errs []error
	for _, w := range s.watches {
		h := w.health()
		if down := downFor(h, now); down > downAfter && now.Sub(s.begun) > downAfter {
			since := now.Add(-down).UTC().Format(time.RFC3339)
			errs = append(errs, fmt.Errorf("the watch of %s is down since %s: %s", w.name, since, cmp.Or(h.Error, "no answer yet")))
		}
	}
	if err := s.queue.failure(); err != nil {
		errs = append(errs, fmt.Errorf("%s waiting to be recorded: %w", incident.Counted(s.queue.depth(), "signal"), err))
	}
	return errors.Join(errs...)
}
