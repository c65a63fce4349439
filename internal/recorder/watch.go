package recorder

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/go-logr/logr"

	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/kube"
)

// objectWatch is one watch, and the store that a client-go Reflector fills: it keeps no objects but records them, in the order
// in which the API server sent them.
type objectWatch struct {
	recorder  *Recorder
	resource  string
	namespace string
	lw        cache.ListerWatcher
	object    runtime.Object
	after     *objectWatch  // is to be listed first; nil for none
	listed    chan struct{} // closed after the first list

	once sync.Once
	told string // the newest error; only the reflector's goroutine touches it
}

// watches are those that may be made. What is forbidden is told, and left out.
func (r *Recorder) watches(ctx context.Context) ([]*objectWatch, error) {
	namespaces := r.options.Namespaces
	if len(namespaces) == 0 {
		namespaces = []string{metav1.NamespaceAll}
	}
	var all []*objectWatch
	for _, ns := range namespaces {
		if why := r.forbidden(ctx, ns, "", "pods"); why != "" {
			r.leave("%s", why)
			continue
		}
		pods := r.watchOf("pods", ns, &corev1.Pod{}, nil)
		all = append(all, pods)
		if why := r.forbidden(ctx, ns, "events.k8s.io", "events"); why != "" {
			r.leave("%s: failing probes, and why Pods are Pending, are told by Events only, and will be missing", why)
			continue
		}
		all = append(all, r.watchOf("events", ns, &eventsv1.Event{}, pods))
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("there is nothing that you may record: it takes the rights to list and watch pods, and those for events.k8s.io/events")
	}
	return all, nil
}

// forbidden is what one may not do with a resource, in words; "" if it can be listed and watched, or nobody says.
func (r *Recorder) forbidden(ctx context.Context, namespace, group, resource string) string {
	in := "all namespaces"
	if namespace != "" {
		in = "namespace " + namespace
	}
	for _, verb := range []string{"list", "watch"} {
		review, err := r.kube.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
			ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: verb, Group: group, Resource: resource},
		}}, metav1.CreateOptions{})
		if err == nil && !review.Status.Allowed {
			return fmt.Sprintf("you may not %s %s in %s: they are left out", verb, resource, in)
		}
	}
	return ""
}

func (r *Recorder) watchOf(resource, namespace string, object runtime.Object, after *objectWatch) *objectWatch {
	w := &objectWatch{recorder: r, resource: resource, namespace: namespace, object: object, after: after, listed: make(chan struct{})}
	pods := resource == "pods"
	selected := func(o metav1.ListOptions) metav1.ListOptions {
		if pods {
			o.LabelSelector = r.options.Selector
		} else {
			o.FieldSelector = kube.AboutPods
		}
		return o
	}
	w.lw = &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (list runtime.Object, err error) {
			if pods {
				list, err = r.kube.CoreV1().Pods(namespace).List(ctx, selected(o))
			} else {
				list, err = r.kube.EventsV1().Events(namespace).List(ctx, selected(o))
			}
			w.trouble(ctx, err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (opened watch.Interface, err error) {
			if pods {
				opened, err = r.kube.CoreV1().Pods(namespace).Watch(ctx, selected(o))
			} else {
				opened, err = r.kube.EventsV1().Events(namespace).Watch(ctx, selected(o))
			}
			w.trouble(ctx, err)
			return opened, err
		},
	}
	return w
}

// trouble tells why nothing comes, each reason once.
func (w *objectWatch) trouble(ctx context.Context, err error) {
	if err == nil {
		w.told = ""
		return
	}
	if text := incident.Clean(err.Error(), incident.MaxMessage); ctx.Err() == nil && text != w.told {
		w.told = text
		w.recorder.options.Tell(fmt.Sprintf("%s can't be read now, and it is tried again: %s", w.resource, text))
	}
}

// run keeps the watch going until ctx ends. Events are watched once the Pods that they are about are listed.
func (w *objectWatch) run(ctx context.Context) {
	if w.after != nil {
		select {
		case <-w.after.listed:
		case <-ctx.Done():
			return
		}
	}
	quiet := logr.Discard()
	cache.NewReflectorWithOptions(w.lw, w.object, w, cache.ReflectorOptions{
		Name: w.resource, Logger: &quiet, Backoff: &wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 10, Cap: 5 * time.Second},
	}).RunWithContext(ctx)
}

// Add is part of cache.ReflectorStore: the API server says that the object is new.
func (w *objectWatch) Add(obj any) error { w.recorder.record(watch.Added, obj, false); return nil }

// Update is part of cache.ReflectorStore.
func (w *objectWatch) Update(obj any) error {
	w.recorder.record(watch.Modified, obj, false)
	return nil
}

// Delete is part of cache.ReflectorStore.
func (w *objectWatch) Delete(obj any) error { w.recorder.record(watch.Deleted, obj, false); return nil }

// Resync is part of cache.ReflectorStore.
func (w *objectWatch) Resync() error { return nil }

// Replace is part of cache.ReflectorStore: a full list, at the start and after a break that was too long to go on from.
func (w *objectWatch) Replace(list []any, _ string) error {
	first := false
	w.once.Do(func() { first = true })
	if !first {
		w.recorder.relisted(w, list)
		return nil
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, byAge)
	for _, obj := range list {
		w.recorder.record(watch.Added, obj, true)
	}
	close(w.listed)
	return nil
}
