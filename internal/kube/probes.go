package kube

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kagent-dev/khook/internal/incident"
)

// probeKey is one probe of a Pod.
type probeKey struct {
	container string
	kind      probeKind
}

// probeTrack counts the failures of one probe. The kubelet's Events count over all instances of
// the container, and a new wording makes a new Event with a count of its own; the threshold is
// about consecutive failures of one instance.
type probeTrack struct {
	counts   map[string]int32 // newest count of each Event, by its name
	streak   int32            // failures in a row, of one instance
	instance uint64           // of the container, that the streak is about
	failed   time.Time        // the newest failure
	fired    bool             // the streak was told
	event    string           // of the newest failure
	count    int32            // of that Event
	told     toldFailure
	keys     map[string]bool // that were told
	message  string
}

// toldFailure is a failure that was told.
type toldFailure struct {
	streak int32
	event  string
	bucket int32 // how many times the Event's count had passed the threshold
	step   int32 // and the step between two repetitions
}

const (
	maxEventsPerProbe = 32               // Events of one probe that are told apart
	maxKeysPerProbe   = 64               // keys that were told and are remembered
	probeMemory       = time.Hour        // for how long failures are remembered, as for the Events themselves
	probeSlack        = 10 * time.Second // what the kubelet's timing may be off
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
// it, and whoever may write Events chooses it.
func aPod(ref *corev1.ObjectReference) bool {
	return ref.Kind == "Pod" && ref.UID != "" && len(ref.UID) <= maxUID && ref.Name != "" && len(ref.Name) <= maxName &&
		incident.Clean(ref.Name, maxName) == ref.Name
}

const (
	maxUID  = 64  // bytes; UUIDs have 36
	maxName = 253 // bytes of the name of an object
)

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
	if p != nil && p.over() || catchUp && at.Before(d.start(now).Add(-d.rules.CatchUp)) {
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

// failure adds what a version of an Event says to the streak. An Event that expired on the server
// comes back with its name and its count, but another UID.
func (t *probeTrack) failure(p *podState, k probeKey, ev *eventsv1.Event, count int32, at time.Time) {
	before, known := t.counts[ev.Name]
	if known && count == before {
		return
	}
	if !known && len(t.counts) >= maxEventsPerProbe {
		clear(t.counts)
	}
	t.counts[ev.Name] = count
	added := count
	if known && count > before {
		added = count - before
	}
	var spec probeSpec
	c := p.containerOrNil(k.container)
	if c != nil {
		spec = c.spec.Value().probes[k.kind]
		added = t.attribute(c, spec, ev, added, known, at)
	}
	if spec.period > 0 && t.streak > 0 {
		if gap := at.Sub(t.failed); gap > span(spec, added)+probeSlack {
			added = min(added, fit(spec, gap))
			if c.survived(k.kind, t.failed) {
				added = 1 // the others were not in a row
			}
			t.reset() // it must have passed in between
		}
	}
	t.streak += added
	if at.After(t.failed) {
		t.failed = at
	}
	t.event, t.count = ev.Name, count
}

// survived says whether the failures since a time were too few in a row for the kubelet to act: the
// instance that ran then still does, and is ready if it is about that.
func (c *containerState) survived(kind probeKind, since time.Time) bool {
	if kind == readiness {
		return c.has(containerReady)
	}
	return c.has(containerRunning) && time.Unix(int64(c.started), 0).Before(since)
}

// attribute says how many of the added failures are of the container's current instance, and
// begins a new streak with a new instance.
func (t *probeTrack) attribute(c *containerState, spec probeSpec, ev *eventsv1.Event, added int32, known bool, at time.Time) int32 {
	if !known && spec.period > 0 && at.Sub(firstSeen(ev)) > span(spec, added-1)+probeSlack {
		added = 1 // they were not in a row
	}
	start := time.Unix(int64(c.started), 0)
	if c.started == 0 || at.Before(start) || t.instance == c.id {
		if t.instance == 0 {
			t.instance = c.id
		}
		if known || !firstSeen(ev).Before(start) {
			return added
		}
	} else if t.instance != 0 {
		t.reset()
		t.instance = c.id
		if known {
			return min(added, fit(spec, at.Sub(start)))
		}
	}
	t.instance = c.id
	if known || !firstSeen(ev).Before(start) || at.Before(start) {
		return added
	}
	return min(added, fit(spec, at.Sub(start)-time.Duration(spec.initialDelay)*time.Second)) // the others were of an earlier instance
}

// span is how long n failures in a row take at most. A probe that may take longer than its period
// misses its turn.
func span(s probeSpec, n int32) time.Duration {
	step := time.Duration(s.period) * time.Second
	if s.timeout > s.period {
		step += time.Duration(s.timeout) * time.Second
	}
	return time.Duration(n) * step * 11 / 10
}

// fit is how many failures in a row fit into d.
func fit(s probeSpec, d time.Duration) int32 {
	if s.period <= 0 {
		return 1
	}
	return int32(min(max(int64(d/(time.Duration(s.period)*time.Second)), 0), 1000)) + 1
}

func (t *probeTrack) reset() { t.streak, t.fired, t.told = 0, false, toldFailure{} }

// again says whether a streak that was told is to be told again, with step failures between two
// times.
func (t *probeTrack) again(step int32) bool {
	return t.streak-t.told.streak >= step || t.event == t.told.event && t.count/step != t.told.step
}

// repeatEvery is how often, at most, a streak is told again: as often as the kubelet tells of a
// crash loop.
const repeatEvery = 12 * time.Second

// stepOf is how many failures are told as one repetition: as many as the threshold, and more of a
// probe that is made every few seconds.
func stepOf(s probeSpec, threshold int32) int32 {
	if s.period <= 0 {
		return threshold
	}
	return max(threshold, (int32(repeatEvery/time.Second)+s.period-1)/s.period)
}

// tell notes that the streak is told, and returns what identifies it: the Event, and how many
// times its count has passed the threshold. So a khook that first sees the Event at a later count
// finds the same.
func (t *probeTrack) tell(threshold, step int32) string {
	t.fired, t.told = true, toldFailure{t.streak, t.event, t.count / threshold, t.count / step}
	key := fmt.Sprintf("%016x/%d", hash(t.event), t.told.bucket)
	if t.keys[key] {
		key += fmt.Sprintf("/%d", t.count) // other Events were counted too
	}
	if len(t.keys) >= maxKeysPerProbe {
		clear(t.keys)
	}
	t.keys[key] = true
	return key
}

// probeDue tells the probe's failure if its streak is long enough, and a long streak again now
// and then.
func (b *builder) probeDue(k probeKey, t *probeTrack) {
	threshold, step := int32(1), int32(1)
	if c := b.pod.container(k.container); c != nil {
		spec := c.spec.Value().probes[k.kind]
		threshold = max(threshold, spec.threshold)
		step = stepOf(spec, threshold)
		if k.kind == readiness && spec.threshold > 0 && !b.allowed(c, t) {
			return
		}
	}
	if t.streak < threshold {
		return
	}
	if t.fired && !t.again(step) {
		b.stillFailing(k, t)
		return
	}
	s := incident.Signal{
		Key:  fmt.Sprintf("probe-failed/%s/%s/%s/%s", b.pod.resource(b.key).UID, k.container, k.kind, t.tell(threshold, step)),
		Type: incident.ProbeFailed, At: t.failed, Container: k.container, Count: t.streak,
		Reason:  map[probeKind]string{liveness: "LivenessProbeFailed", readiness: "ReadinessProbeFailed", startup: "StartupProbeFailed"}[k.kind],
		Message: strings.TrimSpace(t.message),
	}
	if c := b.pod.container(k.container); c != nil {
		s.RestartCount = c.restarts
		if k.kind == readiness && c.restarts > 0 && (b.isOpen(incident.OOMKill, k.container) || b.isOpen(incident.PodRestart, k.container)) {
			s.Causes = []incident.EventType{incident.OOMKill, incident.PodRestart}
		}
	}
	b.observe(s)
	b.stillFailing(k, t)
}

// stillFailing notes a failure on the open incident.
func (b *builder) stillFailing(k probeKey, t *probeTrack) {
	o := b.slotOf(incident.ProbeFailed, k.container)
	o.failed = latest(o.failed, t.failed)
	o.probes |= 1 << k.kind
	if c := b.pod.container(k.container); c != nil && !c.has(containerReady) {
		o.unready = true
	}
}

// allowed says whether the failures of a readiness probe count. Those of a container that was not
// ready yet count after the time that the probe itself allows for starting. What is found at the
// start of khook may have come before the container was ready.
func (b *builder) allowed(c *containerState, t *probeTrack) bool {
	if c.has(containerWasReady) && !b.catchUp {
		return true
	}
	at := b.now
	if c.has(containerReady) {
		at = t.failed
	}
	over, ok := startupOver(c)
	return ok && !at.Before(over)
}

// startupOver is when a container has had the time that its readiness probe allows for starting;
// false while it has not started.
func startupOver(c *containerState) (time.Time, bool) {
	spec := c.spec.Value()
	ready, from := spec.probes[readiness], c.started
	if spec.probes[startup].threshold > 0 {
		if from = c.readyAt; !c.has(containerStarted) {
			return time.Time{}, false
		}
	}
	if from == 0 {
		return time.Time{}, false
	}
	wait := time.Duration(ready.initialDelay)*time.Second + time.Duration(ready.threshold)*time.Duration(ready.period)*time.Second
	return time.Unix(int64(from), 0).Add(wait), true
}

// startupOver is when a streak that was not told because the container was starting may be.
func (t *probeTrack) startupOver(p *podState, k probeKey) (time.Time, bool) {
	c := p.container(k.container)
	if c == nil || t.fired || k.kind != readiness || c.has(containerReady) || c.has(containerWasReady) || p.over() {
		return time.Time{}, false
	}
	if t.streak < c.spec.Value().probes[readiness].threshold || t.instance != c.id {
		return time.Time{}, false
	}
	return startupOver(c)
}

// probesDue tells the failures of containers whose time for starting is over.
func (b *builder) probesDue() {
	tr := b.d.trouble[b.key]
	if tr == nil {
		return
	}
	for k, track := range tr.probes {
		if due, ok := track.startupOver(b.pod, k); ok && !due.After(b.now) {
			b.probeDue(k, track)
		}
	}
}

// readied ends the streak of a readiness probe whose container has become ready.
func (b *builder) readied(old *podState) {
	tr := b.d.trouble[b.key]
	if tr == nil {
		return
	}
	for k, track := range tr.probes {
		c := b.pod.container(k.container)
		if k.kind != readiness || c == nil || !c.has(containerReady) {
			continue
		}
		if was := old.containerOrNil(k.container); was == nil || !was.has(containerReady) || was.id != c.id {
			track.reset()
		}
	}
}

func (p *podState) containerOrNil(name string) *containerState {
	if p == nil {
		return nil
	}
	return p.container(name)
}

// probesQuiet says whether no probe of the Pod has failed lately.
func (t *trouble) probesQuiet(_ *podState, now time.Time) bool {
	for _, track := range t.probes {
		if now.Sub(track.failed) < probeMemory {
			return false
		}
	}
	return true
}

// seededProbes guesses from an open incident which probe failed.
func seededProbes(inc *incident.Incident) uint8 {
	if inc.Type != incident.ProbeFailed {
		return 0
	}
	for kind, reason := range map[probeKind]string{readiness: "ReadinessProbeFailed", startup: "StartupProbeFailed"} {
		if inc.Reason == reason {
			return 1 << kind
		}
	}
	return 1 << liveness
}
