package ledger

import (
	"context"
	"errors"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// How many groups one transaction, and one Reconsider, look at again.
const (
	maxReconsidered = 200
	maxPages        = 10
)

// Reconsider creates the deliveries that were held back and may be made now, for groups that still have
// an open incident. What is held back for longer than delivery.HeldFor is left to new events. Of very many groups it looks at
// some, and the next time at those that follow. It may be called at any time: one look waits for the other.
func (l *Ledger) Reconsider(ctx context.Context) error {
	l.reconsidering.Lock()
	defer l.reconsidering.Unlock()
	for range maxPages {
		held, err := l.store.HeldGroupsFrom(ctx, l.heldFrom, l.cfg.Clock.Now().Add(-delivery.HeldFor), maxReconsidered)
		if err != nil {
			return err
		}
		if len(held) < maxReconsidered {
			l.heldFrom = delivery.GroupKey{} // from the first one again, the next time
		} else {
			l.heldFrom = held[len(held)-1].GroupKey
		}
		if len(held) == 0 {
			return nil
		}
		if err := l.reconsider(ctx, held); err != nil || len(held) < maxReconsidered {
			return err
		}
	}
	return nil
}

// reconsider looks at the groups in one transaction; in one each where a row of one can't be saved, so
// that it keeps back no other's calls.
func (l *Ledger) reconsider(ctx context.Context, held []*delivery.GroupState) error {
	err := l.transact(ctx, func(b *batch) error {
		b.expect(nil)
		keys := make([]delivery.GroupKey, len(held))
		for i, g := range held {
			key, err := b.presentKey(ctx, g.GroupKey)
			if err != nil {
				return err
			}
			keys[i] = key
			b.expectedOf(configRef{key.Hook, key.Config}).groups[key.Group] = true
		}
		for _, key := range keys {
			if err := b.reconsider(ctx, key, delivery.ForRelease); err != nil {
				return err
			}
		}
		return nil
	})
	if _, atFault := store.FaultOf(err); !atFault {
		return err
	}
	if len(held) == 1 {
		l.cfg.Log.Error(err, "calls that are held back can't be looked at again, will retry", "hook", held[0].Hook, "group", held[0].Group)
		return nil
	}
	half := len(held) / 2
	return errors.Join(l.reconsider(ctx, held[:half]), l.reconsider(ctx, held[half:]))
}

// Resume lets the calls of a delivery's group through again that the loop guard held back, because a person
// wants it so, and creates a delivery if the group still has an open incident. entry goes into the log of the
// delivery. The error is store.ErrNotFound if there is no such delivery.
func (l *Ledger) Resume(ctx context.Context, deliveryID, by string, entry delivery.Entry) error {
	return l.transact(ctx, func(b *batch) error {
		if err := b.tx.Fulfil(ctx); err != nil {
			return err
		}
		d, err := b.tx.Delivery(ctx, deliveryID)
		if err != nil {
			return err
		}
		key, err := b.presentKey(ctx, d.Key())
		if err != nil {
			return err
		}
		g, err := b.group(ctx, key)
		if err != nil {
			return err
		}
		g.ResumedAt, g.ResumedBy, g.dirty = b.now, incident.Clean(by, delivery.MaxPerson), true
		g.Hold, g.Why, g.NeedsPerson = "", "", false
		if err := b.resumeWorkload(ctx, g, d.Workload); err != nil {
			return err
		}
		entry.DeliveryID, entry.At = deliveryID, b.now
		b.changes.Entries = append(b.changes.Entries, entry)
		return b.reconsider(ctx, key, delivery.ForResume)
	})
}

// resumeWorkload lets the calls about the group's workload through as well, whose guard may hold back those of the group.
func (b *batch) resumeWorkload(ctx context.Context, g *group, workload string) error {
	if workload == "" || workload == g.Group {
		return nil
	}
	whole, err := b.group(ctx, delivery.GroupKey{Hook: g.Hook, Config: g.Config, Group: workload})
	if err != nil {
		return err
	}
	whole.ResumedAt, whole.ResumedBy, whole.dirty = g.ResumedAt, g.ResumedBy, true
	return nil
}

// reconsider decides about a group's open incidents anew, as if there were news of one. A group
// without any is no longer held back once its time is over. why is what a call would be made for.
func (b *batch) reconsider(ctx context.Context, key delivery.GroupKey, why delivery.MadeFor) error {
	g, err := b.group(ctx, key)
	if err != nil {
		return err
	}
	c := b.matcher.config(key.Hook, key.Config)
	if c != nil && c.Invalid == "" && !c.Suspended {
		budgets, err := b.loadBudgets(ctx, c)
		if err != nil {
			return err
		}
		if held, paused := b.pausedFrom(c, g); paused {
			g.hold(c, delivery.Paused, held, nil)
			return nil
		}
		if held, guarded := loopGuardOf(c, g).holds(b.now); guarded {
			g.hold(c, delivery.LoopGuard, held, nil)
			return nil
		}
		if held, over := firstExceeded(budgets, b.now); over {
			g.hold(c, delivery.OverBudget, held, nil)
			return nil
		}
		open, complete := b.openOf(c, key.Group)
		if newest := lastSeen(open); newest != nil {
			s := newest.LastSignal()
			s.Kind = incident.Ongoing
			v, err := b.dispose(ctx, match{Config: c}, b.facts(s, newest), nil)
			if err == nil {
				b.decided(c, newest, nil, v, why)
			}
			return err
		}
		if !complete {
			return nil // it may have one all the same: the next look has a budget of its own
		}
	}
	if !g.HoldEnds.After(b.now) || g.Hold == delivery.Paused { // that it is paused was asked for above
		g.Hold, g.Why, g.NeedsPerson, g.dirty = "", "", false, true
	}
	return nil
}

func lastSeen(all []*incident.Incident) *incident.Incident {
	var newest *incident.Incident
	for _, inc := range all {
		if newest == nil || inc.LastSeen.After(newest.LastSeen) {
			newest = inc
		}
	}
	return newest
}

// ReconsiderEvery is how often calls that were held back should be looked at again.
const ReconsiderEvery = 15 * time.Second
