package detect

import (
	"fmt"
	"time"

	eventsv1 "k8s.io/api/events/v1"
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
	probeSlack        = 10 * time.Second // at most, what the kubelet's timing may be off
)

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
		if gap := at.Sub(t.failed); gap > span(spec, added)+slack(spec) {
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
	if !known && spec.period > 0 && at.Sub(firstSeen(ev)) > span(spec, added-1)+slack(spec) {
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

// slack is what the kubelet's timing, and times to the second, may be off: less than a period, or a
// probe that passed in between would not be noticed.
func slack(s probeSpec) time.Duration {
	return min(max(time.Duration(s.period)*time.Second/2, 2*time.Second), probeSlack)
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
