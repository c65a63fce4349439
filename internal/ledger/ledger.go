// Package ledger turns signals into history: a Signal becomes an Event that opens or repeats an
// Incident, or ends incidents; and it decides for each hook that cares whether a Delivery is
// due. All of it happens in one transaction, so that nothing is half known after a crash.
//
// It calls no agent and reads no clock but its own: what it decides follows from the signals, the Hooks, the history and
// the time. Invariants:
//
//   - An occurrence is recorded once, by its dedup key, however often it is told and by whichever leader.
//   - A delivery is in the history with the decision that made it, or not at all (outbox): so what is due is found
//     again after any crash, and is never due twice.
//   - What is known in memory is changed only after the commit (open.go): a transaction that fails leaves the ledger as
//     the history is. Otherwise an incident would be taken for open that nobody recorded.
//   - Guard and budgets decide on values that were loaded before (loopguard.go, budget.go).
package ledger

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/utils/clock"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// DefaultQuietAfter is how long nothing new must be seen of an incident before it ends as quiet.
const DefaultQuietAfter = 10 * time.Minute

// Config holds the ledger's settings.
type Config struct {
	QuietAfter time.Duration // DefaultQuietAfter if zero
	// MaxCallsPerHour is how many calls all Hooks together may make within an hour; 0 for no limit.
	MaxCallsPerHour int
	// PageURL is the URL of the dashboard as people reach it, without a / at the end, for {{.URL}} in prompts; empty if there is none.
	PageURL string
	Clock   clock.PassiveClock
	Log     logr.Logger
	// Observe is called after each commit that changed something or asked Hooks, in the order of the commits.
	// It must not block and not call the ledger.
	Observe func(Applied)
}

// Applied is what one commit changed.
type Applied struct {
	Events     []*incident.Event
	Decisions  []delivery.Decision
	Deliveries []*delivery.Delivery // newly due
	Resolved   []*incident.Incident
	Reopened   []*incident.Incident // that had ended as quiet
	Held       []delivery.HookRef   // hooks whose calls are held back, or are no more
	Open       int                  // incidents that are open now
	OpenByType map[incident.EventType]int
	MatchCost  uint64         // of evaluating match expressions, in CEL's units
	TooCostly  []hook.Overrun // hooks whose match expressions could not all be evaluated
	SetAside   []*incident.DeadLetter
	Dropped    int // dead letters that had to make room
}

func (a *Applied) empty() bool {
	return len(a.Events) == 0 && len(a.Deliveries) == 0 && len(a.Resolved) == 0 && len(a.Reopened) == 0 && len(a.Held) == 0 &&
		a.MatchCost == 0 && len(a.SetAside) == 0
}

// Ledger writes history. It is safe for concurrent use; one batch is applied at a time.
type Ledger struct {
	cfg   Config
	from  incident.Origin
	store *store.Store
	hooks *hook.Set

	mu       sync.Mutex
	open     *openSet
	examined int                    // open incidents that were looked at to find those of groups
	costHeld uint64                 // of evaluating match expressions within transactions
	unsaved  []*incident.DeadLetter // those that could not be kept in the store either
	endless  map[string]time.Time   // incidents whose end can't be saved, and when to try again
	settled  map[delivery.HookRef]settledHook
	heldFrom delivery.GroupKey // where the next look at what is held back begins

	reconsidering sync.Mutex // held while Reconsider looks
	latest        time.Time  // that the clock told; without its monotonic part
}

// New returns a ledger that goes on from the history in st.
func New(ctx context.Context, cfg Config, st *store.Store, hooks *hook.Set) (*Ledger, error) {
	if cfg.QuietAfter == 0 {
		cfg.QuietAfter = DefaultQuietAfter
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	if cfg.Observe == nil {
		cfg.Observe = func(Applied) {}
	}
	l := &Ledger{cfg: cfg, from: st.Cluster().Origin(), store: st, hooks: hooks, endless: map[string]time.Time{}, settled: map[delivery.HookRef]settledHook{}}
	if err := l.settleClock(ctx); err != nil {
		return nil, err
	}
	return l, nil
}

// reload reads the open incidents from the store.
func (l *Ledger) reload(ctx context.Context) error {
	open, err := l.store.OpenIncidents(ctx)
	if err != nil {
		return fmt.Errorf("read the open incidents: %w", err)
	}
	l.open = newOpenSet(open)
	return nil
}

// Open returns copies of the incidents that are open.
func (l *Ledger) Open() []*incident.Incident {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open.list()
}

// What ended as quiet is looked for again after a start: so long ago, and so many, at most.
const (
	quietLookedFor = 24 * time.Hour
	maxQuiet       = 5000
)

// LookedFor returns the incidents that a source should look for when it starts: those that ended as quiet lately, since they may
// go on all the same (reopen), and then those that are open.
func (l *Ledger) LookedFor(ctx context.Context) ([]*incident.Incident, error) {
	quiet, err := l.store.QuietIncidents(ctx, l.cfg.Clock.Now().Add(-quietLookedFor), maxQuiet)
	if err != nil {
		return nil, err
	}
	return append(quiet, l.Open()...), nil
}

// OpenCount returns how many incidents are open.
func (l *Ledger) OpenCount() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open.len()
}

// Apply records the signals, in order, in one transaction. After an error nothing of them is
// recorded, and the same signals can be applied again.
func (l *Ledger) Apply(ctx context.Context, signals []incident.Signal) error {
	return l.apply(ctx, fitted(signals), nil)
}

// fitted are the signals as they can be recorded, whatever their source let through.
func fitted(signals []incident.Signal) []incident.Signal {
	fit := make([]incident.Signal, len(signals))
	for i := range signals {
		fit[i] = signals[i].Fitted()
	}
	return fit
}

// apply records signals that are fit; also, if it is given, does something more to the batch.
func (l *Ledger) apply(ctx context.Context, signals []incident.Signal, also func(*batch) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.settleClock(ctx); err != nil {
		return err
	}
	m := newMatcher(l.hooks)
	if err := l.foresee(ctx, m, signals); err != nil {
		return err
	}
	return l.commit(ctx, m, func(b *batch) error {
		if also != nil {
			if err := also(b); err != nil {
				return err
			}
		}
		if err := b.loadKnown(ctx, signals); err != nil {
			return err
		}
		b.expect(signals)
		for i := range signals {
			if signals[i].At.After(b.now) {
				signals[i].At = b.now // nothing happens in the future, whoever's clock says so
			}
			if err := b.apply(ctx, &signals[i]); err != nil {
				return fmt.Errorf("apply %s signal %q of %s/%s: %w", signals[i].Kind, signals[i].Key,
					signals[i].Resource.Namespace, signals[i].Resource.Name, err)
			}
		}
		return nil
	})
}

// clockSlack is how far the clock may go back unnoticed, as one does that is kept in step.
const clockSlack = time.Second

// settleClock sees to it that nothing in the history is of the future: at the start, and when the clock was set back. Until
// then it had been ahead, and what it wrote would count for calls, windows and budgets until it has come true. Then the open
// incidents are read anew. The caller holds the ledger's lock, or is alone with it.
func (l *Ledger) settleClock(ctx context.Context) error {
	now := l.cfg.Clock.Now().Round(0) // the monotonic clock is never set back
	if l.open != nil && !now.Before(l.latest.Add(-clockSlack)) {
		if now.After(l.latest) {
			l.latest = now
		}
		return nil
	}
	clamped, err := l.store.ClampFuture(ctx, now)
	if err != nil {
		return err
	}
	if clamped > 0 {
		l.cfg.Log.Info("khook's clock was ahead: what the history had of the future is of now", "rows", clamped)
	}
	l.latest = now
	return l.reload(ctx)
}

// NextQuiet returns when the next incident would end as quiet.
func (l *Ledger) NextQuiet(watchedSince time.Time) (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var next time.Time
	for _, inc := range l.open.byKey {
		at := l.endsAt(inc, watchedSince)
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next, !next.IsZero()
}

// transact runs do on a new batch within a transaction, see commit.
func (l *Ledger) transact(ctx context.Context, do func(*batch) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.settleClock(ctx); err != nil {
		return err
	}
	return l.commit(ctx, newMatcher(l.hooks), do)
}

// commit runs do on a new batch within a transaction, and makes its changes the ledger's own once they
// are committed. The caller holds the ledger's lock.
func (l *Ledger) commit(ctx context.Context, m *matcher, do func(*batch) error) error {
	var b *batch
	foreseen := m.meter.Spent()
	defer func() { l.costHeld += m.meter.Spent() - foreseen }()
	// What a power failure takes back here is found again by the next list, with the same keys and
	// IDs. That an agent is called is written by dispatch, and waits for the disk.
	err := l.store.WriteRelaxed(ctx, func(tx *store.Tx) error {
		b = newBatch(l, tx, m) // anew, should the transaction be tried again
		if err := do(b); err != nil {
			return err
		}
		return b.save(ctx)
	})
	if err != nil {
		return err
	}
	l.open.merge(b.changed)
	l.keepSettled(b.settled)
	if applied := b.applied(); !applied.empty() {
		applied.Open, applied.OpenByType = l.open.count()
		l.cfg.Observe(applied)
	}
	return nil
}
