package detect

import (
	"cmp"
	"slices"
	"time"

	"github.com/kagent-dev/khook/internal/incident"
)

// state is what is known of one Pod between two looks. It is a value: what its pointers and slices
// lead to is never changed in place, but replaced. So rules can't disturb each other, and a Pod that
// is well costs no copy: its problems are nil.
type state struct {
	pod      *podState // the newest version
	problems *problems // nil if there are none
}

// problems is what is kept of a Pod while something is wrong with it, or may be soon.
type problems struct {
	resource incident.Resource // as far as known: an incident of the history may be all there is of the Pod
	open     []openProblem     // sorted by slot
	pending  *pendingState     // nil while the Pod is not Pending
	streaks  []streak          // sorted by probe

	volumeWarning volumeWarning // the newest one, while the Pod is Pending
	lastRestart   time.Time     // when it was seen
	healthySince  time.Time     // zero if the Pod is not healthy
	lostSince     time.Time     // since when nothing is heard of its node; zero while that is heard of
}

// containerSlot is what one incident of a Pod is about.
type containerSlot struct {
	kind      incident.EventType
	container string // "" for the Pod
}

func compareSlots(a, b containerSlot) int {
	return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.container, b.container))
}

// openProblem is an incident that is open, as far as detection knows.
type openProblem struct {
	containerSlot

	lastSignal  time.Time
	lastFailure time.Time // of the probe
	probes      probeSet  // that failed
	seenUnready bool      // the container was seen not to be ready since
	unheard     bool      // it was told that nothing is heard of the node, and that was not taken back
	occurred    bool      // since nodeHeard looked last
}

// warning is a Warning Event in short, or why a Pod is Pending.
type warning struct{ reason, message string }

// volumeWarning is a Warning Event about a volume or the sandbox of a Pod.
type volumeWarning struct {
	warning

	at time.Time
}

// with returns the state with its problems changed. change gets a copy, whose slices are still those
// of the original: it must replace them, as setOpen, close and setStreak do.
func (s state) with(change func(*problems)) state {
	var p problems
	if s.problems != nil {
		p = *s.problems
	}
	change(&p)
	return state{s.pod, &p}
}

// find returns the open problem of a slot; a new one and false if there is none.
func (p *problems) find(which containerSlot) (openProblem, bool) {
	if p != nil {
		if i, found := p.search(which); found {
			return p.open[i], true
		}
	}
	return openProblem{containerSlot: which}, false
}

func (p *problems) search(which containerSlot) (int, bool) {
	return slices.BinarySearchFunc(p.open, which, func(o openProblem, s containerSlot) int { return compareSlots(o.containerSlot, s) })
}

// isOpen says whether an incident is open, as far as detection knows.
func (p *problems) isOpen(t incident.EventType, container string) bool {
	_, open := p.find(containerSlot{t, container})
	return open
}

// setOpen puts an open problem in the place of the one of its slot.
func (p *problems) setOpen(o openProblem) {
	i, found := p.search(o.containerSlot)
	p.open = slices.Clone(p.open)
	if found {
		p.open[i] = o
		return
	}
	p.open = slices.Insert(p.open, i, o)
}

// streak returns the streak of a probe; a new one if there is none. It may be called on nil.
func (p *problems) streak(of probe) streak {
	if p != nil {
		if i, found := p.searchStreak(of); found {
			return p.streaks[i]
		}
	}
	return streak{probe: of}
}

func (p *problems) searchStreak(of probe) (int, bool) {
	return slices.BinarySearchFunc(p.streaks, of, func(s streak, of probe) int { return compareProbes(s.probe, of) })
}

// setStreak puts a streak in the place of the one of its probe.
func (p *problems) setStreak(s streak) {
	i, found := p.searchStreak(s.probe)
	p.streaks = slices.Clone(p.streaks)
	if found {
		p.streaks[i] = s
		return
	}
	p.streaks = slices.Insert(p.streaks, i, s)
}

// quiet says whether nothing is left to watch: no problem is open or to come, and no probe has failed
// lately.
func (p *problems) quiet(now time.Time) bool {
	recent := func(s streak) bool { return now.Sub(s.lastFailure) < probeMemory }
	return len(p.open) == 0 && p.pending == nil && !slices.ContainsFunc(p.streaks, recent)
}

// latest is the last of some times.
func latest(times ...time.Time) time.Time {
	return slices.MaxFunc(times, time.Time.Compare)
}
