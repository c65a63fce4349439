// Package detect turns versions of Pods and Events into signals: restarts, OOM kills, failed probes,
// Pods that stay Pending, and the ends of these. What means what is in its rules, pure functions of
// what was known, what is seen and the time: a file for each, listed in rules.go. The Detector keeps what is
// known from one look to the next.
//
// It must not read a cluster, a clock, the history or a Hook: the same Pods and Events at the same times always
// give the same signals under the same keys, which is what makes recordings, restarts and a change of the
// leader repeatable.
package detect

import (
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kagent-dev/khook/internal/incident"
)

// Timing is the times that detection goes by; zero values take the defaults.
type Timing struct {
	PendingAfter  time.Duration // how long a Pod may be Pending; 1 min
	Stabilization time.Duration // how long a Pod must be healthy to have recovered; 2 min
	CatchUp       time.Duration // how old what is found at the start may be; 1 h
	QuietAfter    time.Duration // how long nothing must be told of a problem for it to end as quiet; 10 min
	Start         time.Time     // when khook started: CatchUp is counted back from it; the time of the look if unset
}

func (t *Timing) setDefaults() {
	if t.PendingAfter == 0 {
		t.PendingAfter = time.Minute
	}
	if t.Stabilization == 0 {
		t.Stabilization = 2 * time.Minute
	}
	if t.QuietAfter == 0 {
		t.QuietAfter = 10 * time.Minute
	}
	if t.CatchUp == 0 {
		t.CatchUp = time.Hour
	}
}

// Detector keeps what is known of all Pods, and lets the rules look at them: when a version or an
// Event comes, and when time is up. It is not safe for concurrent use.
//
// Time must not go back from one call to the next. A Pod has an entry in troubled if and only if it has
// problems that are not quiet, or incidents of the history are open on it.
type Detector struct {
	timing   Timing
	live     bool
	pods     map[podKey]*podState
	troubled map[podKey]*troubledPod
	gone     *recentKeys       // Pods that were deleted lately: their last Events are nothing
	mirrors  map[podKey]podKey // the mirror Pods, by the UIDs that the kubelet has for their static Pods
	early    earlyEvents
	timers   timers
}

// troubledPod is a Pod with something to watch.
type troubledPod struct {
	problems *problems
	due      time.Time // of the timer that counts; zero if none does
}

// New returns a detector that knows nothing yet.
func New(timing Timing) *Detector {
	timing.setDefaults()
	return &Detector{
		timing: timing, live: true,
		pods: map[podKey]*podState{}, troubled: map[podKey]*troubledPod{}, gone: newRecentKeys(maxGone), mirrors: map[podKey]podKey{},
	}
}

// maxGone bounds the deleted Pods that are remembered.
const maxGone = 10_000

// SetLive says whether the cluster is being watched: only then can a problem be seen to go on.
func (d *Detector) SetLive(live bool) { d.live = live }

// Knows says whether a Pod is among those that are watched.
func (d *Detector) Knows(uid types.UID) bool {
	return d.pods[d.own(uid)] != nil
}

// Seed takes the incidents that are open in the history, before the first list, so that the ends of those
// that recovered or were deleted meanwhile are told. Those of other sources are passed over.
func (d *Detector) Seed(open []*incident.Incident) {
	for _, inc := range open {
		if inc.Resource.Kind != "Pod" {
			continue
		}
		key := keyOf(inc.Resource.UID)
		known := d.known(key).with(func(p *problems) {
			p.resource = inc.Resource
			p.setOpen(openProblem{
				containerSlot: containerSlot{inc.Type, inc.Container}, lastSignal: inc.LastSeen, lastFailure: inc.LastSeen,
				probes: probesOf(inc), seenUnready: true, unheard: !inc.UnheardSince.IsZero(),
			})
		})
		d.troubledPod(key).problems = known.problems
	}
}

// known is what is known of a Pod; its parts are nil if nothing is.
func (d *Detector) known(key podKey) state {
	known := state{pod: d.pods[key]}
	if t := d.troubled[key]; t != nil {
		known.problems = t.problems
	}
	return known
}

func (d *Detector) troubledPod(key podKey) *troubledPod {
	t := d.troubled[key]
	if t == nil {
		t = &troubledPod{}
		d.troubled[key] = t
	}
	return t
}

func (d *Detector) look(key podKey, now time.Time) observed {
	return observed{key: key, now: now, timing: d.timing, live: d.live}
}

// Pod takes a version of a Pod. catchUp marks those of the first list. watch.Added says that the Pod has just been made: one
// that was listed, or may have waited for a watch to come back, is given as watch.Modified. The Pod is neither kept
// nor changed.
func (d *Detector) Pod(now time.Time, typ watch.EventType, pod *corev1.Pod, catchUp bool) []incident.Signal {
	key := keyOf(string(pod.UID))
	known, seen := d.known(key), d.look(key, now)
	seen.pod, seen.before = pod, known.pod
	seen.catchUp = catchUp || known.pod == nil
	seen.justMade = typ == watch.Added && known.pod == nil && !catchUp && now.Sub(d.timing.Start) >= startLag
	known.pod = compact(pod, seen.before, now)
	known, signals := apply(versionRules, known, seen)
	if typ == watch.Deleted {
		return append(signals, d.deleted(known, seen)...)
	}
	d.keep(known, seen)
	if static, ok := staticKey(pod); ok {
		d.mirrors[static] = key
		signals = append(signals, d.judgeEarly(now, static)...)
	}
	return append(signals, d.judgeEarly(now, key)...)
}

// startLag is how long after its start khook takes each Pod for one that was there before: a recording begins with
// what there is, as watch.Added.
const startLag = 2 * time.Second

// staticKey is what the kubelet knows a mirror Pod by: it gives static Pods a UID made of their file, and names that
// in its Events (pkg/kubelet/config/common.go, applyDefaults). false for any other Pod.
func staticKey(pod *corev1.Pod) (podKey, bool) {
	uid := pod.Annotations[corev1.MirrorPodAnnotationKey]
	return keyOf(uid), uid != "" && uid != string(pod.UID)
}

// own is the key that a Pod is kept by, of the UID in an Event.
func (d *Detector) own(uid types.UID) podKey {
	key := keyOf(string(uid))
	if mirror, ok := d.mirrors[key]; ok {
		return mirror
	}
	return key
}

// forgetMirror forgets for which static Pods a Pod that is gone was the mirror.
func (d *Detector) forgetMirror(key podKey, p *podState) {
	if p != nil && p.has(podMirror) {
		maps.DeleteFunc(d.mirrors, func(_, mirror podKey) bool { return mirror == key })
	}
}

// Event takes a version of an Event. Only those about Pods matter: Warnings of failed probes, and of what keeps a Pod's volumes
// or sandbox from being made; and Normal ones of what is done about a Pod that waits. On the first list, the Pods must have been
// taken before. But for failed probes, what comes before its Pod is dropped: it only explains.
func (d *Detector) Event(now time.Time, typ watch.EventType, ev *eventsv1.Event, catchUp bool) []incident.Signal {
	if typ == watch.Deleted || !isPod(&ev.Regarding) {
		return nil
	}
	key := d.own(ev.Regarding.UID)
	switch {
	case d.gone.has(key):
		return nil
	case ev.Reason == "Unhealthy" && d.pods[key] == nil:
		return d.deferEvent(now, key, ev, catchUp)
	}
	return d.judge(now, key, ev, catchUp)
}

// judge lets the rules look at an Event.
func (d *Detector) judge(now time.Time, key podKey, ev *eventsv1.Event, catchUp bool) []incident.Signal {
	known, seen := d.known(key), d.look(key, now)
	seen.catchUp = catchUp
	if ev.Type == corev1.EventTypeWarning {
		seen.failure, seen.warning = parseProbeFailure(ev, now), parseVolumeWarning(ev, now)
	}
	seen.progress = parseProgress(ev, now)
	if known.pod == nil || seen.failure == nil && seen.warning == nil && seen.progress == nil {
		return nil
	}
	before := known.problems
	known, signals := apply(eventRules, known, seen)
	if known.problems != before { // else the Event means nothing
		d.keep(known, seen)
	}
	return signals
}

// deleted tells the end of the Pod, if anybody waits for it, and forgets it.
func (d *Detector) deleted(known state, seen observed) []incident.Signal {
	delete(d.troubled, seen.key)
	delete(d.pods, seen.key)
	d.forgetMirror(seen.key, known.pod)
	delete(d.early.events, seen.key)
	d.gone.add(seen.key)
	if known.problems == nil || len(known.problems.open) == 0 {
		return nil
	}
	return []incident.Signal{{Kind: incident.Gone, At: seen.now, Observation: incident.Observation{Resource: known.pod.resource(seen.key)}}}
}

// keep stores what is known of a Pod after a look, forgets its problems if they are quiet, and sets its
// next timer.
func (d *Detector) keep(known state, seen observed) {
	d.pods[seen.key] = known.pod
	if known.problems == nil {
		return
	}
	if known.problems.quiet(seen.now) {
		delete(d.troubled, seen.key)
		return
	}
	t := d.troubledPod(seen.key)
	t.problems = known.problems
	next := nextLook(known, seen)
	if next.IsZero() || !t.due.IsZero() && !next.Before(t.due) {
		return
	}
	t.due = next
	d.timers.push(timer{next, seen.key})
}

// Listed takes the UIDs of a full list of a namespace ("" for all), after its Pods: the others of
// that namespace are gone.
func (d *Detector) Listed(now time.Time, namespace string, uids map[string]bool) []incident.Signal {
	present := make(map[podKey]bool, len(uids))
	for uid := range uids {
		present[keyOf(uid)] = true
	}
	elsewhere := func(ns string) bool { return namespace != "" && ns != namespace }
	var signals []incident.Signal
	for key, t := range d.troubled {
		resource := t.problems.resource
		if p := d.pods[key]; p != nil {
			resource = p.resource(key)
		}
		if present[key] || elsewhere(resource.Namespace) {
			continue
		}
		if len(t.problems.open) > 0 {
			signals = append(signals, incident.Signal{Kind: incident.Gone, At: now, Observation: incident.Observation{Resource: resource}})
		}
		delete(d.troubled, key)
	}
	for key, p := range d.pods {
		if !present[key] && !elsewhere(p.namespace.Value()) {
			delete(d.pods, key)
			d.forgetMirror(key, p)
			d.gone.add(key)
		}
	}
	return signals
}

// Tick tells what time brings: Pods that are Pending for too long, or healthy for long enough.
func (d *Detector) Tick(now time.Time) []incident.Signal {
	d.early.dropOverdue(now)
	var signals []incident.Signal
	for len(d.timers) > 0 && !d.timers[0].at.After(now) {
		due := d.timers.pop()
		t := d.troubled[due.key]
		if t == nil || !t.due.Equal(due.at) {
			continue
		}
		t.due = time.Time{}
		known, seen := d.known(due.key), d.look(due.key, now)
		if known.pod == nil {
			continue
		}
		known, more := apply(timeRules, known, seen)
		signals = append(signals, more...)
		d.keep(known, seen)
	}
	return signals
}

// Next returns when Tick has something to do; false if it never has.
func (d *Detector) Next() (time.Time, bool) {
	ofPods, armed := d.nextTimer()
	if ofEvents, waiting := d.early.next(); waiting && (!armed || ofEvents.Before(ofPods)) {
		return ofEvents, true
	}
	return ofPods, armed
}

// nextTimer is when the first of the Pods is to be looked at.
func (d *Detector) nextTimer() (time.Time, bool) {
	for len(d.timers) > 0 {
		if t := d.troubled[d.timers[0].key]; t != nil && t.due.Equal(d.timers[0].at) {
			return d.timers[0].at, true
		}
		d.timers.pop() // another timer took its place
	}
	return time.Time{}, false
}
