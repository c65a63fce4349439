package dispatch

import (
	"slices"
	"sync"

	"github.com/kagent-dev/khook/internal/delivery"
)

// agentLimiter bounds how many deliveries each agent works on. Those that must wait are let in first
// come, first served: while one waits, no later one finds a free slot. That holds because release hands a
// free slot to the first in line itself, under one lock: whoever asks next finds it taken.
type agentLimiter struct {
	limit int

	mu   sync.Mutex
	held map[delivery.AgentRef]map[string]bool
	wait map[delivery.AgentRef][]string
}

func newAgentLimiter(limit int) *agentLimiter {
	return &agentLimiter{limit: limit, held: map[delivery.AgentRef]map[string]bool{}, wait: map[delivery.AgentRef][]string{}}
}

// hold takes a slot whatever the limit says, for a delivery that is under way already.
func (s *agentLimiter) hold(a delivery.AgentRef, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leave(a, id)
	s.take(a, id)
}

// take gives the delivery a slot. The caller holds the lock.
func (s *agentLimiter) take(a delivery.AgentRef, id string) {
	if s.held[a] == nil {
		s.held[a] = map[string]bool{}
	}
	s.held[a][id] = true
}

// leave takes the delivery out of the agent's line. The caller holds the lock.
func (s *agentLimiter) leave(a delivery.AgentRef, id string) {
	if i := slices.Index(s.wait[a], id); i >= 0 {
		s.wait[a] = slices.Delete(s.wait[a], i, i+1)
	}
	if len(s.wait[a]) == 0 {
		delete(s.wait, a)
	}
}

// acquire takes a slot, or puts the delivery into the agent's line and returns false. release
// gives it a slot when it is its turn.
func (s *agentLimiter) acquire(a delivery.AgentRef, id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[a][id] {
		return true
	}
	if len(s.held[a]) < s.limit {
		s.take(a, id)
		return true
	}
	if !slices.Contains(s.wait[a], id) {
		s.wait[a] = append(s.wait[a], id)
	}
	return false
}

// release gives the slot back, or leaves the line. It returns the deliveries that have a slot now
// and must be woken.
func (s *agentLimiter) release(a delivery.AgentRef, id string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leave(a, id)
	delete(s.held[a], id)
	var next []string
	for len(s.wait[a]) > 0 && len(s.held[a]) < s.limit {
		first := s.wait[a][0]
		s.leave(a, first)
		s.take(a, first)
		next = append(next, first)
	}
	if len(s.held[a]) == 0 {
		delete(s.held, a)
	}
	return next
}

// forget releases a delivery whose agent is not known any more.
func (s *agentLimiter) forget(id string) []string {
	a, ok := s.find(id)
	if !ok {
		return nil
	}
	return s.release(a, id)
}

// find returns the agent whose slot or line the delivery is in.
func (s *agentLimiter) find(id string) (delivery.AgentRef, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for a, held := range s.held { // an agent with a line has no free slot
		if held[id] || slices.Contains(s.wait[a], id) {
			return a, true
		}
	}
	return delivery.AgentRef{}, false
}

// waiting is how many deliveries are in line, of all agents.
func (s *agentLimiter) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, ids := range s.wait {
		n += len(ids)
	}
	return n
}
