package ledger

import (
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/hook"
)

// A hold of a pause without an end is moved on, so that it stays among those that are looked at again.
const (
	pauseHold  = 24 * time.Hour
	pauseMoved = 12 * time.Hour
)

// pausedFrom says whether a person has paused the calls of a configuration. A call that is due meanwhile is held back: once they go on,
// Reconsider makes it if there is still reason to.
func (b *batch) pausedFrom(c *hook.Config, g *group) (groupHold, bool) {
	p, paused := b.hooks.Paused(c.Hook, b.now)
	if !paused {
		return groupHold{}, false
	}
	until := p.Ends
	if until.IsZero() {
		until = b.now.Add(pauseHold)
		if g.Hold == delivery.Paused && g.HoldEnds.Sub(b.now) > pauseMoved {
			until = g.HoldEnds
		}
	}
	return groupHold{why: p.Why(), until: until}, true
}
