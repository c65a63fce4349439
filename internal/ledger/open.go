package ledger

import (
	"maps"

	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
)

// openSet is the incidents that are open, found by slot, by resource, by group and by ID. The incidents in
// it are never changed in place: a batch works on copies, which are merged after its commit.
type openSet struct {
	bySlot map[incident.ProblemKey]*incident.Incident
	byUID  map[string]map[incident.ProblemKey]bool
	byID   map[string]incident.ProblemKey

	// Each incident is there under all groups that a configuration can make of it: so a storm of many
	// groups costs each only its own, and not all of them over again.
	byGroup map[groupName]map[incident.ProblemKey]bool
	byType  map[incident.EventType]int
}

// groupName names the resources of a namespace that fail in one way and share a call.
type groupName struct {
	namespace string
	kind      incident.EventType
	name      string // see hook.Config.Group
}

// groupNames are the groups that an incident may be of, by any configuration.
func groupNames(inc *incident.Incident) []groupName {
	names := hook.Groups(signalOf(inc))
	groups := make([]groupName, len(names))
	for i, name := range names {
		groups[i] = groupName{inc.Resource.Namespace, inc.Type, name}
	}
	return groups
}

func newOpenSet(open []*incident.Incident) *openSet {
	s := &openSet{
		bySlot: make(map[incident.ProblemKey]*incident.Incident, len(open)),
		byUID:  map[string]map[incident.ProblemKey]bool{},
		byID:   make(map[string]incident.ProblemKey, len(open)),

		byGroup: map[groupName]map[incident.ProblemKey]bool{},
		byType:  map[incident.EventType]int{},
	}
	for _, inc := range open {
		s.put(inc)
	}
	return s
}

func (s *openSet) put(inc *incident.Incident) {
	slot := inc.ProblemKey()
	if was := s.bySlot[slot]; was != nil {
		s.forget(was)
	}
	s.bySlot[slot] = inc
	s.byType[inc.Type]++
	for _, name := range groupNames(inc) {
		if s.byGroup[name] == nil {
			s.byGroup[name] = map[incident.ProblemKey]bool{}
		}
		s.byGroup[name][slot] = true
	}
	s.byID[inc.ID] = slot
	if s.byUID[slot.UID] == nil {
		s.byUID[slot.UID] = map[incident.ProblemKey]bool{}
	}
	s.byUID[slot.UID][slot] = true
}

func (s *openSet) drop(inc *incident.Incident) {
	slot := inc.ProblemKey()
	delete(s.byID, inc.ID)
	if now := s.bySlot[slot]; now == nil || now.ID != inc.ID {
		return // another incident has taken the slot meanwhile
	}
	s.forget(s.bySlot[slot]) // as it was put: its groups may have changed since
	delete(s.bySlot, slot)
	delete(s.byUID[slot.UID], slot)
	if len(s.byUID[slot.UID]) == 0 {
		delete(s.byUID, slot.UID)
	}
}

// forget takes an incident out of its groups and out of the count.
func (s *openSet) forget(inc *incident.Incident) {
	if s.byType[inc.Type]--; s.byType[inc.Type] == 0 {
		delete(s.byType, inc.Type)
	}
	for _, name := range groupNames(inc) {
		delete(s.byGroup[name], inc.ProblemKey())
		if len(s.byGroup[name]) == 0 {
			delete(s.byGroup, name)
		}
	}
}

// merge takes over the incidents of a committed batch, in their order: one that ended and one that was
// opened in its slot may both be among them. Only called after the commit; see batch.
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
	return len(s.bySlot), maps.Clone(s.byType)
}
