package ledger

import (
	"context"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
)

// group is the batch's view of a group of a configuration's resources.
type group struct {
	*delivery.GroupState
	past  []*delivery.Delivery // the newest ones, newest first; those of this batch included
	dirty bool                 // its state must be saved
}

// group loads a group, once for each batch: what the batch decides about it is seen by its later decisions.
func (b *batch) group(ctx context.Context, key delivery.GroupKey) (*group, error) {
	if g, ok := b.groups[key]; ok {
		return g, nil
	}
	if err := b.loadGroups(ctx, key); err != nil {
		return nil, err
	}
	return b.groups[key], nil
}

// past returns the newest deliveries of a group, newest first, those of this batch included.
func (b *batch) past(ctx context.Context, key delivery.GroupKey) ([]*delivery.Delivery, error) {
	g, err := b.group(ctx, key)
	if err != nil {
		return nil, err
	}
	return g.past, nil
}

// openOf returns the open incidents that a configuration's group has now, those of this batch
// included: one call tells of them all. It is not complete if the Hook's budget did not suffice to
// find out; those that are left out have events of their own, which are decided about.
func (b *batch) openOf(c *hook.Config, name string) (found []*incident.Incident, complete bool) {
	complete = true
	for _, inc := range b.openIn(groupName{c.Hook.Namespace, c.EventType, name}) {
		f := b.factsOf(inc)
		if c.Group(f.Signal) != name {
			continue
		}
		switch b.matcher.meter.Judge(c, f) {
		case hook.Match:
			found = append(found, inc)
		case hook.TooCostly:
			complete = false
		case hook.NoMatch:
		}
	}
	return found, complete
}

// openIn returns the open incidents that may belong to a group at this point of the batch.
func (b *batch) openIn(name groupName) []*incident.Incident {
	var found []*incident.Incident
	add := func(key incident.ProblemKey) {
		inc, touched := b.work[key]
		if !touched {
			inc = b.open.byKey[key]
		}
		if inc != nil {
			found = append(found, inc)
		}
	}
	before := b.open.byGroup[name]
	for key := range before {
		add(key)
	}
	for key := range b.inGroup[name] {
		if !before[key] {
			add(key)
		}
	}
	b.examined += len(found)
	return found
}

// groupHold is why a call is held back.
type groupHold struct {
	why    string    // a sentence for people
	until  time.Time // when it ends by itself
	person bool      // only a person lets the next one through before
}

// hold notes that a call is held back, for the reason d: its events are counted for the agent's next call,
// and the Hook's status says so. ev is nil if no event asked for the call.
func (g *group) hold(c *hook.Config, d delivery.Disposition, h groupHold, ev *incident.Event) verdict {
	if ev != nil {
		g.Held.Add(d, ev)
		g.dirty = true
	}
	if g.Hold != d || g.Why != h.why || g.NeedsPerson != h.person {
		g.Hold, g.Why, g.NeedsPerson, g.dirty = d, h.why, h.person, true
	}
	if !g.HoldEnds.Equal(h.until) {
		g.HoldEnds, g.dirty = h.until, true
	}
	g.HookUID = c.HookUID
	return verdict{Disposition: d}
}

// release stops holding calls back, and returns what was held back since the last call; nil if nothing was.
func (g *group) release() *delivery.HeldBack {
	if g.Hold == "" && g.Held.Events() == 0 {
		return nil
	}
	held := g.Held
	g.Held, g.Hold, g.Why, g.NeedsPerson, g.dirty = delivery.HeldBack{}, "", "", false, true
	if held.Events() == 0 {
		return nil
	}
	return &held
}
