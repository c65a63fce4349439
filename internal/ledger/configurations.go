package ledger

import (
	"context"
	"slices"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// settledHook is a Hook whose configurations are known to the history as they are now.
type settledHook struct {
	uid     string
	configs []delivery.Configuration // in the order of the Hook's list
	savedAt time.Time
	renamed map[string]string // keys that were renamed in this batch, to what they are now
}

// is says whether the configurations are those that were settled. EditedAt does not matter.
func (s settledHook) is(uid string, configs []delivery.Configuration) bool {
	return s.uid == uid && slices.EqualFunc(s.configs, configs, func(a, b delivery.Configuration) bool {
		a.EditedAt, b.EditedAt = time.Time{}, time.Time{}
		return a == b
	})
}

// settle makes the history know a Hook's configurations by their present keys, before anything is decided for it. An edit
// of the Hook moves the calls and holds of a configuration that has another key by it, in the transaction that first
// decides by the edited Hook: nobody decides without them, or by those of another configuration.
func (b *batch) settle(ctx context.Context, ref delivery.HookRef) error {
	if _, done := b.settled[ref]; done {
		return nil
	}
	configs := b.matcher.of(ref)
	if len(configs) == 0 {
		return nil // deleted: what it had stays as it is, in case it comes back
	}
	now := identities(configs)
	uid := configs[0].HookUID
	if was, known := b.Ledger.settled[ref]; known && was.is(uid, now) && b.now.Sub(was.savedAt) < store.ResaveConfigurations {
		b.settled[ref] = was
		return nil
	}
	known, err := b.tx.Configurations(ctx, ref)
	if err != nil {
		return err
	}
	now, renamed := b.edited(known, configs)
	if len(renamed) > 0 {
		if err := b.tx.RenameConfigurations(ctx, ref, renamed); err != nil {
			return err
		}
		b.cfg.Log.V(1).Info("configurations of a Hook have other keys now, their history goes with them", "hook", ref, "renamed", renamed)
	}
	if err := b.tx.SaveConfigurations(ctx, ref, now); err != nil {
		return err
	}
	s := settledHook{uid: uid, configs: now, savedAt: b.now, renamed: map[string]string{}}
	for _, r := range renamed {
		s.renamed[r.From] = r.To
	}
	b.settled[ref] = s
	return nil
}

// identities are what the configurations of a Hook are known by.
func identities(configs []*hook.Config) []delivery.Configuration {
	all := make([]delivery.Configuration, len(configs))
	for i, c := range configs {
		all[i] = c.Identity()
	}
	return all
}

// edited is how the configurations of a Hook are now, and which of the keys that the history knows an edit has renamed.
func (b *batch) edited(known []delivery.Configuration, configs []*hook.Config) (now []delivery.Configuration, renamed []delivery.Renaming) {
	if len(known) == 0 {
		return identities(configs), formerly(configs)
	}
	return delivery.Edited(known, identities(configs), b.now)
}

// formerly is how the configurations are called now that a khook recorded which knew them by their place in the list. It
// is as good as that khook was: where the Hook was edited since, too, the places are all that there is to go by.
func formerly(configs []*hook.Config) []delivery.Renaming {
	var renamed []delivery.Renaming
	for i, key := range hook.FormerKeys(configs) {
		if key != configs[i].Key {
			renamed = append(renamed, delivery.Renaming{From: key, To: configs[i].Key})
		}
	}
	return renamed
}

// presentKey is the key that a group has once its Hook is settled.
func (b *batch) presentKey(ctx context.Context, key delivery.GroupKey) (delivery.GroupKey, error) {
	if err := b.settle(ctx, key.Hook); err != nil {
		return key, err
	}
	if to, renamed := b.settled[key.Hook].renamed[key.Config]; renamed {
		key.Config = to
	}
	return key, nil
}

// calledElsewhere says whether a call that is not of the incident's present group stands for it: it is under way, or was
// created within the configuration's window. The call is
//
//   - of the configuration itself, about another group: the Pod had no node yet, or an edit changed the grouping;
//   - of another configuration of the Hook, before an edit: one configuration became two, or the incident came from
//     one to another.
//
// A call of another configuration that is about the incident still is none: both call, before the edit and after it.
func (b *batch) calledElsewhere(ctx context.Context, c *hook.Config, f incident.Facts) (deliveryID string, called bool, err error) {
	if f.Incident.Events <= 1 && f.Signal.Kind == incident.Observed {
		return "", false, nil // it has just been opened
	}
	covers, err := b.coversOf(ctx, c, f.Incident.ID)
	if err != nil {
		return "", false, err
	}
	edited := b.editedAt(c)
	for _, cover := range covers {
		ofBefore := !edited.IsZero() && !cover.CreatedAt.After(edited)
		if cover.Config == c.Key || ofBefore && !b.concerned(c.Hook, cover.Config, f) {
			return cover.DeliveryID, true, nil
		}
	}
	return "", false, nil
}

// editedAt is when the configuration was added or changed by an edit of its Hook; zero if it never was.
func (b *batch) editedAt(c *hook.Config) time.Time {
	for _, known := range b.settled[c.Hook].configs {
		if known.Key == c.Key {
			return known.EditedAt
		}
	}
	return time.Time{}
}

// concerned says whether a Hook has a configuration of that key that is about the event.
func (b *batch) concerned(ref delivery.HookRef, key string, f incident.Facts) bool {
	return slices.ContainsFunc(b.matcher.matching(subjectOf(f), f), func(m match) bool {
		return m.Hook == ref && m.Key == key
	})
}

// keepSettled remembers what a committed batch settled, and forgets Hooks that are no more.
func (l *Ledger) keepSettled(settled map[delivery.HookRef]settledHook) {
	for ref, s := range settled {
		s.renamed = nil
		l.settled[ref] = s
	}
	if len(l.settled) > 2*l.hooks.Len()+maxReconsidered {
		for ref := range l.settled {
			if !l.hooks.Has(ref) {
				delete(l.settled, ref)
			}
		}
	}
}
