package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// groupHistory is how many past deliveries of a group are looked at.
const groupHistory = 16

// verdict is what was decided about one event for one configuration.
type verdict struct {
	delivery.Disposition
	// deliveryID is the delivery that tells of the event, or the one that explains it; "" if there is none.
	deliveryID string
}

// decide asks every hook that cares about the event, and creates the deliveries that are due. ev is nil
// for a sign that an incident goes on: it may lead to a new delivery, and a decision is recorded only if it does.
func (b *batch) decide(ctx context.Context, s *incident.Signal, inc *incident.Incident, ev *incident.Event) error {
	of, facts := b.askAbout(s, inc)
	for _, c := range b.matcher.matching(of, facts) {
		if err := b.settle(ctx, c.Hook); err != nil {
			return err
		}
		v, err := b.dispose(ctx, c, facts, ev)
		if err != nil {
			return err
		}
		b.decided(c.Config, inc, ev, v, delivery.ForOngoing)
	}
	return nil
}

// decided notes a decision. One that was not made for an event, but for another reason, is noted only if it makes a call:
// why there is none is said by the decisions about the incident's events.
func (b *batch) decided(c *hook.Config, inc *incident.Incident, ev *incident.Event, v verdict, other delivery.MadeFor) {
	d := delivery.Decision{
		MadeFor: other, EventType: inc.Type, IncidentID: inc.ID, Hook: c.Hook, HookUID: c.HookUID, Config: c.Key,
		Disposition: v.Disposition, DeliveryID: v.deliveryID, At: b.now,
	}
	switch {
	case ev != nil:
		d.EventID, d.MadeFor = ev.ID, delivery.ForEvent
	case v.Disposition != delivery.Delivered:
		return
	}
	b.changes.Decisions = append(b.changes.Decisions, d)
}

// askAbout is what the Hooks are asked about a signal. A sign that an incident goes on has no facts of its own: it is judged
// by those that the incident was last told by, as its events were.
func (b *batch) askAbout(s *incident.Signal, inc *incident.Incident) (subject, incident.Facts) {
	facts := b.facts(s, inc)
	if s.Kind != incident.Observed {
		facts = b.factsOf(inc)
		facts.Signal.Kind = s.Kind
	}
	return subjectOf(facts), facts
}

// subjectOf is what the answer of a configuration can differ by.
func subjectOf(f incident.Facts) subject {
	of := subject{incident: f.Incident.ID, events: f.Incident.Events}
	if f.Signal.Kind == incident.Observed {
		of.signal = f.Signal
	}
	return of
}

// dispose decides about one event for one configuration: it does what was ruled.
func (b *batch) dispose(ctx context.Context, m match, f incident.Facts, ev *incident.Event) (verdict, error) {
	r, err := b.rule(ctx, m, f, ev)
	if err != nil {
		return verdict{}, err
	}
	switch r.Disposition {
	case delivery.LoopGuard, delivery.OverBudget, delivery.Paused:
		return r.group.hold(m.Config, r.Disposition, r.held, ev), nil
	case delivery.Delivered:
		return b.deliver(m.Config, r.group, f), nil
	}
	return r.verdict, nil
}

// ruling is the answer to what is to be done about an event, with what it was found by; Explain tells of that. Nothing is
// done yet: Delivered says that a call is due.
type ruling struct {
	verdict
	group   *group    // nil if it was not asked for
	held    groupHold // of Paused, LoopGuard and OverBudget
	budgets []budget  // that were asked for
}

// rule asks in the order in which a user would look
// for the reason: is the configuration usable, is the event explained by another, does a recent call stand
// for it, also one about another group, are calls paused, does the loop guard hold the group back, is a budget used up. The first that applies is the
// reason that people are shown, so the order is part of the behaviour.
//
// What each question needs is loaded right before it, so that an event that is settled early costs no
// further queries. The answers themselves are pure: coveredByNewest, loopGuard.holds and firstExceeded.
func (b *batch) rule(ctx context.Context, m match, f incident.Facts, ev *incident.Event) (r ruling, err error) {
	c := m.Config
	if c.Invalid != "" || m.tooCostly || b.noCalls {
		return ruled(r, delivery.Invalid, ""), nil
	}
	if c.Suspended {
		return ruled(r, delivery.Suspended, ""), nil
	}
	if c.OnePerCause {
		if id, explained, err := b.explained(ctx, c, f); err != nil || explained {
			return ruled(r, delivery.Explained, id), err
		}
	}
	if r.group, err = b.group(ctx, delivery.GroupKey{Hook: c.Hook, Config: c.Key, Group: c.Group(f.Signal)}); err != nil {
		return r, err
	}
	if d, covered := coveredByNewest(c, r.group.past, ev, b.now); covered {
		return ruled(r, d, r.group.past[0].ID), nil
	}
	if id, called, err := b.calledElsewhere(ctx, c, f); err != nil || called {
		return ruled(r, delivery.Duplicate, id), err
	}
	if held, paused := b.pausedFrom(c, r.group); paused {
		r.held = held
		return ruled(r, delivery.Paused, ""), nil
	}
	held, guarded, err := b.guardedFrom(ctx, c, r.group, f.Incident.Workload.String())
	if r.held = held; err != nil || guarded {
		return ruled(r, delivery.LoopGuard, ""), err
	}
	if r.budgets, err = b.loadBudgets(ctx, c); err != nil {
		return r, err
	}
	if held, over := firstExceeded(r.budgets, b.now); over {
		r.held = held
		return ruled(r, delivery.OverBudget, ""), nil
	}
	return ruled(r, delivery.Delivered, ""), nil
}

func ruled(r ruling, d delivery.Disposition, deliveryID string) ruling {
	r.verdict = verdict{d, deliveryID}
	return r
}

// coveredByNewest says whether the group's newest delivery, the first of past, stands for the event too: it is
// still under way, or was created within the configuration's window.
func coveredByNewest(c *hook.Config, past []*delivery.Delivery, ev *incident.Event, now time.Time) (delivery.Disposition, bool) {
	if len(past) == 0 || past[0].State.Ended() && now.Sub(past[0].CreatedAt) >= c.Window {
		return "", false
	}
	if ev != nil && ev.Status == incident.Firing {
		return delivery.Grouped, true
	}
	return delivery.Duplicate, true
}

// deliver creates a delivery, which tells of all open incidents of the group. It is only noted here, and
// saved in the same transaction as the decision (outbox): a call that is owed is never lost, and none is
// made that is not in the history.
//
// The ID is derived from what triggered the delivery, so a batch that is applied again after a failed
// commit creates the same one. A sign that an incident
// goes on has no key: there the time makes the next call another one.
//
// A prompt that can't be rendered is the configuration's fault and not the batch's: the event is recorded
// all the same.
func (b *batch) deliver(c *hook.Config, g *group, f incident.Facts) verdict {
	prompt, err := c.Render(f)
	if err != nil {
		return verdict{Disposition: delivery.Invalid}
	}
	trigger := f.Signal.Key
	if f.Signal.Kind == incident.Ongoing {
		trigger = fmt.Sprintf("%s@%d", f.Incident.ID, b.now.UnixMilli())
	}
	d := &delivery.Delivery{
		ID:      incident.DeriveID("delivery", b.from.Salt, c.HookUID, c.Key, g.Group, trigger),
		Cluster: b.from.Cluster, State: delivery.Pending,
		Hook: c.Hook, HookUID: c.HookUID, Config: c.Key, EventType: c.EventType, Group: g.Group, Agent: c.Agent,
		IncidentID: f.Incident.ID, Workload: f.Incident.Workload.String(), CatchUp: f.Signal.CatchUp,
		Prompt: prompt, Timeout: c.Timeout, VerifyWindow: c.Verify, StallAfter: c.StallAfter, OnStall: c.OnStall, EvenIfRecovered: c.EvenIfEnded, HeldBack: g.release(),
		CreatedAt: b.now, NextAt: b.now.Add(c.GroupWait),
	}
	g.past = append([]*delivery.Delivery{d}, g.past...)
	b.called(c)
	b.guardCall(d)
	b.changes.Deliveries = append(b.changes.Deliveries, d)
	open, _ := b.openOf(c, g.Group)
	for _, inc := range open {
		b.changes.Covers = append(b.changes.Covers, store.DeliveryIncident{DeliveryID: d.ID, IncidentID: inc.ID})
	}
	return verdict{delivery.Delivered, d.ID}
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
	past, err := b.past(ctx, delivery.GroupKey{Hook: c.Hook, Config: c.Key, Group: c.Group(inc.LastSignal())})
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
	for _, key := range b.keysOf(inc.Resource.UID) {
		caused := b.find(key)
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
		past, err := b.past(ctx, delivery.GroupKey{Hook: other.Hook, Config: other.Key, Group: other.Group(e.LastSignal())})
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
