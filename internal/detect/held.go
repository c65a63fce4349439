package detect

import (
	"slices"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kagent-dev/khook/internal/incident"
)

// Pods and Events are watched apart, so an Event may come before its Pod: while the watch of the
// Pods is opened anew, for seconds. Judged without its Pod, a probe that fails while a container
// starts would be a failure.
const (
	podLag          = 10 * time.Second // for how long an Event waits for its Pod
	maxHeldPods     = 1000
	maxEventsPerPod = 16
)

// held are the Events that wait for their Pods.
type held struct {
	pods  map[podKey][]*eventsv1.Event // the newest version of each
	order []heldPod                    // by due
}

type heldPod struct {
	due time.Time
	key podKey
}

// next is when the first of them have waited long enough.
func (h *held) next() (time.Time, bool) {
	if len(h.order) == 0 {
		return time.Time{}, false
	}
	return h.order[0].due, true
}

// Knows says whether the Pod is among those that are watched.
func (d *Detector) Knows(uid types.UID) bool {
	key, _ := keyOf(string(uid))
	return d.pods[key] != nil
}

// hold keeps an Event until its Pod comes, or a while has passed. What is listed at the start is
// not held: the Pods were listed before, so its Pod is gone.
func (d *Detector) hold(now time.Time, key podKey, ev *eventsv1.Event, catchUp bool) []incident.Signal {
	if catchUp {
		return nil
	}
	var signals []incident.Signal
	events, waits := d.held.pods[key]
	if !waits {
		if len(d.held.order) >= maxHeldPods {
			signals = d.releaseFirst(now)
		}
		d.held.order = append(d.held.order, heldPod{now.Add(podLag), key})
	}
	same := func(e *eventsv1.Event) bool { return e.Name == ev.Name }
	if i := slices.IndexFunc(events, same); i >= 0 {
		events[i] = ev
	} else if len(events) < maxEventsPerPod {
		events = append(events, ev)
	}
	if d.held.pods == nil {
		d.held.pods = map[podKey][]*eventsv1.Event{}
	}
	d.held.pods[key] = events
	return signals
}

// release judges the Events that waited for a Pod.
func (d *Detector) release(now time.Time, key podKey) []incident.Signal {
	events, waits := d.held.pods[key]
	if !waits {
		return nil
	}
	delete(d.held.pods, key)
	var signals []incident.Signal
	for _, ev := range events {
		signals = append(signals, d.unhealthy(now, key, ev, false)...)
	}
	return signals
}

// releaseDue judges the Events whose Pods did not come.
func (d *Detector) releaseDue(now time.Time) []incident.Signal {
	var signals []incident.Signal
	for due, ok := d.held.next(); ok && !due.After(now); due, ok = d.held.next() {
		signals = append(signals, d.releaseFirst(now)...)
	}
	return signals
}

func (d *Detector) releaseFirst(now time.Time) []incident.Signal {
	first := d.held.order[0]
	d.held.order = d.held.order[1:]
	return d.release(now, first.key)
}
