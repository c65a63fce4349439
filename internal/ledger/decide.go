package ledger

import (
	"context"
	"fmt"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// groupHistory is how many past deliveries of a group are looked at.
const groupHistory = 16

// decide asks every hook that cares about the event, and makes deliveries due. ev is nil for a
// sign that an incident goes on, which only matters where a new delivery is due.
func (b *batch) decide(ctx context.Context, s *incident.Signal, inc *incident.Incident, ev *incident.Event) error {
	facts := incident.Facts{Cluster: b.cfg.Cluster, Signal: s, Incident: inc}
	for _, c := range b.matcher.matching(subject{s, inc.ID, inc.Events}, facts) {
		disposition, deliveryID, err := b.dispose(ctx, c, facts, ev)
		if err != nil {
			return err
		}
		if ev == nil {
			continue
		}
		b.changes.Decisions = append(b.changes.Decisions, delivery.Decision{
			EventID: ev.ID, IncidentID: inc.ID, Hook: c.Hook, HookUID: c.HookUID, Config: c.Key,
			Disposition: disposition, DeliveryID: deliveryID, At: b.now,
		})
	}
	return nil
}

// dispose decides about one event for one configuration, in the order in which a user would look
// for the reason.
func (b *batch) dispose(ctx context.Context, m match, f incident.Facts, ev *incident.Event) (delivery.Disposition, string, error) {
	c := m.Config
	if c.Invalid != "" || m.tooCostly || b.noCalls {
		return delivery.Invalid, "", nil
	}
	if c.Suspended {
		return delivery.Suspended, "", nil
	}
	if c.OnePerCause {
		if id, explained, err := b.explained(ctx, c, f); err != nil || explained {
			return delivery.Explained, id, err
		}
	}
	g, err := b.group(ctx, delivery.GroupKey{Hook: c.Hook, Config: c.Key, Group: c.Group(f.Signal)})
	if err != nil {
		return "", "", err
	}
	if d, covered := b.covered(c, g.past, ev); covered {
		return d, g.past[0].ID, nil
	}
	if held, guarded := loopGuardOf(c, g).holds(b.now); guarded {
		return b.hold(g, c, delivery.LoopGuard, held, ev)
	}
	budgets, err := b.loadBudgets(ctx, c)
	if err != nil {
		return "", "", err
	}
	if held, over := firstExceeded(budgets, b.now); over {
		return b.hold(g, c, delivery.OverBudget, held, ev)
	}
	return b.deliver(c, g, f)
}

// covered says whether the group's newest delivery stands for the event too.
func (b *batch) covered(c *hook.Config, past []*delivery.Delivery, ev *incident.Event) (delivery.Disposition, bool) {
	if len(past) == 0 || past[0].State.Ended() && b.now.Sub(past[0].CreatedAt) >= c.Window {
		return "", false
	}
	if ev != nil && ev.Status == incident.Firing {
		return delivery.Grouped, true
	}
	return delivery.Duplicate, true
}

// deliver makes a delivery due, which tells of all incidents of the group that are open.
func (b *batch) deliver(c *hook.Config, g *group, f incident.Facts) (delivery.Disposition, string, error) {
	prompt, err := c.Render(f)
	if err != nil {
		return delivery.Invalid, "", nil //nolint:nilerr // the configuration is at fault, not the batch
	}
	trigger := f.Signal.Key
	if f.Signal.Kind == incident.Ongoing {
		trigger = fmt.Sprintf("%s@%d", f.Incident.ID, b.now.UnixMilli())
	}
	d := &delivery.Delivery{
		ID:      incident.DeriveID("delivery", b.cfg.Cluster, c.HookUID, c.Key, g.Group, trigger),
		Cluster: b.cfg.Cluster, State: delivery.Pending,
		Hook: c.Hook, HookUID: c.HookUID, Config: c.Key, EventType: c.EventType, Group: g.Group, Agent: c.Agent,
		IncidentID: f.Incident.ID, CatchUp: f.Signal.CatchUp,
		Prompt: prompt, Timeout: c.Timeout, VerifyWindow: c.Verify, EvenIfRecovered: c.EvenIfEnded, HeldBack: b.release(g),
		CreatedAt: b.now, NextAt: b.now.Add(c.GroupWait),
	}
	g.past = append([]*delivery.Delivery{d}, g.past...)
	b.called(c)
	b.changes.Deliveries = append(b.changes.Deliveries, d)
	open, _ := b.openOf(c, g.Group)
	for _, inc := range open {
		b.changes.Covers = append(b.changes.Covers, store.DeliveryIncident{DeliveryID: d.ID, IncidentID: inc.ID})
	}
	return delivery.Delivered, d.ID, nil
}

// explained says whether the hook has already been asked about the same cause: it names the
// event type of one of the incident's causes, or it called for an effect that was told first.
func (b *batch) explained(ctx context.Context, c *hook.Config, f incident.Facts) (deliveryID string, explained bool, err error) {
	if other, cause := b.explanation(c, f); other != nil {
		return b.newest(ctx, other, cause)
	}
	return b.calledForEffect(ctx, c, f.Incident)
}

// explanation finds the nearest cause of the occurrence that the hook has a configuration for.
func (b *batch) explanation(c *hook.Config, f incident.Facts) (*hook.Config, *incident.Incident) {
	cause := b.causeOfEvent(f)
	for range 8 {
		if cause == nil {
			break
		}
		if other := b.configFor(c, cause); other != nil {
			return other, cause
		}
		cause = b.findID(cause.CausedBy)
	}
	return nil, nil
}

// causeOfEvent is the incident that caused this very occurrence: a container that was OOM-killed once
// may crash for another reason later, in the same incident. nil if it has none.
func (b *batch) causeOfEvent(f incident.Facts) *incident.Incident {
	if f.Signal.Kind == incident.Ongoing {
		return b.findID(f.Incident.CausedBy)
	}
	if id := b.causeOf(f.Signal, f.Incident); id != "" {
		return b.findID(id)
	}
	// Killed, and the Events that would say why may have been held back.
	known := b.findID(f.Incident.CausedBy)
	if code := f.Signal.Attributes.PodOrZero().ExitCode; known != nil && known.Type == incident.ProbeFailed && code != nil && (*code == 137 || *code == 143) {
		return known
	}
	return nil
}

// newest finds the newest delivery of the group that the incident belongs to, if there is one.
func (b *batch) newest(ctx context.Context, c *hook.Config, inc *incident.Incident) (string, bool, error) {
	past, err := b.past(ctx, delivery.GroupKey{Hook: c.Hook, Config: c.Key, Group: c.Group(signalOf(inc))})
	if err != nil || len(past) == 0 {
		return "", err == nil, err
	}
	return past[0].ID, true, nil
}

// effect is an incident that another one caused, with the configuration of a hook that is about it.
type effect struct {
	*incident.Incident
	config *hook.Config
}

// effects returns the open incidents on the same Pod that inc caused and that c's hook names.
func (b *batch) effects(c *hook.Config, inc *incident.Incident) []effect {
	var found []effect
	for _, slot := range b.slotsOf(inc.Resource.UID) {
		caused := b.find(slot)
		if caused == nil || caused.CausedBy != inc.ID {
			continue
		}
		if other := b.configFor(c, caused); other != nil {
			found = append(found, effect{caused, other})
		}
	}
	return found
}

// calledForEffect says whether the hook is at work on an effect of the incident.
func (b *batch) calledForEffect(ctx context.Context, c *hook.Config, inc *incident.Incident) (string, bool, error) {
	for _, e := range b.effects(c, inc) {
		other := e.config
		past, err := b.past(ctx, delivery.GroupKey{Hook: other.Hook, Config: other.Key, Group: other.Group(signalOf(e.Incident))})
		if err != nil {
			return "", false, err
		}
		if len(past) > 0 && (!past[0].State.Ended() || b.now.Sub(past[0].CreatedAt) < other.Window) {
			return past[0].ID, true, nil
		}
	}
	return "", false, nil
}

// configFor returns a usable configuration of c's hook that is about the incident, or nil.
func (b *batch) configFor(c *hook.Config, inc *incident.Incident) *hook.Config {
	for _, other := range b.matchingOf(inc) {
		if other.Hook == c.Hook && !other.tooCostly && other.Invalid == "" && !other.Suspended {
			return other.Config
		}
	}
	return nil
}

// signalOf is what an incident was last told by, as far as hooks ask about it.
func signalOf(inc *incident.Incident) *incident.Signal {
	return &incident.Signal{
		Kind: incident.Observed, Type: inc.Type, At: inc.LastSeen, Observation: inc.Observation,
	}
}
