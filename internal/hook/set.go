package hook

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// Set is the live set of hooks. It is safe for concurrent use.
type Set struct {
	Policy Policy

	mu          sync.RWMutex
	hooks       map[delivery.HookRef]*setEntry
	byNamespace map[string][]*Config // all configurations of a namespace, in a stable order

	pauses atomic.Pointer[delivery.Pauses] // never changed; nil for none
}

type setEntry struct {
	generation int64
	uid        string
	resumed    time.Time // by its annotation, which is of no generation
	suspended  bool
	configs    []*Config
	errs       field.ErrorList
}

// NewSet returns an empty set under a policy.
func NewSet(policy Policy) *Set {
	return &Set{Policy: policy, hooks: map[delivery.HookRef]*setEntry{}, byNamespace: map[string][]*Config{}}
}

// Put adds the hook, or replaces what the set knows of it, and returns what is wrong with it. A
// hook whose generation is known is not compiled again.
func (s *Set) Put(h *v1alpha2.Hook) field.ErrorList {
	ref := delivery.HookRef{Namespace: h.Namespace, Name: h.Name}
	s.mu.RLock()
	old := s.hooks[ref]
	s.mu.RUnlock()
	if old != nil && h.Generation != 0 && old.generation == h.Generation && old.uid == string(h.UID) && old.resumed.Equal(ResumedAt(h)) {
		return old.errs
	}
	configs, errs := Compile(h, s.Policy)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hooks[ref] = &setEntry{h.Generation, string(h.UID), ResumedAt(h), h.Spec.Suspend, configs, errs}
	s.index(h.Namespace)
	return errs
}

// Delete forgets the hook.
func (s *Set) Delete(ref delivery.HookRef) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.hooks, ref)
	s.index(ref.Namespace)
}

// index rebuilds the configurations of a namespace. The slice is replaced, never changed, so
// that readers can keep it.
func (s *Set) index(namespace string) {
	var configs []*Config
	for ref, e := range s.hooks {
		if ref.Namespace == namespace {
			configs = append(configs, e.configs...)
		}
	}
	slices.SortStableFunc(configs, func(a, b *Config) int { return strings.Compare(a.Hook.Name, b.Hook.Name) })
	if len(configs) == 0 {
		delete(s.byNamespace, namespace)
		return
	}
	s.byNamespace[namespace] = configs
}

// Matching returns the configurations that are about the event, in a stable order.
func (s *Set) Matching(f incident.Facts) []*Config {
	var found []*Config
	for _, c := range s.In(f.Signal.Resource.Namespace) {
		if c.Matches(f) {
			found = append(found, c)
		}
	}
	return found
}

// In returns the configurations of a namespace's hooks, in a stable order. They are not to be changed.
func (s *Set) In(namespace string) []*Config {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byNamespace[namespace]
}

// Of returns the configurations of a hook, in the order of its list. They are not to be changed.
func (s *Set) Of(ref delivery.HookRef) []*Config {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if e := s.hooks[ref]; e != nil {
		return e.configs
	}
	return nil
}

// Has says whether the set holds the hook.
func (s *Set) Has(ref delivery.HookRef) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.hooks[ref]
	return ok
}

// Refs are the hooks that the set holds, in no order.
func (s *Set) Refs() []delivery.HookRef {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Collect(maps.Keys(s.hooks))
}

// Len is how many hooks the set holds.
func (s *Set) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.hooks)
}

// Agents returns the agents that the hook names, without repeats.
func (s *Set) Agents(ref delivery.HookRef) []delivery.AgentRef {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var agents []delivery.AgentRef
	if e := s.hooks[ref]; e != nil {
		for _, c := range e.configs {
			if c.Invalid == "" && !slices.Contains(agents, c.Agent) {
				agents = append(agents, c.Agent)
			}
		}
	}
	return agents
}

// HooksOf returns the hooks that name the agent.
func (s *Set) HooksOf(agent delivery.AgentRef) []delivery.HookRef {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var refs []delivery.HookRef
	for ref, e := range s.hooks {
		if slices.ContainsFunc(e.configs, func(c *Config) bool { return c.Agent == agent }) {
			refs = append(refs, ref)
		}
	}
	return refs
}

// AllAgents returns the agents that hooks may call, without repeats, in order.
func (s *Set) AllAgents() []delivery.AgentRef {
	s.mu.RLock()
	defer s.mu.RUnlock()
	seen := map[delivery.AgentRef]bool{}
	for _, e := range s.hooks {
		for _, c := range e.configs {
			if c.Invalid == "" {
				seen[c.Agent] = true
			}
		}
	}
	agents := slices.Collect(maps.Keys(seen))
	slices.SortFunc(agents, func(a, b delivery.AgentRef) int { return strings.Compare(a.String(), b.String()) })
	return agents
}

// SetPauses replaces what the set knows of pauses. They are not to be changed afterwards.
func (s *Set) SetPauses(all delivery.Pauses) { s.pauses.Store(&all) }

// Pauses are those that the set knows of, over or not. They are not to be changed.
func (s *Set) Pauses() delivery.Pauses {
	if all := s.pauses.Load(); all != nil {
		return *all
	}
	return nil
}

// Paused is the pause that stops the calls of a Hook at a time; false if there is none.
func (s *Set) Paused(ref delivery.HookRef, now time.Time) (delivery.Pause, bool) {
	return s.Pauses().Of(ref, now)
}

// Refusal says why a delivery that was scheduled for a hook must not be sent any more: the hook is
// gone, suspended, or may not call the agent. The Skip is "" if the delivery may be sent.
func (s *Set) Refusal(ref delivery.HookRef, uid string, agent delivery.AgentRef) (delivery.Skip, string) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := s.hooks[ref]
	switch {
	case e == nil || e.uid != uid:
		return delivery.SkipDeleted, "the Hook was deleted before its agent was called"
	case e.suspended:
		return delivery.SkipSuspended, "the Hook was suspended before its agent was called"
	case !s.Policy.Allows(ref.Namespace, agent):
		return delivery.SkipForbidden, fmt.Sprintf("agent %s is in a namespace that hooks may not call any more", agent)
	}
	return "", ""
}
