package ledger

import (
	"context"
	"maps"
	"slices"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// expected are the questions that the decisions of a batch may have for the history. The first of a kind is asked together with those that are
// likely to follow, since each statement is a round trip where the database is another machine. What is not asked after all is read in vain; what is
// not expected is asked for alone: it is about speed, and never about what is decided.
//
// Nothing of it is asked before it is needed, and so not before an edited Hook's configurations are settled, which gives groups other keys.
type expected struct {
	of       map[configRef]*expectation
	problems map[incident.ProblemKey]bool // of signs that may open an incident again

	newest map[incident.ProblemKey]*incident.Incident
	covers map[coverRef][]store.Cover
}

// configRef is a configuration of a Hook.
type configRef struct {
	hook delivery.HookRef
	key  string
}

// coverRef is an incident that a configuration may have called for.
type coverRef struct {
	configRef
	incident string
}

// expectation is what one configuration may be asked about.
type expectation struct{ groups, workloads, incidents map[string]bool }

// expect notes what the signals are about.
func (b *batch) expect(signals []incident.Signal) {
	b.expected = expected{of: map[configRef]*expectation{}, problems: map[incident.ProblemKey]bool{}, newest: map[incident.ProblemKey]*incident.Incident{}, covers: map[coverRef][]store.Cover{}}
	for i := range signals {
		s := &signals[i]
		if s.Kind != incident.Observed && s.Kind != incident.Ongoing {
			continue
		}
		open := b.open.byKey[s.ProblemKey()]
		switch {
		case s.Kind == incident.Observed:
			b.expectAbout(s, open)
		case open != nil:
			b.expectAbout(open.LastSignal(), open)
		default:
			b.expected.problems[s.ProblemKey()] = true
		}
	}
}

// expectAbout notes what the configurations of a signal's type may ask about it; of is its incident, if it has one.
func (b *batch) expectAbout(s *incident.Signal, of *incident.Incident) {
	for _, c := range b.matcher.in(s.Resource.Namespace) {
		if c.EventType != s.Type {
			continue
		}
		e := b.expectedOf(configRef{c.Hook, c.Key})
		name, workload := c.Group(s), s.Workload.String()
		e.groups[name] = true
		if name != workload {
			e.workloads[workload] = true
		}
		if of != nil {
			e.incidents[of.ID] = true
		}
	}
}

func (b *batch) expectedOf(ref configRef) *expectation {
	e := b.expected.of[ref]
	if e == nil {
		e = &expectation{map[string]bool{}, map[string]bool{}, map[string]bool{}}
		b.expected.of[ref] = e
	}
	return e
}

// withExpected is what is asked for now, and before it all of that kind that is expected and not known yet.
func withExpected(now string, all map[string]bool, known func(string) bool) []string {
	asked := []string{now}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if name != now && !known(name) {
			asked = append(asked, name)
		}
	}
	return asked
}

func (b *batch) expectation(c configRef) expectation {
	if e := b.expected.of[c]; e != nil && b.tx != nil {
		return *e
	}
	return expectation{}
}

// loadGroups loads a group, and those that are expected: their own, and those of workloads, by which the loop guard asks.
func (b *batch) loadGroups(ctx context.Context, key delivery.GroupKey) error {
	of := b.expectation(configRef{key.Hook, key.Config})
	all := of.groups
	if of.workloads[key.Group] {
		all = of.workloads
	}
	in := func(name string) delivery.GroupKey {
		return delivery.GroupKey{Hook: key.Hook, Config: key.Config, Group: name}
	}
	names := withExpected(key.Group, all, func(name string) bool { return b.groups[in(name)] != nil })
	if len(names) == 1 {
		past, err := b.history.GroupDeliveries(ctx, key, groupHistory)
		if err != nil {
			return err
		}
		state, err := b.history.GroupState(ctx, key)
		if err == nil {
			b.groups[key] = &group{GroupState: state, past: past}
		}
		return err
	}
	keys := make([]delivery.GroupKey, len(names))
	for i, name := range names {
		keys[i] = in(name)
	}
	past, err := b.tx.GroupsDeliveries(ctx, keys, groupHistory)
	if err != nil {
		return err
	}
	states, err := b.tx.GroupStates(ctx, keys)
	if err != nil {
		return err
	}
	for i, k := range keys {
		b.groups[k] = &group{GroupState: states[i], past: past[i]}
	}
	return nil
}

// loadGuarded loads the calls about a workload, and about those that are expected.
func (b *batch) loadGuarded(ctx context.Context, key delivery.GroupKey) error {
	since := b.now.Add(-guardDay)
	in := func(name string) delivery.GroupKey {
		return delivery.GroupKey{Hook: key.Hook, Config: key.Config, Group: name}
	}
	names := withExpected(key.Group, b.expectation(configRef{key.Hook, key.Config}).workloads, func(name string) bool {
		_, loaded := b.guarded[in(name)]
		return loaded
	})
	if len(names) == 1 {
		calls, err := b.history.WorkloadCalls(ctx, key.Hook, key.Config, key.Group, since, maxGuardCalls)
		if err == nil {
			b.guarded[key] = calls
		}
		return err
	}
	calls, err := b.tx.WorkloadsCalls(ctx, key.Hook, key.Config, names, since, maxGuardCalls)
	if err != nil {
		return err
	}
	for i, name := range names {
		b.guarded[in(name)] = calls[i]
	}
	return nil
}

// coversOf returns the calls that a Hook made about an incident, for a configuration that asks for them.
func (b *batch) coversOf(ctx context.Context, c *hook.Config, incidentID string) ([]store.Cover, error) {
	ref, since := configRef{c.Hook, c.Key}, b.now.Add(-c.Window)
	if found, loaded := b.expected.covers[coverRef{ref, incidentID}]; loaded {
		return found, nil
	}
	ids := withExpected(incidentID, b.expectation(ref).incidents, func(id string) bool {
		_, loaded := b.expected.covers[coverRef{ref, id}]
		return loaded
	})
	if len(ids) == 1 {
		return b.history.Covers(ctx, c.Hook, c.EventType, incidentID, since)
	}
	covers, err := b.tx.IncidentsCovers(ctx, c.Hook, c.EventType, ids, since)
	if err != nil {
		return nil, err
	}
	for i, id := range ids {
		b.expected.covers[coverRef{ref, id}] = covers[i]
	}
	return covers[0], nil
}

// newestOf returns the incident of a problem that ended last, a copy for each time it is asked for; nil if there is none.
func (b *batch) newestOf(ctx context.Context, key incident.ProblemKey) (*incident.Incident, error) {
	if b.expected.problems[key] && b.expected.newest[key] == nil {
		var keys []incident.ProblemKey
		for k := range b.expected.problems {
			keys = append(keys, k)
		}
		found, err := b.tx.NewestIncidents(ctx, keys)
		if err != nil {
			return nil, err
		}
		clear(b.expected.problems)
		for i, k := range keys {
			b.expected.newest[k] = found[i]
			if found[i] != nil {
				b.expectAbout(found[i].LastSignal(), found[i])
			}
		}
	}
	if inc, loaded := b.expected.newest[key]; loaded {
		if inc == nil {
			return nil, nil //nolint:nilnil // there is none
		}
		fresh := *inc
		return &fresh, nil
	}
	return b.tx.NewestIncident(ctx, key)
}
