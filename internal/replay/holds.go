package replay

import (
	"context"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/ledger"
	"github.com/kagent-dev/khook/internal/store"
)

// holds follow which calls are held back, by a budget or the loop guard: each hold is told once, and while there is one the
// ledger is asked to look again, as often as the controller asks it.
type holds struct {
	store   *store.Store
	start   time.Time // of khook
	changed bool      // what is held back may have, since it was read
	now     map[delivery.GroupKey]delivery.Disposition
	lookAt  time.Time
	told    []hold
}

// hold is a call that began to be held back at a time.
type hold struct {
	*delivery.GroupState
	at time.Time
}

func newHolds(start time.Time, history *store.Store) *holds {
	return &holds{store: history, start: start, now: map[delivery.GroupKey]delivery.Disposition{}}
}

// recorded takes over what a commit of the ledger changed. It is called within the ledger, and must not ask the history.
func (h *holds) recorded(a ledger.Applied) { h.changed = h.changed || len(a.Held) > 0 }

// maxHeld bounds the holds that are told at once.
const maxHeld = 10_000

// read reads what is held back now, if that may have changed.
func (h *holds) read(ctx context.Context, now time.Time) error {
	if !h.changed {
		return nil
	}
	held, err := h.store.HeldGroups(ctx, delivery.HookRef{}, now.Add(-delivery.HeldFor), maxHeld)
	if err != nil {
		return err
	}
	before := h.now
	h.changed, h.now = false, make(map[delivery.GroupKey]delivery.Disposition, len(held))
	for _, g := range held {
		h.now[g.GroupKey] = g.Hold
		if before[g.GroupKey] != g.Hold {
			h.told = append(h.told, hold{g, now})
		}
	}
	h.lookAt = now.Add(ledger.ReconsiderEvery - now.Sub(h.start)%ledger.ReconsiderEvery)
	return nil
}

// next is when the ledger looks again at what is held back; false while nothing is.
func (h *holds) next() (time.Time, bool) { return h.lookAt, len(h.now) > 0 }

// looked is to be called when it looks.
func (h *holds) looked() { h.changed = true }
