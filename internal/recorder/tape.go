package recorder

import (
	"cmp"
	"encoding/json"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kagent-dev/khook/internal/kube"
)

// seenObject is what is known of an object that is there.
type seenObject struct {
	version string
	last    int // its newest line
}

// earlyEvent is an Event of a Pod that is not known: with a selector, only its Pod can tell whether it is of the recording.
type earlyEvent struct {
	pod   string
	typ   watch.EventType
	event *eventsv1.Event
}

// maxEarly bounds how many Events wait for their Pods.
const maxEarly = 1000

// byAge orders what is listed as it was made.
func byAge(a, b any) int {
	one, errOne := meta.Accessor(a)
	other, errOther := meta.Accessor(b)
	if errOne != nil || errOther != nil {
		return 0
	}
	return one.GetCreationTimestamp().Compare(other.GetCreationTimestamp().Time)
}

// record takes down what a watch said.
func (r *Recorder) record(typ watch.EventType, obj any, listed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch o := obj.(type) {
	case *corev1.Pod:
		r.names.learn(o)
		kube.Reduce(o)
		pod := slimPod(o)
		key := pod.Namespace + "/" + pod.Name
		r.note(r.pods, key, pod.ResourceVersion, typ)
		if r.add(line{typ: typ, listed: listed, object: pod}) {
			r.counts.PodVersions++
		}
		r.release(key)
	case *eventsv1.Event:
		kube.Reduce(o)
		event := slimEvent(o)
		r.names.learnEvent(event)
		pod := podOf(event)
		if r.options.Selector != "" && r.pods[pod] == nil {
			r.early = append(r.early[max(0, len(r.early)+1-maxEarly):], earlyEvent{pod, typ, event})
			return
		}
		r.recordEvent(typ, event, listed)
	}
}

// podOf is the key of the Pod that an Event is about.
func podOf(event *eventsv1.Event) string {
	return cmp.Or(event.Regarding.Namespace, event.Namespace) + "/" + event.Regarding.Name
}

func (r *Recorder) recordEvent(typ watch.EventType, event *eventsv1.Event, listed bool) {
	r.note(r.events, event.Namespace+"/"+event.Name, event.ResourceVersion, typ)
	if r.add(line{typ: typ, listed: listed, object: event}) {
		r.counts.Events++
	}
}

// note remembers which version of an object is there. One that is gone stays known, so that its last Events are still its own.
func (r *Recorder) note(of map[string]*seenObject, key, version string, typ watch.EventType) {
	if of[key] == nil {
		of[key] = &seenObject{}
		r.counts.Pods = len(r.pods)
	}
	of[key].version, of[key].last = version, len(r.lines)
	if typ == watch.Deleted {
		of[key].version = ""
	}
}

// release records the Events that waited for a Pod.
func (r *Recorder) release(pod string) {
	var rest []earlyEvent
	for _, e := range r.early {
		if e.pod == pod {
			r.recordEvent(e.typ, e.event, false)
		} else {
			rest = append(rest, e)
		}
	}
	r.early = rest
}

// add puts a line on the tape, if there is room for it.
func (r *Recorder) add(l line) bool {
	l.t = time.Since(r.began)
	text, err := json.Marshal(l.object)
	if err != nil || r.isFull {
		return false
	}
	if r.bytes += len(text); r.bytes > r.options.MaxBytes {
		r.isFull = true
		close(r.full)
		return false
	}
	r.lines = append(r.lines, l)
	if r.options.Observe != nil {
		record := Record{T: l.t, Type: l.typ, Listed: l.listed}
		record.Pod, _ = l.object.(*corev1.Pod)
		record.Event, _ = l.object.(*eventsv1.Event)
		r.options.Observe(record)
	}
	return true
}

// relisted takes down what a list tells that came after a break: what has changed since, and what is not there any more. When
// that was, nobody knows.
func (r *Recorder) relisted(w *objectWatch, list []any) {
	there := map[string]bool{}
	for _, obj := range list {
		o, err := meta.Accessor(obj)
		if err != nil {
			continue
		}
		key := o.GetNamespace() + "/" + o.GetName()
		there[key] = true
		if !r.changed(w, key, o.GetResourceVersion(), obj) {
			continue
		}
		r.record(watch.Modified, obj, false)
	}
	if w.resource == "pods" {
		r.gone(w.namespace, there)
	}
}

// changed says whether an object of a list after a break tells something new. An Event of a Pod that is not known is one of a
// Pod that came and went.
func (r *Recorder) changed(w *objectWatch, key, version string, obj any) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.pods[key]
	if w.resource == "events" {
		known = r.events[key]
	}
	if event, ok := obj.(*eventsv1.Event); ok && r.pods[podOf(event)] == nil {
		return false
	}
	return known == nil || known.version != version
}

// gone takes down that Pods are not there any more.
func (r *Recorder) gone(namespace string, there map[string]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, known := range r.pods {
		if there[key] || known.version == "" || namespace != "" && !strings.HasPrefix(key, namespace+"/") || known.last >= len(r.lines) {
			continue
		}
		pod := r.lines[known.last].object
		r.note(r.pods, key, "", watch.Deleted)
		if r.add(line{typ: watch.Deleted, object: pod}) {
			r.counts.PodVersions++
		}
	}
}
