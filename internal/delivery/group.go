package delivery

import (
	"slices"
	"time"

	"github.com/kagent-dev/khook/internal/incident"
)

// MaxHeldResources bounds HeldBack.Resources.
const MaxHeldResources = 20

// HeldBack sums up the events of a group for which its agent was not called.
type HeldBack struct {
	OverBudget int64     `json:"overBudget,omitempty"` // events
	LoopGuard  int64     `json:"loopGuard,omitempty"`  // events
	Paused     int64     `json:"paused,omitempty"`     // events
	Since      time.Time `json:"since"`
	Until      time.Time `json:"until"`
	Resources  []string  `json:"resources,omitempty"` // names, at most MaxHeldResources
}

// Events is how many events were held back.
func (h *HeldBack) Events() int64 { return h.OverBudget + h.LoopGuard + h.Paused }

// Add counts an event that was held back.
func (h *HeldBack) Add(d Disposition, e *incident.Event) {
	switch d {
	case OverBudget:
		h.OverBudget++
	case Paused:
		h.Paused++
	default:
		h.LoopGuard++
	}
	h.include(e.At, e.At, e.Resource.Name)
}

// include takes a span of time and the names of resources up, as far as there is room for names.
func (h *HeldBack) include(since, until time.Time, resources ...string) {
	if h.Since.IsZero() || since.Before(h.Since) {
		h.Since = since
	}
	if until.After(h.Until) {
		h.Until = until
	}
	for _, name := range resources {
		if len(h.Resources) < MaxHeldResources && !slices.Contains(h.Resources, name) {
			h.Resources = append(slices.Clip(h.Resources), name)
		}
	}
}

// GroupKey names a group of a hook configuration's resources.
type GroupKey struct {
	Hook   HookRef
	Config string
	Group  string
}

// Key is the group of the delivery.
func (d *Delivery) Key() GroupKey { return GroupKey{d.Hook, d.Config, d.Group} }

// HeldFor is for how long after its end a hold is looked at again: what is held back for longer is left to new events.
const HeldFor = 24 * time.Hour

// TokensBudget is what is said to be used up where a Hook's tokens are.
const TokensBudget = "spec.maxTokensPerDay of the Hook" //nolint:gosec // no credential

// GroupState is what is remembered of a group beside its deliveries.
type GroupState struct {
	GroupKey
	HookUID     string
	Held        HeldBack    // since the group's last delivery
	Hold        Disposition // OverBudget, LoopGuard or Paused while calls are held back; "" else
	Why         string      // they are, in a sentence
	HoldEnds    time.Time   // when calls may be made again, if nothing else happens
	NeedsPerson bool        // only a person lets the next call through
	ResumedAt   time.Time   // when a person last let calls through again
	ResumedBy   string
}

// Absorb adds what is remembered of the same group under another key of its configuration: nothing that was held back is
// forgotten, and the stricter hold stays.
func (g *GroupState) Absorb(other *GroupState) {
	g.Held.Absorb(&other.Held)
	if other.Hold != "" && (g.Hold == "" || other.NeedsPerson && !g.NeedsPerson || other.NeedsPerson == g.NeedsPerson && other.HoldEnds.After(g.HoldEnds)) {
		g.Hold, g.Why, g.HoldEnds, g.NeedsPerson = other.Hold, other.Why, other.HoldEnds, other.NeedsPerson
	}
	if other.ResumedAt.After(g.ResumedAt) {
		g.ResumedAt, g.ResumedBy = other.ResumedAt, other.ResumedBy
	}
	if g.HookUID == "" {
		g.HookUID = other.HookUID
	}
}

// Absorb adds what was held back elsewhere.
func (h *HeldBack) Absorb(other *HeldBack) {
	h.OverBudget += other.OverBudget
	h.LoopGuard += other.LoopGuard
	h.Paused += other.Paused
	if !other.Since.IsZero() {
		h.include(other.Since, other.Until, other.Resources...)
	}
}
