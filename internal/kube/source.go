// Package kube is Kubernetes as a source of signals: it watches Pods and Events, gives them in order to
// a detector, and hands on what that says without losing any of it.
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
	maxBatch   = 1000   // signals that the sink is given at once
	maxQueue   = 20_000 // Config.Queue if it is unset
	maxInbox   = 1024   // Config.Inbox if it is unset
	retryFirst = 100 * time.Millisecond
	retryMost  = 10 * time.Second
	downAfter  = time.Minute // a watch that is down for longer is a failure

	// A watch ends every few minutes and goes on where it was: nothing is missed meanwhile.
	reopenWithin = 5 * time.Second
)

// warnings selects the Events that only they tell of: Warnings about Pods.
var warnings = fields.ParseSelectorOrDie("regarding.kind=Pod,type=Warning").String()

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

// Source watches a cluster and emits signals.
type Source struct {
	cfg      Config
	detector *detect.Detector // only its goroutine touches it
	inbox    chan message
	queries  chan workloadQuery
	queue    *queue
	watches  []*watched
	metrics  *sourceMetrics
	begun    time.Time
	stop     <-chan struct{} // closed when Run is to end
	ended    chan struct{}   // closed when the detector's goroutine has ended

	mu    sync.Mutex
	since time.Time // since when everything has been watched; zero if it is not
}

// message is one thing that a watch tells the detector.
type message struct {
	watch *watched
	kind  messageKind
	sent  time.Time
	obj   any
	list  []any
	done  chan struct{}
}

type messageKind uint8

const (
	msgPut messageKind = iota
	msgDelete
	msgReplace
)

// New returns a source; Run starts it.
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
	s := &Source{cfg: cfg, detector: detect.New(cfg.Timing), inbox: make(chan message, cfg.Inbox), queries: make(chan workloadQuery), queue: newQueue(cfg.Queue), begun: cfg.Clock.Now(), ended: make(chan struct{})}
	s.metrics = newSourceMetrics(cfg.Registerer)
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
func (s *Source) reflect(ctx context.Context, w *watched) {
	if w.after != nil {
		select {
		case <-w.after.listed:
		case <-ctx.Done():
			return
		}
	}
	log := s.cfg.Log.WithValues("watch", w.name)
	reflector := cache.NewReflectorWithOptions(w.listerWatcher(), w.object, w, cache.ReflectorOptions{Name: w.name, Logger: &log, Backoff: reopenPauses()})
	reflector.RunWithContext(ctx)
}

// reopenPauses are those between attempts to watch again. One khook watches: it need not wait for
// half a minute, as client-go does by default, after the API server is back.
func reopenPauses() *wait.Backoff {
	return &wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 10, Cap: 5 * time.Second}
}

func (s *Source) watchPods(namespace string) *watched {
	pods := s.cfg.Client.CoreV1().Pods(namespace)
	w := s.newWatched("pods", namespace, &corev1.Pod{})
	w.list = func(ctx context.Context, o metav1.ListOptions) (any, error) { return pods.List(ctx, o) }
	w.watch = pods.Watch
	return w
}

func (s *Source) watchEvents(namespace string, pods *watched) *watched {
	events := s.cfg.Client.EventsV1().Events(namespace)
	w := s.newWatched("events", namespace, &eventsv1.Event{})
	w.selector = warnings
	w.list = func(ctx context.Context, o metav1.ListOptions) (any, error) { return events.List(ctx, o) }
	w.watch = events.Watch
	w.after = pods
	return w
}

// detect is the goroutine that owns the detector.
func (s *Source) detect(ctx context.Context) {
	defer close(s.ended)
	timer := s.cfg.Clock.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		s.rearm(timer)
		select {
		case <-ctx.Done():
			return
		case m := <-s.inbox:
			s.put(ctx, s.handle(m))
			if m.done != nil {
				close(m.done)
			}
		case q := <-s.queries:
			q.answer <- s.detector.Workload(q.namespace, q.workload)
		case <-timer.C():
			_, live := s.WatchedSince()
			s.detector.SetLive(live)
			s.put(ctx, s.detector.Tick(s.cfg.Clock.Now()))
		}
	}
}

// rearm sets the timer to the detector's next one.
func (s *Source) rearm(timer clock.Timer) {
	if !timer.Stop() {
		select {
		case <-timer.C():
		default:
		}
	}
	wait := time.Hour
	if next, ok := s.detector.Next(); ok {
		wait = max(next.Sub(s.cfg.Clock.Now()), 0)
	}
	timer.Reset(wait)
}

func (s *Source) put(ctx context.Context, signals []incident.Signal) {
	for _, sig := range signals {
		s.metrics.signals.WithLabelValues(string(sig.Kind)).Inc()
	}
	s.queue.put(ctx, signals)
}

// deliver gives the sink what waits, as soon as it waits. What is not settled when ctx ends is not lost:
// the next start finds it again.
func (s *Source) deliver(ctx context.Context) {
	for pause := retryFirst; ; {
		batch := s.queue.peek(ctx, maxBatch)
		if batch == nil || ctx.Err() != nil {
			return
		}
		settled, err := s.cfg.Sink(ctx, batch)
		s.queue.drop(settled)
		s.queue.failing(err)
		if err == nil || ctx.Err() != nil {
			pause = retryFirst
			continue
		}
		if settled > 0 {
			pause = retryFirst
		}
		s.metrics.retries.Inc()
		s.cfg.Log.Error(err, "signals can't be recorded: they are kept, will retry", "signals", len(batch)-settled, "in", pause)
		select {
		case <-ctx.Done():
		case <-s.cfg.Clock.After(wait.Jitter(pause, 0.2)):
		}
		pause = min(2*pause, retryMost)
	}
}

// supervise keeps account of whether everything is watched.
func (s *Source) supervise(ctx context.Context) {
	ticker := s.cfg.Clock.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		s.look()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		}
	}
}

func (s *Source) look() {
	now, all := s.cfg.Clock.Now(), true
	for _, w := range s.watches {
		h := w.health()
		all = all && (h.Up || w.isListed() && now.Sub(h.Since) < reopenWithin)
		s.metrics.observe(h, now)
	}
	s.metrics.waiting.Set(float64(s.queue.len()))
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !all:
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
	waiting := s.queue.len()
	all := make([]source.StreamHealth, len(s.watches))
	for i, w := range s.watches {
		all[i] = w.health()
		all[i].Waiting = waiting
	}
	return all
}

// Check returns what keeps khook from seeing the cluster: a watch that is down for more than a
// minute, or signals that can't be recorded.
func (s *Source) Check() error {
	now := s.cfg.Clock.Now()
	var errs []error
	for _, w := range s.watches {
		h := w.health()
		if down := downFor(h, now); down > downAfter && now.Sub(s.begun) > downAfter {
			errs = append(errs, fmt.Errorf("the watch of %s is down since %s: %s", w.name, now.Add(-down).UTC().Format(time.RFC3339), cmp.Or(h.Error, "no answer yet")))
		}
	}
	if err := s.queue.error(); err != nil {
		errs = append(errs, fmt.Errorf("%d signals wait to be recorded: %w", s.queue.len(), err))
	}
	return errors.Join(errs...)
}
