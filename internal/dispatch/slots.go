package dispatch

import (
	"slices"
	"sync"

	"github.com/kagent-dev/khook/internal/incident"
)

// slots bounds how many deliveries each agent works on. Those that must wait are let in first
// come, first served.
type slots struct {
	limit int

	mu   sync.Mutex
	held map[incident.AgentRef]map[string]bool
	wait map[incident.AgentRef][]string
}

func newSlots(limit int) *slots {
	return &slots{limit: limit, held: map[incident.AgentRef]map[string]bool{}, wait: map[incident.AgentRef][]string{}}
}

// hold takes a slot whatever the limit says, for a delivery that is under way already.
func (s *slots) hold(a incident.AgentRef, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.take(a, id)
}

func (s *slots) take(a incident.AgentRef, id string) {
	if s.held[a] == nil {
		s.held[a] = map[string]bool{}
	}
	s.held[a][id] = true
}

// acquire takes a slot, or puts the delivery into the agent's line and returns false. release
// returns its ID when it is its turn.
func (s *slots) acquire(a incident.AgentRef, id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[a][id] || len(s.held[a]) < s.limit {
		s.take(a, id)
		return true
	}
	if !slices.Contains(s.wait[a], id) {
		s.wait[a] = append(s.wait[a], id)
	}
	return false
}

// release gives the slot back and returns the deliveries that may try now.
func (s *slots) release(a incident.AgentRef, id string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[a] != nil {
		delete(s.held[a], id)
		if len(s.held[a]) == 0 {
			delete(s.held, a)
		}
	}
	s.wait[a] = slices.DeleteFunc(s.wait[a], func(w string) bool { return w == id })
	n := min(len(s.wait[a]), s.limit-len(s.held[a]))
	if n <= 0 {
		return nil
	}
	next := slices.Clone(s.wait[a][:n])
	if s.wait[a] = s.wait[a][n:]; len(s.wait[a]) == 0 {
		delete(s.wait, a)
	}
	return next
}

func (s *slots) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, ids := range s.wait {
		n += len(ids)
	}
	return n
}
