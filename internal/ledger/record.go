package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// Record records the signals, in order, and returns how many of the first ones are settled: they must
// not be given again, the rest must. All of them are, in one transaction, unless that fails because of
// what a signal says: then the batch is halved until that signal is found, which is put aside (dead
// letter), and all others are recorded. So nobody can stop the recording by a row that can't be saved. Any other error,
// such as a full disk, settles nothing more, and must be retried until it succeeds.
func (l *Ledger) Record(ctx context.Context, signals []incident.Signal) (settled int, err error) {
	return l.record(ctx, fitted(signals))
}

func (l *Ledger) record(ctx context.Context, signals []incident.Signal) (settled int, err error) {
	if len(signals) == 0 {
		return 0, nil
	}
	err = l.apply(ctx, signals, nil)
	fault, atFault := store.FaultOf(err)
	switch {
	case err == nil:
		return len(signals), nil
	case !atFault:
		return 0, err
	case len(signals) == 1:
		if err := l.setAside(ctx, signals[0], fault, err); err != nil {
			return 0, err
		}
		return 1, nil
	}
	half := len(signals) / 2
	if settled, err = l.record(ctx, signals[:half]); err != nil {
		return settled, err
	}
	rest, err := l.record(ctx, signals[half:])
	return settled + rest, err
}

// errHistory is why nothing is put aside although a row was refused.
var errHistory = errors.New("no row can be saved, so it is the history that needs a look and not the signal")

// setAside settles a signal that can't be recorded because of what it says. What can be recorded of it
// is: the event without calling agents, if only a row about a call is at fault. The rest is kept as a
// dead letter.
//
// Only if ordinary rows can be saved is the signal at fault. Without the probe a history that refuses
// everything, because its schema is not what khook takes it for, would make a dead letter of each
// signal, and lose those that there is no room for.
func (l *Ledger) setAside(ctx context.Context, s incident.Signal, fault incident.Fault, cause error) error {
	if err := l.store.Probe(ctx); err != nil {
		return fmt.Errorf("%w: %s", errHistory, err.Error()) // without its cause: nobody is to take it for a row's fault
	}
	d := incident.NewDeadLetter(l.from, s, fault, cause, l.cfg.Clock.Now())
	withoutCalls := *d
	withoutCalls.Recorded = true
	keep := func(d *incident.DeadLetter) func(*batch) error {
		return func(b *batch) error { return b.putAside(ctx, d) }
	}
	err := l.apply(ctx, []incident.Signal{s}, keep(&withoutCalls))
	if _, atFault := store.FaultOf(err); !atFault {
		return err
	}
	err = l.transact(ctx, keep(d))
	if _, atFault := store.FaultOf(err); !atFault {
		return err
	}
	l.keepUnsaved(d)
	return nil
}

// putAside keeps a dead letter in the batch's transaction; of its signal no calls are made.
func (b *batch) putAside(ctx context.Context, d *incident.DeadLetter) error {
	b.noCalls = true
	dropped, err := b.tx.PutDeadLetter(ctx, d)
	if err != nil {
		return err
	}
	b.aside, b.dropped = append(b.aside, d), b.dropped+dropped
	return nil
}

// maxUnsaved bounds the dead letters that the store can't keep either.
const maxUnsaved = 100

func (l *Ledger) keepUnsaved(d *incident.DeadLetter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	dropped := 0
	l.unsaved = append(l.unsaved, d)
	if n := len(l.unsaved) - maxUnsaved; n > 0 {
		l.unsaved, dropped = append([]*incident.DeadLetter(nil), l.unsaved[n:]...), n
	}
	applied := Applied{SetAside: []*incident.DeadLetter{d}, Dropped: dropped}
	applied.Open, applied.OpenByType = l.open.count()
	l.cfg.Observe(applied)
}

// saveUnsaved moves the dead letters that are in memory only into the store, if it takes them now.
func (l *Ledger) saveUnsaved(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.unsaved) > 0 {
		err := l.store.Write(ctx, func(tx *store.Tx) error {
			_, err := tx.PutDeadLetter(ctx, l.unsaved[0])
			return err
		})
		if _, atFault := store.FaultOf(err); atFault {
			return nil // not yet
		}
		if err != nil {
			return err
		}
		l.unsaved = l.unsaved[1:]
	}
	l.unsaved = nil
	return nil
}

// Unsaved is how many dead letters are in memory only.
func (l *Ledger) Unsaved() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.unsaved)
}

// maxReplayed bounds how many dead letters one look tries again.
const maxReplayed = 100

// ReplayEvery is how often to look for dead letters that should be tried again.
const ReplayEvery = 15 * time.Second

// ReplayWanted tries the dead letters again that a person wants to be tried: what can be recorded now is
// no longer one. Of an event that is recorded the calls are made that are still due.
func (l *Ledger) ReplayWanted(ctx context.Context) error {
	if err := l.saveUnsaved(ctx); err != nil {
		return err
	}
	wanted, err := l.store.WantedDeadLetters(ctx, maxReplayed)
	if err != nil {
		return err
	}
	for _, d := range wanted {
		if err := l.replay(ctx, d); err != nil {
			return fmt.Errorf("replay dead letter %s: %w", d.ID, err)
		}
	}
	return nil
}

func (l *Ledger) replay(ctx context.Context, d *incident.DeadLetter) error {
	s := d.Signal.Fitted()
	if d.Recorded && s.Kind == incident.Observed {
		s.Kind = incident.Ongoing // the event is there: only what is to be done about it is decided again
	}
	err := l.apply(ctx, []incident.Signal{s}, func(b *batch) error { return b.tx.DropDeadLetter(ctx, d.ID) })
	fault, atFault := store.FaultOf(err)
	switch {
	case err == nil:
		l.cfg.Log.Info("a dead letter was replayed", "letter", d.ID, "signal", s.Kind, "key", s.Key)
		return nil
	case !atFault:
		return err
	}
	l.cfg.Log.Error(err, "a dead letter can't be recorded now either, it stays", "letter", d.ID)
	again := *d
	again.Wanted, again.Fault, again.LastAt = false, fault, l.cfg.Clock.Now()
	again.Error = incident.Clean(err.Error(), incident.MaxDeadLetterError)
	return l.store.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.PutDeadLetter(ctx, &again)
		return err
	})
}
