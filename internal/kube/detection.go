package kube

import (
	"context"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/clock"

	"github.com/kagent-dev/khook/internal/incident"
)

// message is one thing that a watch tells the detector.
type message struct {
	watch *objectWatch
	kind  messageKind
	sent  time.Time
	obj   any
	list  []any
	done  chan struct{}
}

type messageKind uint8

const (
	msgAdd messageKind = iota
	msgPut
	msgDelete
	msgReplace
)

// detect is the goroutine that owns the detector: while the source runs, nothing else may touch it.
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

// handle lets the detector see what a watch told.
func (s *Source) handle(m message) []incident.Signal {
	now := s.cfg.Clock.Now()
	m.watch.noteLag(m.sent, now)
	switch m.kind {
	case msgAdd, msgPut:
		m.watch.newestVersion = max(m.watch.newestVersion, versionOf(m.obj))
		return s.see(now, s.changeOf(m.kind), m.obj, false)
	case msgDelete:
		return s.see(now, watch.Deleted, m.obj, false)
	default:
		return s.seeAll(now, m)
	}
}

// changeOf is what a message of a watch says of its object. What comes while not everything is watched may have waited for
// the watch to come back: only otherwise was an object that is new made just now.
func (s *Source) changeOf(kind messageKind) watch.EventType {
	if _, watched := s.WatchedSince(); kind == msgAdd && watched {
		return watch.Added
	}
	return watch.Modified
}

func (s *Source) see(now time.Time, t watch.EventType, obj any, catchUp bool) []incident.Signal {
	switch o := obj.(type) {
	case *corev1.Pod:
		return s.detector.Pod(now, t, o, catchUp)
	case *eventsv1.Event:
		return s.detector.Event(now, t, o, catchUp)
	}
	return nil
}

// versionOf is an object's resource version; 0 if it is none that can be compared.
func versionOf(obj any) uint64 {
	o, err := meta.Accessor(obj)
	if err != nil {
		return 0
	}
	version, err := strconv.ParseUint(o.GetResourceVersion(), 10, 64)
	if err != nil {
		return 0
	}
	return version
}

// seeAll is a full list: what is not in it is gone. From the second list on, an Event that has not changed
// since it was watched tells nothing new (its Pod's problems may be forgotten by then, and would be told
// again), and one of a Pod that is not known is of one that came and went.
func (s *Source) seeAll(now time.Time, m message) []incident.Signal {
	var signals []incident.Signal
	uids := make(map[string]bool, len(m.list))
	first, takenTo, newest := !m.watch.firstListTaken, m.watch.newestVersion, uint64(0)
	m.watch.firstListTaken = true
	for _, obj := range m.list {
		version := versionOf(obj)
		newest = max(newest, version)
		if ev, ok := obj.(*eventsv1.Event); ok && !first {
			if version > 0 && version <= takenTo || !s.detector.Knows(ev.Regarding.UID) {
				continue
			}
		}
		if p, ok := obj.(*corev1.Pod); ok {
			uids[string(p.UID)] = true
		}
		signals = append(signals, s.see(now, watch.Modified, obj, first)...)
	}
	m.watch.newestVersion = newest // lower than before if the server was restored from a backup
	if m.watch.resource == "pods" {
		signals = append(signals, s.detector.Listed(now, m.watch.namespace, uids)...)
	}
	return signals
}
