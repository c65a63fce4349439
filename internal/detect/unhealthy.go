package detect

import (
	"regexp"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kagent-dev/khook/internal/incident"
)

// unhealthyNote is how the kubelet words a failed probe, also where its recorder has combined
// several wordings. "errored" means that the probe itself could not be made, see withoutResult.
var unhealthyNote = regexp.MustCompile(`(?s)^(?:\(combined from similar events\): )?((Liveness|Readiness|Startup) probe (failed|errored)\b.*)$`)

var probeKinds = map[string]probeKind{"Liveness": liveness, "Readiness": readiness, "Startup": startup}

// withoutResult says whether a probe that could not be made changes nothing: the kubelet throws
// its result away. But then a container that was never ready, or never started, stays so.
func withoutResult(p *podState, container string, kind probeKind) bool {
	c := p.containerOrNil(container)
	switch {
	case c == nil || kind == liveness:
		return true
	case kind == startup:
		return c.has(containerStarted)
	}
	return c.has(containerWasReady)
}

var containerPath = regexp.MustCompile(`^spec\.(?:initContainers|containers)\{([-a-z0-9]{1,63})\}$`)

// aPod says whether an Event is about something that can be a Pod. The API server does not check
// it, and whoever may write Events chooses it: a NUL, or half a megabyte, where a UID should be.
func aPod(ref *corev1.ObjectReference) bool {
	return ref.Kind == "Pod" && isName(string(ref.UID), maxUID) && isName(ref.Name, incident.MaxName) &&
		(ref.Namespace == "" || isName(ref.Namespace, incident.MaxName))
}

// isName says whether a text can name an object: it is there, not too long, and clean.
func isName(text string, limit int) bool {
	return text != "" && len(text) <= limit && incident.Clean(text, limit) == text
}

const maxUID = 64 // bytes; UUIDs have 36

// Event takes a version of an Event. Only Warnings about Pods matter: failed probes, and what
// keeps a Pod's volumes or sandbox from being made. Pods are to be listed before.
func (d *Detector) Event(now time.Time, typ watch.EventType, ev *eventsv1.Event, catchUp bool) []incident.Signal {
	if typ == watch.Deleted || ev.Type != corev1.EventTypeWarning || !aPod(&ev.Regarding) {
		return nil
	}
	key, _ := keyOf(string(ev.Regarding.UID))
	if d.gone.set[key] {
		return nil
	}
	switch ev.Reason {
	case "Unhealthy":
		if d.pods[key] == nil {
			return d.hold(now, key, ev, catchUp)
		}
		return d.unhealthy(now, key, ev, catchUp)
	case "FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox", "FailedMapVolume":
		if p, t := d.pods[key], d.trouble[key]; p != nil && p.phase == phasePending && t != nil {
			t.mount = note{ev.Reason, incident.Clean(ev.Note, incident.MaxMessage)}
		}
	}
	return nil
}

// unhealthy counts a failed probe, and tells it when its threshold is reached.
func (d *Detector) unhealthy(now time.Time, key podKey, ev *eventsv1.Event, catchUp bool) []incident.Signal {
	found := unhealthyNote.FindStringSubmatch(ev.Note)
	path := containerPath.FindStringSubmatch(ev.Regarding.FieldPath)
	if found == nil || path == nil {
		return nil
	}
	message, kind := found[1], probeKinds[found[2]]
	count, at := countOf(ev), lastSeen(ev, now)
	p := d.pods[key]
	if p != nil && p.over() || catchUp && at.Before(d.start(now).Add(-d.timing.CatchUp)) {
		return nil
	}
	if found[3] == "errored" && withoutResult(p, path[1], kind) {
		return nil
	}
	b := &builder{d: d, key: key, pod: p, now: now, catchUp: catchUp}
	if p == nil {
		b.pod = unknownPod(ev)
	}
	t := d.troubleOf(key)
	t.resource = b.pod.resource(key)
	k := probeKey{path[1], kind}
	track := t.probes[k]
	if track == nil {
		track = &probeTrack{counts: map[string]int32{}, keys: map[string]bool{}}
		t.probes[k] = track
	}
	track.failure(p, k, ev, count, at)
	track.message = message
	b.probeDue(k, track)
	if p == nil {
		delete(d.trouble, key) // nobody would tell its end
		return b.signals
	}
	d.settle(key, now)
	return b.signals
}

// countOf is how often the Event stands for.
func countOf(ev *eventsv1.Event) int32 {
	if ev.Series != nil {
		return max(1, ev.Series.Count)
	}
	return max(1, ev.DeprecatedCount)
}

// lastSeen is when the Event happened last, at most now.
func lastSeen(ev *eventsv1.Event, now time.Time) time.Time {
	at := ev.EventTime.Time
	if ev.Series != nil {
		at = ev.Series.LastObservedTime.Time
	}
	if at.IsZero() {
		at = ev.DeprecatedLastTimestamp.Time
	}
	if at.IsZero() || at.After(now) {
		return now
	}
	return at
}

func firstSeen(ev *eventsv1.Event) time.Time {
	if !ev.DeprecatedFirstTimestamp.IsZero() {
		return ev.DeprecatedFirstTimestamp.Time
	}
	if !ev.EventTime.IsZero() {
		return ev.EventTime.Time
	}
	return ev.CreationTimestamp.Time
}
