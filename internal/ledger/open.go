package ledger

import (
	"maps"

	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
)

// openSet is the incidents that are open, found by key, by resource, by group and by ID. The incidents in
// it are never changed in place: a batch works on copies, which are merged after its commit.
type openSet struct {
	byKey map[incident.ProblemKey]*incident.Incident
	byUID map[string]map[incident.ProblemKey]bool
	byID  map[string]incident.ProblemKey

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
	names := hook.Groups(inc.LastSignal())
	groups := make([]groupName, len(names))
	for i, name := range names {
		groups[i] = groupName{inc.Resource.Namespace, inc.Type, name}
	}
	return groups
}

func newOpenSet(open []*incident.Incident) *openSet {
	s := &openSet{
		byKey: make(map[incident.ProblemKey]*incident.Incident, len(open)),
		byUID: map[string]map[incident.ProblemKey]bool{},
		byID:  make(map[string]incident.ProblemKey, len(open)),

		byGroup: map[groupName]map[incident.ProblemKey]bool{},
		byType:  map[incident.EventType]int{},
	}
	for _, inc := range open {
		s.put(inc)
	}
	return s
}

func (s *openSet) put(inc *incident.Incident) {
	key := inc.ProblemKey()
	if was := s.byKey[key]; was != nil {
		s.forget(was)
	}
	s.byKey[key] = inc
	s.byType[inc.Type]++
	for _, name := range groupNames(inc) {
		if s.byGroup[name] == nil {
			s.byGroup[name] = map[incident.ProblemKey]bool{}
		}
		s.byGroup[name][key] = true
	}
	s.byID[inc.ID] = key
	if s.byUID[key.UID] == nil {
		s.byUID[key.UID] = map[incident.ProblemKey]bool{}
	}
	s.byUID[key.UID][key] = true
}

func (s *openSet) drop(inc *incident.Incident) {
	key := inc.ProblemKey()
	delete(s.byID, inc.ID)
	if now := s.byKey[key]; now == nil || now.ID != inc.ID {
		return // another incident has taken the key meanwhile
	}
	s.forget(s.byKey[key]) // as it was put: its groups may have changed since
	delete(s.byKey, key)
	delete(s.byUID[key.UID], key)
	if len(s.byUID[key.UID]) == 0 {
		delete(s.byUID, key.UID)
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
// opened in its key may both be among them. Only called after the commit; see batch.
func (s *openSet) merge(changed []*incident.Incident) {
	for _, inc := range changed {
		if inc.Open() {
			s.put(inc)
		} else {
			s.drop(inc)
		}
	}
}

func (s *openSet) len() int { return len(s.byKey) }

func (s *openSet) list() []*incident.Incident {
	list := make([]*incident.Incident, 0, len(s.byKey))
	for _, inc := range s.byKey {
		c := *inc
		list = append(list, &c)
	}
	return list
}

func (s *openSet) count() (int, map[incident.EventType]int) {
	return len(s.byKey), maps.Clone(s.byType)
}
