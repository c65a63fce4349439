package kube

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/source"
)

// objectWatch is one watch: the store that a client-go Reflector fills, and how the watch does. It
// keeps no objects but passes them on to the detector, in the order in which the API server sent them:
// detection compares each version with the one before, and a version that overtook another would show
// a restart that went back.
type objectWatch struct {
	source    *Source
	name      string // such as "pods" or "pods in shop"
	resource  string
	namespace string
	object    runtime.Object
	selector  string
	list      func(context.Context, metav1.ListOptions) (any, error)
	watch     func(context.Context, metav1.ListOptions) (watch.Interface, error)
	after     *objectWatch  // is to be listed first
	listed    chan struct{} // closed after the first list

	listedOnce sync.Once
	mu         sync.Mutex
	current    source.StreamHealth

	// Only the detector's goroutine touches these.
	firstListTaken bool
	newestVersion  uint64 // resource version of the newest object that was taken
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

func (s *Source) newObjectWatch(resource, namespace string, object runtime.Object) *objectWatch {
	name := resource
	if namespace != "" {
		name += " in " + namespace
	}
	w := &objectWatch{source: s, name: name, resource: resource, namespace: namespace, object: object, listed: make(chan struct{})}
	w.current = source.StreamHealth{Source: "kubernetes", Stream: resource, Namespace: namespace, Since: s.cfg.Clock.Now()}
	return w
}

func (w *objectWatch) health() source.StreamHealth {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.current
}

// heard notes that the API server said something: a change, or only that it is there. A watch is up
// from its first list on.
func (w *objectWatch) heard(changed bool) {
	now := w.source.cfg.Clock.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.current.LastContact = now
	if changed {
		w.current.LastEvent = now
	}
	if !w.current.Up && w.isListed() {
		w.current.Up, w.current.Since, w.current.Error = true, now, ""
	}
}

// noteLag notes how long what the detector has begun with has waited for it.
func (w *objectWatch) noteLag(sent, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.current.Lag = max(0, now.Sub(sent))
}

func (w *objectWatch) isListed() bool {
	select {
	case <-w.listed:
		return true
	default:
		return false
	}
}

// down notes that the watch ended. The reflector opens it again at once after a normal end, and
// with growing pauses after an error.
func (w *objectWatch) down(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.current.Error = incident.Clean(err.Error(), incident.MaxMessage)
	}
	if w.current.Up {
		w.current.Up, w.current.Since = false, w.source.cfg.Clock.Now()
		w.current.Restarts++
	}
}

// listerWatcher is what the reflector lists and watches with.
func (w *objectWatch) listerWatcher() cache.ListerWatcher {
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
			w.heard(false)
			return newObservedWatch(opened, w), nil
		},
	}
}

// send passes on what the reflector stores. It waits while the inbox is full, and so does the reflector:
// nothing is dropped because the detector is slow, the API server keeps it meanwhile.
func (w *objectWatch) send(m message) error {
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
func (w *objectWatch) sendOne(kind messageKind, obj any) error {
	Reduce(obj)
	return w.send(message{kind: kind, obj: obj})
}

// Add is part of cache.ReflectorStore: the API server says that the object is new.
func (w *objectWatch) Add(obj any) error { return w.sendOne(msgAdd, obj) }

// Update is part of cache.ReflectorStore.
func (w *objectWatch) Update(obj any) error { return w.sendOne(msgPut, obj) }

// Delete is part of cache.ReflectorStore.
func (w *objectWatch) Delete(obj any) error { return w.sendOne(msgDelete, obj) }

// Resync is part of cache.ReflectorStore; the detector has timers instead.
func (w *objectWatch) Resync() error { return nil }

// Replace is part of cache.ReflectorStore: a full list, at the start and after a break that was
// too long to go on from. It returns when the detector has taken the list: the watch of the Events, which
// waits for that, must not begin before their Pods are known.
func (w *objectWatch) Replace(list []any, _ string) error {
	for _, obj := range list {
		Reduce(obj) // a list that was not streamed
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
	w.listedOnce.Do(func() { close(w.listed) })
	w.heard(true)
	return nil
}

// Transformer reduces the objects of a streamed list as they come, so that a list of a large cluster needs
// little memory.
func (w *objectWatch) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) {
		Reduce(obj)
		return obj, nil
	}
}
