package detect

import (
	"slices"
	"time"

	eventsv1 "k8s.io/api/events/v1"

	"github.com/kagent-dev/khook/internal/incident"
)

// Pods and Events are watched apart, so an Event may come before its Pod: while the watch of the
// Pods is opened anew, for seconds. Judged without its Pod, a probe that fails while a container
// starts would be a failure.
const (
	podLag            = 10 * time.Second // for how long an Event waits for its Pod
	maxEarlyPods      = 1000
	maxEventsPerEarly = 16
)

// earlyEvents are the Events that came before their Pods.
type earlyEvents struct {
	events map[podKey][]*eventsv1.Event // the newest version of each
	waits  []earlyPod                   // in the order in which they are due; some have been judged since
}

// earlyPod is a Pod that Events wait for.
type earlyPod struct {
	due time.Time
	key podKey
}

// next is when the first of them have waited long enough.
func (e *earlyEvents) next() (time.Time, bool) {
	if len(e.waits) == 0 {
		return time.Time{}, false
	}
	return e.waits[0].due, true
}

// add keeps an Event in the place of its former version. Of too many about one Pod the newest are dropped.
func (e *earlyEvents) add(key podKey, ev *eventsv1.Event) {
	events := e.events[key]
	sameEvent := func(known *eventsv1.Event) bool { return known.Name == ev.Name }
	if i := slices.IndexFunc(events, sameEvent); i >= 0 {
		events[i] = ev
	} else if len(events) < maxEventsPerEarly {
		events = append(events, ev)
	}
	if e.events == nil {
		e.events = map[podKey][]*eventsv1.Event{}
	}
	e.events[key] = events
}

// deferEvent keeps an Event until its Pod comes, or a while has passed. What is listed at the start is
// not kept: the Pods were listed before, so its Pod is gone.
func (d *Detector) deferEvent(now time.Time, key podKey, ev *eventsv1.Event, catchUp bool) []incident.Signal {
	if catchUp {
		return nil
	}
	var signals []incident.Signal
	if _, waits := d.early.events[key]; !waits {
		if len(d.early.waits) >= maxEarlyPods {
			signals = d.judgeFirst(now)
		}
		d.early.waits = append(d.early.waits, earlyPod{now.Add(podLag), key})
	}
	d.early.add(key, ev)
	return signals
}

// judgeEarly judges the Events that waited for a Pod.
func (d *Detector) judgeEarly(now time.Time, key podKey) []incident.Signal {
	events, waited := d.early.events[key]
	if !waited {
		return nil
	}
	delete(d.early.events, key)
	var signals []incident.Signal
	for _, ev := range events {
		signals = append(signals, d.judge(now, key, ev, false)...)
	}
	return signals
}

// judgeOverdue judges the Events whose Pods did not come.
func (d *Detector) judgeOverdue(now time.Time) []incident.Signal {
	var signals []incident.Signal
	for due, ok := d.early.next(); ok && !due.After(now); due, ok = d.early.next() {
		signals = append(signals, d.judgeFirst(now)...)
	}
	return signals
}

func (d *Detector) judgeFirst(now time.Time) []incident.Signal {
	first := d.early.waits[0]
	d.early.waits = d.early.waits[1:]
	return d.judgeEarly(now, first.key)
}
