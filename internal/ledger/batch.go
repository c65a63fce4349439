package ledger

import (
	"context"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// precedents is what a decision asks the history for: what was called before. A transaction answers or, in a dry run, what
// people read by.
type precedents interface {
	GroupDeliveries(ctx context.Context, key delivery.GroupKey, limit int) ([]*delivery.Delivery, error)
	GroupState(ctx context.Context, key delivery.GroupKey) (*delivery.GroupState, error)
	WorkloadCalls(ctx context.Context, hook delivery.HookRef, config, workload string, after time.Time, limit int) ([]store.GroupCall, error)
	CountDeliveries(ctx context.Context, hook delivery.HookRef, config string, since time.Time, most int) (int, error)
	OldestDelivery(ctx context.Context, hook delivery.HookRef, config string, since time.Time, most int) (time.Time, error)
	TokensSpent(ctx context.Context, hook delivery.HookRef, since time.Time, most int) (store.Spent, error)
	Covers(ctx context.Context, hook delivery.HookRef, of incident.EventType, incidentID string, after time.Time) ([]store.Cover, error)
}

// batch is the work of one transaction: copies of the incidents that it touches, and the changes to
// save. Its life has three parts, in this order:
//
//   - load: loadKnown says which signals are in the history already. Groups and budgets are loaded when a
//     decision first needs them, and once for each batch (group.go, budget.go); with them what other decisions of the
//     batch are likely to need (expected.go).
//   - decide: signals change the copies (follow), and the Hooks are asked about them (decide). Loop guard,
//     budgets and dedup are pure functions of what was loaded and of now, which is the same for the whole
//     batch. The results are only noted, in changes.
//   - write: save puts all changes into the transaction at once.
//
// Invariants, whose owner is Ledger.commit:
//
//   - A batch belongs to one transaction. If that is tried again, the batch is built anew: with what the first try
//     noted, everything would be saved twice.
//   - A batch changes nothing of the Ledger but the counter of what it examined. It works on copies (find), which
//     become the Ledger's own after the commit (openSet.merge). An incident that was changed in place would stay
//     changed after a rollback, and its next signal would repeat an event that nobody recorded.
//   - What was decided earlier in the batch counts for what is decided later: groups, budgets and known keys
//     include the batch's own work. Otherwise one batch of a storm could call an agent for each of its events.
type batch struct {
	*Ledger           // read only; its lock is held
	tx      *store.Tx // nil in a dry run (foresee, Explain)
	history precedents
	now     time.Time
	matcher *matcher

	known   map[string]bool                            // keys of events that are recorded, or in this batch
	work    map[incident.ProblemKey]*incident.Incident // copies of open incidents; nil for a key that is free
	byID    map[string]*incident.Incident              // the same, and those that ended in this batch
	changed []*incident.Incident                       // in the order in which they were first touched
	opened  map[string]map[incident.ProblemKey]bool    // what this batch opened incidents for, by resource
	inGroup map[groupName]map[incident.ProblemKey]bool // what came into a group in this batch

	expected expected
	groups   map[delivery.GroupKey]*group
	settled  map[delivery.HookRef]settledHook
	guarded  map[delivery.GroupKey][]store.GroupCall // calls about workloads within a day, by workload as the group
	calls    map[budgetScope]int                     // deliveries within the last hour
	oldest   map[budgetScope]time.Time               // of those that a budget counts, if it was asked for
	tokens   map[delivery.HookRef]store.Spent        // within the last 24 hours
	noCalls  bool                                    // no delivery can be recorded: what would be one is invalid
	// reopened are the incidents that had ended as quiet, and were seen to go on.
	reopened []*incident.Incident
	aside    []*incident.DeadLetter
	dropped  int // dead letters
	changes  store.Changes
}

func newBatch(l *Ledger, tx *store.Tx, m *matcher) *batch {
	return &batch{
		Ledger: l, tx: tx, history: tx, now: l.cfg.Clock.Now(), matcher: m,
		known:   map[string]bool{},
		work:    map[incident.ProblemKey]*incident.Incident{},
		byID:    map[string]*incident.Incident{},
		opened:  map[string]map[incident.ProblemKey]bool{},
		groups:  map[delivery.GroupKey]*group{},
		guarded: map[delivery.GroupKey][]store.GroupCall{},
		calls:   map[budgetScope]int{},
		settled: map[delivery.HookRef]settledHook{},
		oldest:  map[budgetScope]time.Time{},
		tokens:  map[delivery.HookRef]store.Spent{},

		inGroup: map[groupName]map[incident.ProblemKey]bool{},
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

// apply records one signal.
func (b *batch) apply(ctx context.Context, s *incident.Signal) error {
	if s.Kind == incident.Ongoing {
		if err := b.reopen(ctx, s); err != nil {
			return err
		}
	}
	inc := b.follow(s)
	if inc == nil {
		return nil
	}
	if s.Kind != incident.Observed {
		return b.decide(ctx, s, inc, nil)
	}
	ev := incident.NewEvent(inc, s, b.now)
	ev.ID = b.tx.NextEvent()
	b.changes.Events = append(b.changes.Events, ev)
	return b.decide(ctx, s, inc, ev)
}

// follow applies the signal to the incidents. It returns the one that hooks should be asked about, or
// nil. It needs no transaction, so that a dry run can do it too.
func (b *batch) follow(s *incident.Signal) *incident.Incident {
	switch s.Kind {
	case incident.Observed:
		return b.observed(s)
	case incident.Ongoing: // keeps the incident from ending as quiet, and calls again where that is due
		return b.touch(s)
	case incident.Unheard:
		if inc := b.find(s.ProblemKey()); inc != nil {
			inc.Unheard(s.At)
			inc.ObservedNow(b.now)
		}
	case incident.Heard:
		if inc := b.find(s.ProblemKey()); inc != nil {
			inc.UnheardSince = time.Time{}
			inc.ObservedNow(b.now)
		}
	case incident.Healthy:
		if inc := b.find(s.ProblemKey()); inc != nil {
			b.end(inc, incident.Recovered, s.At)
		}
	case incident.Gone:
		for _, key := range b.keysOf(s.Resource.UID) {
			if inc := b.find(key); inc != nil {
				b.end(inc, incident.WasGone, s.At)
			}
		}
	}
	return nil
}

// touch notes that the problem of a sign goes on; nil if no incident is open about it.
func (b *batch) touch(s *incident.Signal) *incident.Incident {
	inc := b.find(s.ProblemKey())
	if inc != nil {
		inc.Touch(s.At)
		inc.ObservedNow(b.now)
		inc.UnheardSince = time.Time{}
	}
	return inc
}

// observed opens or repeats the incident of an occurrence; nil if that is recorded already.
func (b *batch) observed(s *incident.Signal) *incident.Incident {
	if b.known[s.Key] {
		return nil
	}
	b.known[s.Key] = true
	inc := b.find(s.ProblemKey())
	if inc == nil {
		inc = b.openIncident(s)
	} else {
		inc.Observe(s)
	}
	inc.ObservedNow(b.now)
	if inc.CausedBy == "" {
		inc.CausedBy = b.causeOf(s, inc)
	}
	b.intoGroups(inc)
	return inc
}

// intoGroups notes the groups that the incident may be of, which change with its node.
func (b *batch) intoGroups(inc *incident.Incident) {
	for _, name := range groupNames(inc) {
		if b.inGroup[name] == nil {
			b.inGroup[name] = map[incident.ProblemKey]bool{}
		}
		b.inGroup[name][inc.ProblemKey()] = true
	}
}

// openIncident opens the incident of an occurrence, and gives it the effects that were seen first.
func (b *batch) openIncident(s *incident.Signal) *incident.Incident {
	inc := incident.Open(b.from, s)
	b.include(inc)
	b.adopt(inc)
	return inc
}

// include puts an incident under its key, which is free.
func (b *batch) include(inc *incident.Incident) {
	key := inc.ProblemKey()
	b.work[key], b.byID[inc.ID] = inc, inc
	b.changed = append(b.changed, inc)
	if b.opened[key.UID] == nil {
		b.opened[key.UID] = map[incident.ProblemKey]bool{}
	}
	b.opened[key.UID][key] = true
}

// reopen opens the incident of a sign again, if it had ended as quiet: the sign says that it was not over. It is the newest
// one of its problem that counts. A sign of what never had an incident is nothing.
func (b *batch) reopen(ctx context.Context, s *incident.Signal) error {
	key := s.ProblemKey()
	if b.find(key) != nil {
		return nil
	}
	inc, err := b.newestOf(ctx, key)
	if err != nil || inc == nil || !inc.Reopen(b.now) {
		return err
	}
	b.include(inc)
	b.intoGroups(inc)
	b.reopened = append(b.reopened, inc)
	return nil
}

// lateCause is how much later than its effect a cause may be reported: the watches of Pods and
// Events are not ordered against each other.
const lateCause = 10 * time.Second

// adopt makes inc, a failed probe that khook has only just heard of, the cause of the restart that the
// Pod's status reported first.
func (b *batch) adopt(inc *incident.Incident) {
	if inc.Type != incident.ProbeFailed {
		return
	}
	restart := b.find(incident.ProblemKey{UID: inc.Resource.UID, Type: incident.PodRestart, Container: inc.Container})
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
			cause := b.find(incident.ProblemKey{UID: s.Resource.UID, Type: t, Container: container})
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

// find returns the batch's own copy of the open incident under key, or nil. It is the only way to an
// incident that may be changed (copy-on-write).
func (b *batch) find(key incident.ProblemKey) *incident.Incident {
	if inc, ok := b.work[key]; ok {
		return inc
	}
	inc := b.open.byKey[key]
	if inc == nil {
		return nil
	}
	c := *inc
	b.work[key], b.byID[c.ID] = &c, &c
	b.changed = append(b.changed, &c)
	return &c
}

// findID returns the incident with the ID if it is open or ended in this batch, or nil.
func (b *batch) findID(id string) *incident.Incident {
	if inc, ok := b.byID[id]; ok {
		return inc
	}
	if key, ok := b.open.byID[id]; ok {
		return b.find(key)
	}
	return nil
}

// keysOf returns the keys of a resource that may hold an open incident.
func (b *batch) keysOf(uid string) []incident.ProblemKey {
	var keys []incident.ProblemKey
	for key := range b.open.byUID[uid] {
		keys = append(keys, key)
	}
	for key := range b.opened[uid] {
		keys = append(keys, key)
	}
	return keys
}

// end resolves an incident and frees its key: the next signal of the key opens another incident.
func (b *batch) end(inc *incident.Incident, r incident.Resolution, at time.Time) {
	inc.Resolve(r, at)
	b.work[inc.ProblemKey()] = nil
}

// save writes the batch's changes into the transaction. Copies that were made only to look are left out.
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
	key, known := b.open.byID[inc.ID]
	if !known {
		return true
	}
	was := b.open.byKey[key]
	return was.Events != inc.Events || !was.ObservedAt.Equal(inc.ObservedAt) || !was.LastSeen.Equal(inc.LastSeen) ||
		was.Resolution != inc.Resolution || was.CausedBy != inc.CausedBy || !was.UnheardSince.Equal(inc.UnheardSince)
}

// applied is what Config.Observe is told of the batch after its commit.
func (b *batch) applied() Applied {
	a := Applied{
		Events: b.changes.Events, Decisions: b.changes.Decisions, Deliveries: b.changes.Deliveries,
		Reopened: b.reopened, SetAside: b.aside, Dropped: b.dropped,
		MatchCost: b.matcher.meter.Spent(), TooCostly: b.matcher.meter.Overruns(),
	}
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
