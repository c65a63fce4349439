package dispatch

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
)

// agentLimiter bounds how many deliveries each agent works on, and keeps those that must wait in line: by when they were due, whatever
// became of them meanwhile. Who is in line is not looked at. Three things hold:
//
//   - A free slot is handed to the first in line under the same lock, so whoever asks next finds it taken.
//   - While an agent's line is shut, because its calls fail or it wants to be asked later, no slot is handed out. When that is over one
//     delivery tries, and not the whole line.
//   - Those that failed because of the agent wait on their own, and come back into the line, at their places, when one call got through.
type agentLimiter struct {
	limit int

	mu sync.Mutex
	of map[delivery.AgentRef]*agentTurns
	in map[string]delivery.AgentRef // whose turns each delivery is in
	up map[string]bool              // deliveries that were given a slot although their own pause is not over
}

// agentTurns are those of one agent.
type agentTurns struct {
	held    map[string]bool
	line    []place
	resting map[string]place
	tried   map[string]int // how often deliveries failed since not all calls were let through
	until   time.Time      // the line is shut until then, and until it is opened
	shut    bool
	trying  bool   // one at a time
	try     string // who does; "" for nobody
}

// place is a delivery's place in line.
type place struct {
	id     string
	due    time.Time
	called bool // its own pause does not count
	tries  int  // see agentTurns.tried: one whose calls fail must not keep the others from trying
}

func (p place) compare(other place) int {
	return cmp.Or(cmp.Compare(p.tries, other.tries), p.due.Compare(other.due), strings.Compare(p.id, other.id))
}

func placeOf(dl *delivery.Delivery) place { return place{id: dl.ID, due: dl.CreatedAt} }

func newAgentLimiter(limit int) *agentLimiter {
	return &agentLimiter{limit: limit, of: map[delivery.AgentRef]*agentTurns{}, in: map[string]delivery.AgentRef{}, up: map[string]bool{}}
}

// turnsOf are the turns of an agent, begun if there are none. The caller holds the lock.
func (s *agentLimiter) turnsOf(a delivery.AgentRef) *agentTurns {
	if s.of[a] == nil {
		s.of[a] = &agentTurns{held: map[string]bool{}, resting: map[string]place{}, tried: map[string]int{}}
	}
	return s.of[a]
}

// tidy forgets an agent of which there is nothing to remember. The caller holds the lock.
func (s *agentLimiter) tidy(a delivery.AgentRef) {
	if t := s.of[a]; t != nil && len(t.held)+len(t.line)+len(t.resting) == 0 && !t.shut {
		delete(s.of, a)
	}
}

// leave takes the delivery out of the slots, the line and the rest. The caller holds the lock.
func (s *agentLimiter) leave(t *agentTurns, id string) {
	delete(t.held, id)
	delete(t.resting, id)
	delete(s.in, id)
	delete(s.up, id)
	if i := slices.IndexFunc(t.line, func(p place) bool { return p.id == id }); i >= 0 {
		t.line = slices.Delete(t.line, i, i+1)
	}
	if t.try == id {
		t.try = ""
	}
}

// enter puts a delivery into the line. The caller holds the lock.
func (s *agentLimiter) enter(a delivery.AgentRef, t *agentTurns, p place) {
	delete(t.resting, p.id)
	if slices.ContainsFunc(t.line, func(other place) bool { return other.id == p.id }) {
		return
	}
	p.tries = t.tried[p.id]
	i, _ := slices.BinarySearchFunc(t.line, p, place.compare)
	t.line = slices.Insert(t.line, i, p)
	s.in[p.id] = a
}

// take gives the delivery a slot. The caller holds the lock.
func (s *agentLimiter) take(a delivery.AgentRef, t *agentTurns, id string) {
	t.held[id] = true
	s.in[id] = a
}

// handOut gives the free slots to the first in line, and returns who has one now. The caller holds the lock.
func (s *agentLimiter) handOut(a delivery.AgentRef, t *agentTurns) (next []string) {
	for !t.shut && len(t.line) > 0 && len(t.held) < s.limit && (!t.trying || t.try == "") {
		first := t.line[0]
		t.line = slices.Delete(t.line, 0, 1)
		s.take(a, t, first.id)
		if first.called {
			s.up[first.id] = true
		}
		if t.trying {
			t.try = first.id
		}
		next = append(next, first.id)
	}
	return next
}

// hold takes a slot whatever the limit says, for a delivery that is under way already.
func (s *agentLimiter) hold(a delivery.AgentRef, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.turnsOf(a)
	if try := t.try; !t.held[id] {
		s.leave(t, id)
		t.try = try
	}
	s.take(a, t, id)
}

// acquire takes a slot, or puts the delivery into the agent's line. next are those that must be woken: it is their turn before this one's.
func (s *agentLimiter) acquire(a delivery.AgentRef, p place) (ok bool, next []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.turnsOf(a)
	if t.held[p.id] {
		return true, nil
	}
	s.enter(a, t, p)
	next = s.handOut(a, t)
	ok = t.held[p.id]
	return ok, slices.DeleteFunc(next, func(id string) bool { return id == p.id })
}

// release gives the slot back, or leaves the line. It returns the deliveries that have a slot now and must be woken.
func (s *agentLimiter) release(a delivery.AgentRef, id string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.of[a]
	if t == nil {
		return nil
	}
	s.leave(t, id)
	next := s.handOut(a, t)
	s.tidy(a)
	return next
}

// rest lets a delivery wait on its own, until the agent is back or it comes by itself.
func (s *agentLimiter) rest(a delivery.AgentRef, p place) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.turnsOf(a)
	if !t.held[p.id] { // else it still occupies its agent, and needs no place
		s.leave(t, p.id)
		p.called = true
		t.resting[p.id] = p
		s.in[p.id] = a
	}
	if t.shut || t.trying {
		t.tried[p.id]++
	}
	return s.handOut(a, t)
}

// pause is for a delivery that is woken before its time: it gives a slot back that it does not need, and goes on resting if it does.
func (s *agentLimiter) pause(a delivery.AgentRef, id string) []string {
	s.mu.Lock()
	t := s.of[a]
	resting := t != nil && t.resting[id].id != ""
	s.mu.Unlock()
	if resting {
		return nil
	}
	return s.release(a, id)
}

// close shuts the agent's line until a time, or later if it is shut until later. A delivery that has a slot and could not call gives it
// back, and gets its place in line.
func (s *agentLimiter) close(a delivery.AgentRef, p place, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.turnsOf(a)
	t.shut = true
	if until.After(t.until) {
		t.until = until
	}
	if p.id == "" {
		return
	}
	s.leave(t, p.id)
	p.called = true
	s.enter(a, t, p)
}

// try lets the first in line try whether the agent is back. It returns whom to wake, and when to ask again if it is too early.
func (s *agentLimiter) tryOne(a delivery.AgentRef, now time.Time) (next []string, again time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.of[a]
	if t == nil || !t.shut {
		return nil, 0
	}
	if now.Before(t.until) {
		return nil, t.until.Sub(now)
	}
	t.shut, t.trying, t.until = false, true, time.Time{}
	next = s.handOut(a, t)
	s.tidy(a)
	return next, 0
}

// open lets all calls through again, because one got through: also those that rest are called up, in their order.
func (s *agentLimiter) open(a delivery.AgentRef) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.of[a]
	if t == nil || t.shut {
		return nil
	}
	t.trying, t.try = false, ""
	if len(t.tried) > 0 {
		clear(t.tried)
		for i := range t.line {
			t.line[i].tries = 0
		}
		slices.SortFunc(t.line, place.compare)
	}
	s.callUp(a, t)
	next := s.handOut(a, t)
	s.tidy(a)
	return next
}

// callUp puts those that rest into the line. The caller holds the lock.
func (s *agentLimiter) callUp(a delivery.AgentRef, t *agentTurns) {
	for _, p := range t.resting {
		s.enter(a, t, p)
	}
}

// waitingFor are the agents whose line is shut, or for which deliveries rest. Those are called up, and wait for the first one to try.
func (s *agentLimiter) waitingFor() []delivery.AgentRef {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []delivery.AgentRef
	for a, t := range s.of {
		if t.shut || len(t.resting) > 0 {
			s.callUp(a, t)
			t.shut = true
			all = append(all, a)
		}
	}
	return all
}

// calledUp says, once, whether a delivery was given a slot although its own pause is not over.
func (s *agentLimiter) calledUp(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	up := s.up[id]
	delete(s.up, id)
	return up
}

// forget releases a delivery whose agent is not known any more.
func (s *agentLimiter) forget(id string) []string {
	s.mu.Lock()
	a, ok := s.in[id]
	s.mu.Unlock()
	if !ok {
		return nil
	}
	return s.release(a, id)
}

// waiting is how many deliveries are in line, of all agents.
func (s *agentLimiter) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, t := range s.of {
		n += len(t.line)
	}
	return n
}

// size is how much is remembered.
func (s *agentLimiter) size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.of) + len(s.in) + len(s.up)
}
