package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// ErrDeposed is returned for a write of a leader after which another one has begun to lead.
var ErrDeposed = errors.New("another khook leads now: what this one would write is out of date")

// errWentBack is ErrDeposed for another reason: what is known here goes by what the database has lost.
var errWentBack error = wentBackError{}

type wentBackError struct{}

func (wentBackError) Error() string {
	return "the database has lost what was committed to it: a standby took over that did not have all, or a backup was put in its place; what this khook knows is not in it"
}

// Is makes it an ErrDeposed.
func (wentBackError) Is(target error) bool { return target == ErrDeposed }

// leads says with an ErrDeposed that this leader may not write any more. It had committed changes up to a number, and the database has those up to seq, of
// a term. A store that never led may do all.
//
// Invariant: a leader's memory is never ahead of the history. What it knows to be open, called or told would else be in no row: such an incident would be
// lost, and nobody would look for it again.
func (s *Store) leads(reached, seq, term int64) error {
	switch mine := s.term.Load(); {
	case mine == 0:
		return nil
	case seq < reached:
		return errWentBack
	case term != mine:
		return ErrDeposed
	}
	return nil
}

// Lead makes this the store of the leader: from its commit on, writes of a store that led before are refused with
// ErrDeposed. A leader that was paused can act on stale state after its Lease has expired: it would record what was
// recorded since, and call agents that were called. The term is the fencing token against that: it grows with each
// leader, every transaction compares it, and what can't be part of a transaction asks StillLeads right before.
//
// The change sequence goes on with a number that no change of this history can have had, also where the database lost the newest of them:
// see skip.
func (s *Store) Lead(ctx context.Context) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	s.term.Store(0)
	var term int64
	err := s.explain(s.transact(ctx, durable, func(tx *Tx) (err error) {
		term = tx.term + 1
		return tx.beginTerm(ctx, term)
	}))
	if err != nil {
		return fmt.Errorf("take over the history: %w", err)
	}
	s.pace.begin()
	s.term.Store(term)
	return nil
}

// Term is that of a leader.
type Term struct {
	No     int64
	Leader string // the replica that led
	At     time.Time
	// Reached is the number that the change sequence had when the term began, First the one that it went on with.
	Reached, First int64
}

func (tx *Tx) beginTerm(ctx context.Context, no int64) error {
	s := tx.store
	now := s.cfg.Clock.Now()
	newest, err := rowsOf(ctx, tx, scanNumber, "SELECT at FROM (SELECT at FROM changes WHERE cluster = :cluster ORDER BY seq DESC LIMIT 1) AS c "+
		"UNION ALL SELECT at FROM (SELECT at FROM terms WHERE cluster = :cluster ORDER BY term DESC LIMIT 1) AS t")
	if err != nil {
		return err
	}
	t := Term{No: no, Leader: s.cfg.Replica, At: now, Reached: tx.seq, First: tx.seq + 1}
	if tx.seq > 0 {
		t.First += skip(now.Sub(fromMicros(slices.Max(append(newest, micros(now)-skipFor.Microseconds())))))
	}
	tx.seq = t.First - 1 // it is written with the end of the transaction
	if err := tx.insert(ctx, "terms", termColumns, [][]any{{t.No, t.Leader, micros(t.At), t.Reached, t.First}}, ""); err != nil {
		return err
	}
	_, err = tx.exec(ctx, "UPDATE clusters SET term = ? WHERE no = :cluster", no)
	return err
}

// How many numbers of the change sequence a leader gives out: at once, and a second after that. It is held back beyond, which
// no cluster has been seen to come to; pace sees to it.
const (
	numbersAtOnce  = 1 << 18
	numbersASecond = 5000
)

// What a new term leaves out of the change sequence: so many numbers, and so many for each second since the newest change or term that is known.
// Each is twice what a leader gives out, for the terms that may be lost too, and for clocks that differ.
const (
	skipAlways  = 2 * numbersAtOnce
	skipASecond = 2 * numbersASecond
	skipFor     = 100 * 24 * time.Hour // the seconds are bounded: a clock that was wrong by years must not use the numbers up
)

// skip is how many numbers a new term leaves out, where nothing is known of what was given out since a time. A database that was restored, or a
// standby that did not have all, begins where it knows: readers hold numbers of what it lost, which must not be given to something else.
func skip(unknown time.Duration) int64 {
	return skipAlways + skipASecond*int64(max(0, unknown)/time.Second+1)
}

const termColumns = "term, leader, at, reached, first"

func scanTerm(row scanner) (t Term, err error) {
	var at int64
	err = row.Scan(&t.No, &t.Leader, &at, &t.Reached, &t.First)
	t.At = fromMicros(at)
	return t, err
}

// NewestTerm is the one that lasts; false if nobody has led yet.
func (r reads) NewestTerm(ctx context.Context) (Term, bool, error) {
	found, err := readAll(ctx, r.handle, "who leads", scanTerm, "SELECT "+termColumns+" FROM terms WHERE cluster = :cluster ORDER BY term DESC LIMIT 1")
	if err != nil || len(found) == 0 {
		return Term{}, false, err
	}
	return found[0], true, nil
}

// Skipped returns the range of the change sequence that a position is in if a term left it out: from is the number before the
// range, to its last one. Position from is that of who has seen all that there was when the term began; to is where the term's own changes begin after. What is
// between was given out by a history that this one does not have, or never.
func (r reads) Skipped(ctx context.Context, position int64) (from, to int64, skipped bool, err error) {
	found, err := readAll(ctx, r.handle, "what terms left out", scanTerm,
		"SELECT "+termColumns+" FROM terms WHERE cluster = :cluster AND first > ? ORDER BY first LIMIT 1", position+1)
	if err != nil || len(found) == 0 || found[0].Reached > position {
		return 0, 0, false, err
	}
	return found[0].Reached, found[0].First - 1, true, nil
}

const readTerm = "SELECT seq, term FROM clusters WHERE no = :cluster"

// StillLeads says with ErrDeposed that another store leads since, or that the database has lost what this one committed, for what can't be part of a
// transaction. A store that never led may do all.
func (s *Store) StillLeads(ctx context.Context) error {
	if s.term.Load() == 0 {
		return nil
	}
	reached := s.reached.Load()
	now, err := readOne(ctx, s.core, "who leads", scanReached, readTerm)
	if err != nil {
		return err
	}
	return s.leads(reached, now.seq, now.term)
}
