package detect

import (
	"slices"
	"time"

	eventsv1 "k8s.io/api/events/v1"

	"github.com/kagent-dev/khook/internal/incident"
)

// Pods and Events are watched apart, so an Event may come before its Pod: while the watch of the
// Pods is opened anew, or listed, for up to minutes. It is never judged without its Pod: a probe that fails while a container
// starts, or fails less often than its threshold, would be a failure. What nobody tells the Pod of is dropped.
const (
	podLag            = 5 * time.Minute // for how long an Event waits for its Pod
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
	if _, waits := d.early.events[key]; !waits {
		if len(d.early.waits) >= maxEarlyPods {
			d.early.forgetJudged()
		}
		if len(d.early.waits) >= maxEarlyPods {
			d.early.dropFirst()
		}
		d.early.waits = append(d.early.waits, earlyPod{now.Add(podLag), key})
	}
	d.early.add(key, ev)
	return nil
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
		signals = append(signals, d.judge(now, d.own(ev.Regarding.UID), ev, false)...)
	}
	return signals
}

// dropOverdue drops the Events whose Pods did not come.
func (e *earlyEvents) dropOverdue(now time.Time) {
	for due, ok := e.next(); ok && !due.After(now); due, ok = e.next() {
		e.dropFirst()
	}
}

// forgetJudged drops what is left in the row of Pods that have come.
func (e *earlyEvents) forgetJudged() {
	e.waits = slices.DeleteFunc(e.waits, func(w earlyPod) bool { _, waiting := e.events[w.key]; return !waiting })
}

func (e *earlyEvents) dropFirst() {
	delete(e.events, e.waits[0].key)
	e.waits = e.waits[1:]
}
