package detect

import (
	"fmt"
	"slices"
	"time"
)

// streak counts the failures of one probe in a row. The kubelet's Events count over all instances of
// the container, and a new wording makes a new Event with a count of its own; the threshold is
// about consecutive failures of one instance. It is a value; its slices are replaced, never changed.
type streak struct {
	probe       probe
	counts      []eventCount // the newest of each Event
	length      int32        // failures in a row, of one instance
	instance    uint64       // of the container, that the streak is about
	lastFailure time.Time
	reported    bool   // the streak was told
	event       string // of the newest failure
	count       int32  // of that Event
	last        report
	ids         []string // that were told, see report
	message     string   // of the newest failure
}

// eventCount is how many failures an Event stood for when it was seen last.
type eventCount struct {
	event string
	count int32
}

// report is a failure that was told.
type report struct {
	length int32
	event  string
	bucket int32 // how many times the Event's count had passed the threshold
	step   int32 // and the step between two repetitions
}

const (
	maxEventsPerProbe = 32               // Events of one probe that are told apart
	maxIDsPerProbe    = 64               // IDs that were told and are remembered
	probeMemory       = time.Hour        // for how long failures are remembered, as for the Events themselves
	maxJitter         = 10 * time.Second // at most, what the kubelet's timing may be off
)

// isNew says whether no failure of the probe is known.
func (s streak) isNew() bool { return len(s.counts) == 0 }

// ended is what is left of a streak when the probe has passed: what the Events counted, for the next one.
func (s streak) ended() streak {
	s.length, s.reported, s.last = 0, false, report{}
	return s
}

// counted notes the count of an Event, and returns its former one.
func (s streak) counted(event string, count int32) (updated streak, before int32, known bool) {
	i := slices.IndexFunc(s.counts, func(c eventCount) bool { return c.event == event })
	switch {
	case i >= 0:
		before, known = s.counts[i].count, true
		s.counts = slices.Clone(s.counts)
		s.counts[i].count = count
	case len(s.counts) >= maxEventsPerProbe:
		s.counts = []eventCount{{event, count}}
	default:
		s.counts = append(slices.Clip(s.counts), eventCount{event, count})
	}
	return s, before, known
}

// with is the streak with what a version of an Event says. An Event that expired on the server
// comes back with its name and its count, but another UID.
func (s streak) with(p *podState, failed *probeFailure) streak {
	s.message = failed.message
	s, before, known := s.counted(failed.event, failed.count)
	if known && failed.count == before {
		return s
	}
	added := failed.count
	if known && failed.count > before {
		added = failed.count - before
	}
	var spec probeSpec
	c := p.container(failed.probe.container)
	if c != nil {
		spec = c.spec.Value().probes[failed.probe.kind]
		s, added = s.attributed(c, spec, failed, added, known)
	}
	if spec.period > 0 && s.length > 0 {
		if gap := failed.last.Sub(s.lastFailure); gap > spec.longestStreak(added)+spec.jitter() {
			added = min(added, spec.failuresWithin(gap))
			if c.survived(failed.probe.kind, s.lastFailure) {
				added = 1 // the others were not in a row
			}
			s = s.ended() // it must have passed in between
		}
	}
	s.length += added
	if failed.last.After(s.lastFailure) {
		s.lastFailure = failed.last
	}
	s.event, s.count = failed.event, failed.count
	return s
}

// survived says whether the failures since a time were too few in a row for the kubelet to act: the
// instance that ran then still does, and is ready if it is about that.
func (c *containerState) survived(kind probeKind, since time.Time) bool {
	if kind == readiness {
		return c.has(containerReady)
	}
	return c.has(containerRunning) && time.Unix(int64(c.started), 0).Before(since)
}

// attributed says how many of the added failures are of the container's current instance, and
// begins a new streak with a new instance. known says that the Event was seen before.
func (s streak) attributed(c *containerState, spec probeSpec, failed *probeFailure, added int32, known bool) (streak, int32) {
	if !known && spec.period > 0 && failed.last.Sub(failed.first) > spec.longestStreak(added-1)+spec.jitter() {
		added = 1 // they were not in a row
	}
	start := time.Unix(int64(c.started), 0)
	ofEarlier := c.started == 0 || failed.last.Before(start)
	switch {
	case ofEarlier || s.instance == c.id:
		if s.instance == 0 {
			s.instance = c.id
		}
		if known || !failed.first.Before(start) {
			return s, added
		}
	case s.instance != 0:
		s = s.ended()
		if known {
			s.instance = c.id
			return s, min(added, spec.failuresWithin(failed.last.Sub(start)))
		}
	}
	s.instance = c.id
	if known || !failed.first.Before(start) || failed.last.Before(start) {
		return s, added
	}
	// The others were of an earlier instance.
	return s, min(added, spec.failuresWithin(failed.last.Sub(start)-time.Duration(spec.initialDelay)*time.Second))
}

// longestStreak is how long n failures in a row take at most. A probe that may take longer than its
// period misses its turn.
func (s probeSpec) longestStreak(n int32) time.Duration {
	step := time.Duration(s.period) * time.Second
	if s.timeout > s.period {
		step += time.Duration(s.timeout) * time.Second
	}
	return time.Duration(n) * step * 11 / 10
}

// jitter is what the kubelet's timing, and times to the second, may be off: less than a period, or a
// probe that passed in between would not be noticed.
func (s probeSpec) jitter() time.Duration {
	return min(max(time.Duration(s.period)*time.Second/2, 2*time.Second), maxJitter)
}

// failuresWithin is how many failures in a row fit into a time.
func (s probeSpec) failuresWithin(d time.Duration) int32 {
	if s.period <= 0 {
		return 1
	}
	return int32(min(max(int64(d/(time.Duration(s.period)*time.Second)), 0), 1000)) + 1
}

// repeatEvery is how often, at most, a streak is told again: as often as the kubelet tells of a
// crash loop.
const repeatEvery = 12 * time.Second

// repeatAfter is how many failures are told as one repetition: as many as the threshold, and more of a
// probe that is made every few seconds.
func (s probeSpec) repeatAfter(threshold int32) int32 {
	if s.period <= 0 {
		return threshold
	}
	return max(threshold, (int32(repeatEvery/time.Second)+s.period-1)/s.period)
}

// mayRepeat says whether a streak that was told is told again, with step failures between two times.
func (s streak) mayRepeat(step int32) bool {
	return s.length-s.last.length >= step || s.event == s.last.event && s.count/step != s.last.step
}

// report notes that the streak is told, and returns what identifies it: the Event, and how many
// times its count has passed the threshold. So a khook that first sees the Event at a later count
// finds the same. It is part of the signal's key, which history files have: it must stay as it is.
func (s streak) report(threshold, step int32) (told streak, id string) {
	s.reported, s.last = true, report{s.length, s.event, s.count / threshold, s.count / step}
	id = fmt.Sprintf("%016x/%d", hash(s.event), s.last.bucket)
	if slices.Contains(s.ids, id) {
		id += fmt.Sprintf("/%d", s.count) // other Events were counted too
	}
	if len(s.ids) >= maxIDsPerProbe {
		s.ids = nil
	}
	if !slices.Contains(s.ids, id) {
		s.ids = append(slices.Clip(s.ids), id)
	}
	return s, id
}
