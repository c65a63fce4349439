package ledger

import (
	"context"
	"time"

	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// batch is the work of one transaction: copies of the incidents that it touches, and what is to
// be saved.
type batch struct {
	*Ledger
	tx  *store.Tx
	now time.Time

	known   map[string]bool                      // keys of events that are recorded, or in this batch
	work    map[incident.Slot]*incident.Incident // copies of open incidents; nil for a slot that is free
	byID    map[string]*incident.Incident        // the same, and those that ended in this batch
	changed []*incident.Incident                 // in the order in which they were first touched
	slots   map[string]map[incident.Slot]bool    // slots that this batch opened, by resource
	groups  map[incident.GroupKey]*group
	calls   map[budget]int // deliveries within the last hour
	changes store.Changes
}

func newBatch(l *Ledger, tx *store.Tx) *batch {
	return &batch{
		Ledger: l, tx: tx, now: l.cfg.Clock.Now(),
		known:  map[string]bool{},
		work:   map[incident.Slot]*incident.Incident{},
		byID:   map[string]*incident.Incident{},
		slots:  map[string]map[incident.Slot]bool{},
		groups: map[incident.GroupKey]*group{},
		calls:  map[budget]int{},
	}
}

// loadKnown finds out which of the signals are recorded already.
func (b *batch) loadKnown(ctx context.Context, signals []incident.Signal) error {
	var keys []string
	for i := range signals {
		if signals[i].Kind == incident.Observed {
			keys = append(keys, signals[i].Key)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	known, err := b.tx.KnownKeys(ctx, keys)
	for k := range known {
		b.known[k] = true
	}
	return err
}

func (b *batch) apply(ctx context.Context, s *incident.Signal) error {
	switch s.Kind {
	case incident.Observed:
		return b.observed(ctx, s)
	case incident.Ongoing:
		return b.ongoing(ctx, s)
	case incident.Healthy:
		if inc := b.find(s.Slot()); inc != nil {
			b.end(inc, incident.Recovered, s.At)
		}
	case incident.Gone:
		for _, slot := range b.slotsOf(s.Resource.UID) {
			if inc := b.find(slot); inc != nil {
				b.end(inc, incident.WasGone, s.At)
			}
		}
	}
	return nil
}

// observed records one occurrence, unless it is recorded already.
func (b *batch) observed(ctx context.Context, s *incident.Signal) error {
	if b.known[s.Key] {
		return nil
	}
	b.known[s.Key] = true
	inc := b.find(s.Slot())
	if inc == nil {
		inc = b.openIncident(s)
	} else {
		inc.Observe(s)
	}
	if inc.CausedBy == "" {
		inc.CausedBy = b.causeOf(s, inc)
	}
	ev := incident.NewEvent(inc, s, b.now)
	ev.ID = b.tx.Next()
	b.changes.Events = append(b.changes.Events, ev)
	return b.decide(ctx, s, inc, ev)
}

// ongoing keeps the incident from ending as quiet, and calls the agent again where that is due.
func (b *batch) ongoing(ctx context.Context, s *incident.Signal) error {
	inc := b.find(s.Slot())
	if inc == nil {
		return nil
	}
	inc.Touch(s.At)
	return b.decide(ctx, s, inc, nil)
}

// openIncident opens the incident of an occurrence, and gives it the effects that were seen first.
func (b *batch) openIncident(s *incident.Signal) *incident.Incident {
	inc := incident.Open(b.cfg.Cluster, s)
	slot := inc.Slot()
	b.work[slot], b.byID[inc.ID] = inc, inc
	b.changed = append(b.changed, inc)
	if b.slots[slot.UID] == nil {
		b.slots[slot.UID] = map[incident.Slot]bool{}
	}
	b.slots[slot.UID][slot] = true
	b.adopt(inc)
	return inc
}

// lateCause is how much later than its effect a cause may be told: the watches of Pods and
// Events are not ordered.
const lateCause = 10 * time.Second

// adopt makes inc, a failed probe that was just learnt of, the cause of the restart that the
// Pod's status told first.
func (b *batch) adopt(inc *incident.Incident) {
	if inc.Type != incident.ProbeFailed {
		return
	}
	restart := b.find(incident.Slot{UID: inc.Resource.UID, Type: incident.PodRestart, Container: inc.Container})
	if restart == nil || restart.CausedBy != "" || inc.CausedBy != "" {
		return
	}
	if after := restart.FirstSeen.Sub(inc.FirstSeen); after >= 0 && after <= 6*lateCause {
		restart.CausedBy = inc.ID
	}
}

// causeOf finds the open incident on the same Pod that caused s.
func (b *batch) causeOf(s *incident.Signal, inc *incident.Incident) string {
	for _, t := range s.Causes {
		for _, container := range []string{s.CauseContainer, s.Container} {
			cause := b.find(incident.Slot{UID: s.Resource.UID, Type: t, Container: container})
			if cause != nil && cause.ID != inc.ID && !b.leadsTo(inc.ID, cause) {
				return cause.ID
			}
		}
	}
	return ""
}

// leadsTo says whether id is among the causes of inc, or inc itself.
func (b *batch) leadsTo(id string, inc *incident.Incident) bool {
	for range 8 {
		if inc == nil {
			return false
		}
		if inc.ID == id {
			return true
		}
		inc = b.findID(inc.CausedBy)
	}
	return true
}

// find returns the batch's own copy of the open incident in slot, or nil.
func (b *batch) find(slot incident.Slot) *incident.Incident {
	if inc, ok := b.work[slot]; ok {
		return inc
	}
	inc := b.open.bySlot[slot]
	if inc == nil {
		return nil
	}
	c := *inc
	b.work[slot], b.byID[c.ID] = &c, &c
	b.changed = append(b.changed, &c)
	return &c
}

// findID returns the incident with the ID if it is open or ended in this batch, or nil.
func (b *batch) findID(id string) *incident.Incident {
	if inc, ok := b.byID[id]; ok {
		return inc
	}
	if slot, ok := b.open.byID[id]; ok {
		return b.find(slot)
	}
	return nil
}

// slotsOf returns the slots of a resource that may hold an open incident.
func (b *batch) slotsOf(uid string) []incident.Slot {
	var slots []incident.Slot
	for slot := range b.open.byUID[uid] {
		slots = append(slots, slot)
	}
	for slot := range b.slots[uid] {
		slots = append(slots, slot)
	}
	return slots
}

func (b *batch) end(inc *incident.Incident, r incident.Resolution, at time.Time) {
	inc.Resolve(r, at)
	b.work[inc.Slot()] = nil
}

func (b *batch) endQuiet(watchedSince time.Time) {
	for slot, known := range b.open.bySlot {
		if at := quietAt(known, watchedSince, b.cfg.QuietAfter); !at.After(b.now) {
			b.end(b.find(slot), incident.Quiet, at)
		}
	}
}

// save writes the batch's changes into the transaction.
func (b *batch) save(ctx context.Context) error {
	for _, inc := range b.changed {
		if b.differs(inc) {
			b.changes.Incidents = append(b.changes.Incidents, inc)
		}
	}
	for _, g := range b.groups {
		if g.dirty {
			b.changes.Groups = append(b.changes.Groups, g.GroupState)
		}
	}
	if len(b.changes.Incidents) == 0 && len(b.changes.Deliveries) == 0 && len(b.changes.Groups) == 0 {
		return nil
	}
	return b.tx.Save(ctx, &b.changes)
}

// differs says whether the incident is new or changed; a copy may have been made only to look.
func (b *batch) differs(inc *incident.Incident) bool {
	slot, known := b.open.byID[inc.ID]
	if !known {
		return true
	}
	was := b.open.bySlot[slot]
	return was.Events != inc.Events || !was.LastSeen.Equal(inc.LastSeen) ||
		was.Resolution != inc.Resolution || was.CausedBy != inc.CausedBy
}

func (b *batch) applied() Applied {
	a := Applied{Events: b.changes.Events, Decisions: b.changes.Decisions, Deliveries: b.changes.Deliveries}
	for _, g := range b.changes.Groups {
		a.Held = append(a.Held, g.Hook)
	}
	for _, inc := range b.changed {
		if !inc.Open() {
			a.Resolved = append(a.Resolved, inc)
		}
	}
	return a
}
