// Package detect turns versions of Pods and Events into signals.
package detect

import (
	"container/heap"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kagent-dev/khook/internal/incident"
)

// Timing is the times that detection goes by; zero values take the defaults.
type Timing struct {
	PendingAfter  time.Duration // how long a Pod may be Pending; 1 min
	Stabilization time.Duration // how long a Pod must be healthy to have recovered; 2 min
	CatchUp       time.Duration // how old what is found at the start may be; 1 h
	Start         time.Time     // when khook started; what is found on the first list is held against it
}

func (t *Timing) setDefaults() {
	if t.PendingAfter == 0 {
		t.PendingAfter = time.Minute
	}
	if t.Stabilization == 0 {
		t.Stabilization = 2 * time.Minute
	}
	if t.CatchUp == 0 {
		t.CatchUp = time.Hour
	}
}

// lookAgain is how long after the loss of a watch is waited to see whether it is back.
const lookAgain = 30 * time.Second

// ongoingEvery is how often a problem that is still seen is told again: often enough that it does
// not end as quiet.
const ongoingEvery = 4 * time.Minute

// Detector turns versions of Pods and Events into signals. It is not safe for concurrent use.
type Detector struct {
	timing  Timing
	live    bool
	pods    map[podKey]*podState
	trouble map[podKey]*trouble // of Pods with something to watch
	gone    *recent             // Pods that were deleted lately
	held    held                // Events that came before their Pods
	timers  timers
}

// trouble is what is kept of a Pod while something is wrong with it, or may be soon.
type trouble struct {
	resource incident.Resource // as far as known; the Pod may be unknown
	open     map[slot]*openState
	pending  *pendingState
	probes   map[probeKey]*probeTrack
	mount    note      // the newest Warning about a volume or the sandbox of a Pending Pod
	restart  time.Time // the newest restart, as it was observed
	healthy  time.Time // since when the Pod is healthy; zero if it is not
	due      time.Time // of the timer that is set; zero if none is
}

// slot is what one incident of a Pod is about.
type slot struct {
	kind      incident.EventType
	container string
}

// openState is an incident that is open as far as the detector knows.
type openState struct {
	told    time.Time // the newest signal
	failed  time.Time // the newest failure of the probe
	probes  uint8     // kinds of probes that failed, as bits
	unready bool      // the container was seen not to be ready since
}

// note is a Warning Event in short.
type note struct{ reason, message string }

// New returns a detector that knows nothing yet.
func New(timing Timing) *Detector {
	timing.setDefaults()
	return &Detector{
		timing: timing, live: true,
		pods: map[podKey]*podState{}, trouble: map[podKey]*trouble{}, gone: newRecent(maxGone),
	}
}

// maxGone bounds the deleted Pods that are remembered.
const maxGone = 10_000

// SetLive says whether the cluster is being watched: only then can a problem be seen to go on.
func (d *Detector) SetLive(live bool) { d.live = live }

// Seed tells the incidents that are open in the history, before the first list, so that what
// recovered or was deleted meanwhile is told.
func (d *Detector) Seed(open []*incident.Incident) {
	for _, inc := range open {
		if inc.Resource.Kind != "Pod" {
			continue // of another source
		}
		key, _ := keyOf(inc.Resource.UID)
		t := d.troubleOf(key)
		t.resource = inc.Resource
		t.open[slot{inc.Type, inc.Container}] = &openState{told: inc.LastSeen, failed: inc.LastSeen, probes: seededProbes(inc), unready: true}
	}
}

// Pod takes a version of a Pod. catchUp marks those of the first list. The Pod is neither kept
// nor changed.
func (d *Detector) Pod(now time.Time, typ watch.EventType, pod *corev1.Pod, catchUp bool) []incident.Signal {
	key, _ := keyOf(string(pod.UID))
	old := d.pods[key]
	key, p := compact(pod, old, now)
	b := &builder{d: d, key: key, pod: p, now: now, catchUp: catchUp || old == nil}
	b.oomKills(old, pod)
	b.restarts(old, pod)
	b.readied(old)
	b.pending(old, pod)
	b.recovered()
	if typ == watch.Deleted {
		b.deleted()
		return b.signals
	}
	d.pods[key] = p
	d.settle(key, now)
	return append(b.signals, d.release(now, key)...)
}

// deleted tells the end of the Pod, if anybody waits for it.
func (b *builder) deleted() {
	if t := b.d.trouble[b.key]; t != nil && len(t.open) > 0 {
		b.signals = append(b.signals, incident.Signal{Kind: incident.Gone, At: b.now, Resource: b.pod.resource(b.key)})
	}
	delete(b.d.trouble, b.key)
	delete(b.d.pods, b.key)
	delete(b.d.held.pods, b.key)
	b.d.gone.add(b.key)
}

// Listed takes the UIDs of a full list of a namespace ("" for all), after its Pods: the others of
// that namespace are gone.
func (d *Detector) Listed(now time.Time, namespace string, uids map[string]bool) []incident.Signal {
	present := make(map[podKey]bool, len(uids))
	for uid := range uids {
		key, _ := keyOf(uid)
		present[key] = true
	}
	elsewhere := func(ns string) bool { return namespace != "" && ns != namespace }
	var signals []incident.Signal
	for key, t := range d.trouble {
		resource := t.resource
		if p := d.pods[key]; p != nil {
			resource = p.resource(key)
		}
		if present[key] || elsewhere(resource.Namespace) {
			continue
		}
		if len(t.open) > 0 {
			signals = append(signals, incident.Signal{Kind: incident.Gone, At: now, Resource: resource})
		}
		delete(d.trouble, key)
	}
	for key, p := range d.pods {
		if !present[key] && !elsewhere(p.namespace.Value()) {
			delete(d.pods, key)
			d.gone.add(key)
		}
	}
	return signals
}

// Tick tells what time brings: Pods that are Pending for too long, or healthy for long enough.
func (d *Detector) Tick(now time.Time) []incident.Signal {
	signals := d.releaseDue(now)
	for len(d.timers) > 0 && !d.timers[0].at.After(now) {
		timer, _ := heap.Pop(&d.timers).(timer)
		t := d.trouble[timer.key]
		if t == nil || !t.due.Equal(timer.at) {
			continue
		}
		t.due = time.Time{}
		p := d.pods[timer.key]
		if p == nil {
			continue
		}
		b := &builder{d: d, key: timer.key, pod: p, now: now}
		b.pendingDue()
		b.probesDue()
		b.recovered()
		b.ongoing()
		signals = append(signals, b.signals...)
		d.settle(timer.key, now)
	}
	return signals
}

// Next returns when Tick has something to do.
func (d *Detector) Next() (time.Time, bool) {
	timer, any := d.nextTimer()
	if due, ok := d.held.next(); ok && (!any || due.Before(timer)) {
		return due, true
	}
	return timer, any
}

// nextTimer is when the first of the Pods is to be looked at.
func (d *Detector) nextTimer() (time.Time, bool) {
	for len(d.timers) > 0 {
		if t := d.trouble[d.timers[0].key]; t != nil && t.due.Equal(d.timers[0].at) {
			return d.timers[0].at, true
		}
		heap.Pop(&d.timers) // another timer took its place
	}
	return time.Time{}, false
}

func (d *Detector) troubleOf(key podKey) *trouble {
	t := d.trouble[key]
	if t == nil {
		t = &trouble{open: map[slot]*openState{}, probes: map[probeKey]*probeTrack{}}
		d.trouble[key] = t
	}
	return t
}

// settle sets the Pod's next timer, and forgets its trouble when there is none left.
func (d *Detector) settle(key podKey, now time.Time) {
	t := d.trouble[key]
	if t == nil {
		return
	}
	p := d.pods[key]
	if p != nil && len(t.open) == 0 && t.pending == nil && t.probesQuiet(p, now) {
		delete(d.trouble, key)
		return
	}
	next := d.nextDue(key, t, now)
	if next.IsZero() || !t.due.IsZero() && !next.Before(t.due) {
		return
	}
	t.due = next
	heap.Push(&d.timers, timer{next, key})
}

// nextDue is the earliest time at which something of the Pod may have to be told.
func (d *Detector) nextDue(key podKey, t *trouble, now time.Time) time.Time {
	var next time.Time
	at := func(due time.Time) {
		if !due.After(now) {
			due = now.Add(time.Second) // its condition is not met yet: look again
		}
		if next.IsZero() || due.Before(next) {
			next = due
		}
	}
	p := d.pods[key]
	if p == nil {
		return next
	}
	if t.pending != nil && !t.pending.told && !p.over() && !p.has(podGated) {
		at(latest(t.pending.since.Add(d.timing.PendingAfter), t.pending.hold))
	}
	for s, o := range t.open {
		if due, ok := d.recoveryDue(p, t, s, o); ok {
			at(due)
		}
		if stillSeen(p, s, o) {
			due := o.told.Add(ongoingEvery)
			if !d.live {
				due = latest(due, now.Add(lookAgain))
			}
			at(due)
		}
	}
	for k, track := range t.probes {
		if due, ok := track.startupOver(p, k); ok {
			at(due)
		}
	}
	if next.IsZero() && len(t.open) == 0 && t.pending == nil {
		at(now.Add(probeMemory)) // to forget the probes
	}
	return next
}

// timer is a time at which a Pod is looked at.
type timer struct {
	at  time.Time
	key podKey
}

// timers is a heap of timers. A Pod's newest one counts, see trouble.due.
type timers []timer

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].at.Before(t[j].at) }
func (t timers) Swap(i, j int)      { t[i], t[j] = t[j], t[i] }

// Push is part of heap.Interface.
func (t *timers) Push(x any) {
	if v, ok := x.(timer); ok {
		*t = append(*t, v)
	}
}

// Pop is part of heap.Interface.
func (t *timers) Pop() any {
	last := (*t)[len(*t)-1]
	*t = (*t)[:len(*t)-1]
	return last
}

// recent remembers a bounded number of keys, the oldest are forgotten first.
type recent struct {
	limit int
	set   map[podKey]bool
	order []podKey
}

func newRecent(limit int) *recent { return &recent{limit: limit, set: map[podKey]bool{}} }

func (r *recent) add(k podKey) {
	if r.set[k] {
		return
	}
	if len(r.order) >= r.limit {
		delete(r.set, r.order[0])
		r.order = r.order[1:]
	}
	r.set[k] = true
	r.order = append(r.order, k)
}
