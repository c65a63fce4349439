package ledger

import (
	"github.com/kagent-dev/khook/internal/incident"
)

// openSet is the incidents that are open, found by slot, by resource and by ID. The incidents in
// it are never changed in place: a batch works on copies, which are merged after its commit.
type openSet struct {
	bySlot map[incident.Slot]*incident.Incident
	byUID  map[string]map[incident.Slot]bool
	byID   map[string]incident.Slot
}

func newOpenSet(open []*incident.Incident) *openSet {
	s := &openSet{
		bySlot: make(map[incident.Slot]*incident.Incident, len(open)),
		byUID:  map[string]map[incident.Slot]bool{},
		byID:   make(map[string]incident.Slot, len(open)),
	}
	for _, inc := range open {
		s.put(inc)
	}
	return s
}

func (s *openSet) put(inc *incident.Incident) {
	slot := inc.Slot()
	s.bySlot[slot] = inc
	s.byID[inc.ID] = slot
	if s.byUID[slot.UID] == nil {
		s.byUID[slot.UID] = map[incident.Slot]bool{}
	}
	s.byUID[slot.UID][slot] = true
}

func (s *openSet) drop(inc *incident.Incident) {
	slot := inc.Slot()
	delete(s.byID, inc.ID)
	if now := s.bySlot[slot]; now == nil || now.ID != inc.ID {
		return // another incident has the slot by now
	}
	delete(s.bySlot, slot)
	delete(s.byUID[slot.UID], slot)
	if len(s.byUID[slot.UID]) == 0 {
		delete(s.byUID, slot.UID)
	}
}

// merge takes over the incidents of a committed batch, in their order.
func (s *openSet) merge(changed []*incident.Incident) {
	for _, inc := range changed {
		if inc.Open() {
			s.put(inc)
		} else {
			s.drop(inc)
		}
	}
}

func (s *openSet) len() int { return len(s.bySlot) }

func (s *openSet) list() []*incident.Incident {
	list := make([]*incident.Incident, 0, len(s.bySlot))
	for _, inc := range s.bySlot {
		c := *inc
		list = append(list, &c)
	}
	return list
}

func (s *openSet) count() (int, map[incident.EventType]int) {
	byType := map[incident.EventType]int{}
	for slot := range s.bySlot {
		byType[slot.Type]++
	}
	return len(s.bySlot), byType
}
