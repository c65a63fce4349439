package kube

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/source"
)

// watched is one watch: the store that a client-go Reflector fills, and how the watch does. It
// keeps nothing itself but passes on to the detector.
type watched struct {
	source    *Source
	name      string // such as "pods" or "pods in shop"
	resource  string
	namespace string
	object    runtime.Object
	selector  string
	list      func(context.Context, metav1.ListOptions) (any, error)
	watch     func(context.Context, metav1.ListOptions) (watch.Interface, error)
	after     *watched      // is to be listed first
	listed    chan struct{} // closed after the first list

	once sync.Once
	mu   sync.Mutex
	now  source.StreamHealth
	seen bool   // the first list was taken; only the detector's goroutine touches it
	last uint64 // the newest resource version that was taken of it; as above
}

// silentAfter is how long a watch must be down before the silence before it counts as well.
const silentAfter = 15 * time.Second

// downFor is for how long nothing has been seen: zero while the watch is up, and counted from the
// last contact when it does not come back soon, because an API server that hangs is noticed late.
func downFor(h source.StreamHealth, now time.Time) time.Duration {
	down := now.Sub(h.Since)
	switch {
	case h.Up:
		return 0
	case down > silentAfter && !h.LastContact.IsZero():
		return max(down, now.Sub(h.LastContact))
	default:
		return max(down, 0)
	}
}

func (s *Source) newWatched(resource, namespace string, object runtime.Object) *watched {
	name := resource
	if namespace != "" {
		name += " in " + namespace
	}
	w := &watched{source: s, name: name, resource: resource, namespace: namespace, object: object, listed: make(chan struct{})}
	w.now = source.StreamHealth{Source: "kubernetes", Stream: resource, Namespace: namespace, Since: s.cfg.Clock.Now()}
	return w
}

func (w *watched) health() source.StreamHealth {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *watched) contact(changed bool) {
	now := w.source.cfg.Clock.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now.LastContact = now
	if changed {
		w.now.LastEvent = now
	}
	if !w.now.Up && w.isListed() {
		w.now.Up, w.now.Since, w.now.Error = true, now, ""
	}
}

// taken notes that the detector has begun with what the watch told at a time.
func (w *watched) taken(sent, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now.Lag = max(0, now.Sub(sent))
}

func (w *watched) isListed() bool {
	select {
	case <-w.listed:
		return true
	default:
		return false
	}
}

// down notes that the watch ended. The reflector opens it again at once after a normal end, and
// with growing pauses after an error.
func (w *watched) down(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.now.Error = incident.Clean(err.Error(), incident.MaxMessage)
	}
	if w.now.Up {
		w.now.Up, w.now.Since = false, w.source.cfg.Clock.Now()
		w.now.Restarts++
	}
}

// listerWatcher is what the reflector lists and watches with.
func (w *watched) listerWatcher() cache.ListerWatcher {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = w.selector
			list, err := w.list(ctx, o)
			if err != nil {
				w.down(err)
				return nil, err
			}
			obj, ok := list.(runtime.Object)
			if !ok {
				return nil, fmt.Errorf("list of %s is a %T", w.resource, list)
			}
			return obj, nil
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = w.selector
			opened, err := w.watch(ctx, o)
			if err != nil {
				w.down(err)
				return nil, err
			}
			w.contact(false)
			return newTap(opened, w), nil
		},
	}
}

// tap passes a watch's events on and notes that they came, bookmarks and errors included.
type tap struct {
	watch.Interface
	out chan watch.Event
	end chan struct{}
	w   *watched
	one sync.Once
}

func newTap(in watch.Interface, w *watched) *tap {
	t := &tap{Interface: in, out: make(chan watch.Event), end: make(chan struct{}), w: w}
	go t.run()
	return t
}

func (t *tap) run() {
	defer close(t.out)
	defer t.w.down(nil)
	for ev := range t.Interface.ResultChan() {
		if ev.Type == watch.Error {
			t.w.down(fmt.Errorf("the API server ended the watch: %w", apierrors.FromObject(ev.Object)))
		} else {
			t.w.contact(ev.Type != watch.Bookmark)
		}
		select {
		case t.out <- ev:
		case <-t.end:
			return
		}
	}
}

// ResultChan is the watch's events.
func (t *tap) ResultChan() <-chan watch.Event { return t.out }

// Stop ends the watch.
func (t *tap) Stop() {
	t.one.Do(func() { close(t.end) })
	t.Interface.Stop()
}

// The store of the reflector: it passes on what it is told.

func (w *watched) send(m message) error {
	m.watch, m.sent = w, w.source.cfg.Clock.Now()
	select {
	case w.source.inbox <- m:
		return nil
	case <-w.source.stop:
		return errStopped
	}
}

var errStopped = errors.New("the source stops")

// sendOne passes on one object. It is reduced before it waits: how many wait is bounded, how large they are
// is up to whoever writes them.
func (w *watched) sendOne(kind messageKind, obj any) error {
	reduce(obj)
	return w.send(message{kind: kind, obj: obj})
}

// Add is part of cache.ReflectorStore.
func (w *watched) Add(obj any) error { return w.sendOne(msgPut, obj) }

// Update is part of cache.ReflectorStore.
func (w *watched) Update(obj any) error { return w.sendOne(msgPut, obj) }

// Delete is part of cache.ReflectorStore.
func (w *watched) Delete(obj any) error { return w.sendOne(msgDelete, obj) }

// Resync is part of cache.ReflectorStore; the detector has timers instead.
func (w *watched) Resync() error { return nil }

// Replace is part of cache.ReflectorStore: a full list, at the start and after a break that was
// too long to go on from.
func (w *watched) Replace(list []any, _ string) error {
	for _, obj := range list {
		reduce(obj) // a list that was not streamed
	}
	done := make(chan struct{})
	if err := w.send(message{kind: msgReplace, list: list, done: done}); err != nil {
		return err
	}
	select {
	case <-done:
	case <-w.source.stop:
		return errStopped
	}
	w.once.Do(func() { close(w.listed) })
	w.contact(true)
	return nil
}

// Transformer reduces the objects of a streamed list as they come, so that a list of a large cluster needs
// little memory.
func (w *watched) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) {
		reduce(obj)
		return obj, nil
	}
}

// handle lets the detector see what a watch told.
func (s *Source) handle(m message) []incident.Signal {
	now := s.cfg.Clock.Now()
	m.watch.taken(m.sent, now)
	switch m.kind {
	case msgPut:
		m.watch.last = max(m.watch.last, versionOf(m.obj))
		return s.see(now, watch.Modified, m.obj, false)
	case msgDelete:
		return s.see(now, watch.Deleted, m.obj, false)
	default:
		return s.seeAll(now, m)
	}
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

// seeAll is a full list: what is not in it is gone. An Event that has not changed since it was
// watched tells nothing new, and one of a Pod that is not known is of one that came and went.
func (s *Source) seeAll(now time.Time, m message) []incident.Signal {
	var signals []incident.Signal
	uids := make(map[string]bool, len(m.list))
	first, seenTo, newest := !m.watch.seen, m.watch.last, uint64(0)
	m.watch.seen = true
	for _, obj := range m.list {
		version := versionOf(obj)
		newest = max(newest, version)
		if ev, ok := obj.(*eventsv1.Event); ok && !first {
			if version > 0 && version <= seenTo || !s.detector.Knows(ev.Regarding.UID) {
				continue
			}
		}
		if p, ok := obj.(*corev1.Pod); ok {
			uids[string(p.UID)] = true
		}
		signals = append(signals, s.see(now, watch.Modified, obj, first)...)
	}
	m.watch.last = newest // lower than before if the server was restored from a backup
	if m.watch.resource == "pods" {
		signals = append(signals, s.detector.Listed(now, m.watch.namespace, uids)...)
	}
	return signals
}
