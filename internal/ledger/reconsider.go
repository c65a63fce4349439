package ledger

import (
	"context"
	"time"

	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
)

// maxReconsidered bounds how many groups one transaction looks at again.
const maxReconsidered = 200

// Reconsider makes the calls due that were held back and may be made now, for groups that still have
// an open incident. What is held back for longer than a day is left to new events.
func (l *Ledger) Reconsider(ctx context.Context) error {
	held, err := l.store.HeldGroups(ctx, incident.HookRef{}, l.cfg.Clock.Now().Add(-guardDay), maxReconsidered)
	if err != nil || len(held) == 0 {
		return err
	}
	return l.transact(ctx, func(b *batch) error {
		for _, g := range held {
			if err := b.reconsider(ctx, g.GroupKey); err != nil {
				return err
			}
		}
		return nil
	})
}

// Resume lets the calls of a group through again that the loop guard held back, because a person
// wants it so, and makes one due if the group still has an open incident.
func (l *Ledger) Resume(ctx context.Context, key incident.GroupKey, by string, entry incident.Entry) error {
	return l.transact(ctx, func(b *batch) error {
		g, err := b.group(ctx, key)
		if err != nil {
			return err
		}
		g.ResumedAt, g.ResumedBy, g.dirty = b.now, incident.Clean(by, incident.MaxPerson), true
		g.Hold, g.Why, g.NeedsPerson = "", "", false
		entry.At = b.now
		b.changes.Entries = append(b.changes.Entries, entry)
		return b.reconsider(ctx, key)
	})
}

// reconsider decides about a group's open incidents anew, as if there were news of one. A group
// without any is no longer held back once its time is over.
func (b *batch) reconsider(ctx context.Context, key incident.GroupKey) error {
	g, err := b.group(ctx, key)
	if err != nil {
		return err
	}
	c := b.hooks.Config(key.Hook, key.Config)
	if c != nil && c.Invalid == "" && !c.Suspended {
		_, guarded := b.guard(c, g)
		_, over, err := b.overBudget(ctx, c)
		if err != nil || guarded || over {
			return err
		}
		if newest := lastSeen(b.openOf(c, key.Group)); newest != nil {
			s := signalOf(newest)
			s.Kind = incident.Ongoing
			_, _, err := b.dispose(ctx, c, hook.Facts{Cluster: b.cfg.Cluster, Signal: s, Incident: newest}, nil)
			return err
		}
	}
	if !g.HoldEnds.After(b.now) {
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

// ReconsiderEvery is how often calls that were held back are to be looked at again.
const ReconsiderEvery = 15 * time.Second
