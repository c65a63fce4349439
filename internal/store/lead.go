package store

import (
	"context"
	"errors"
	"fmt"
)

// ErrDeposed is returned for a write of a leader after which another one has begun to lead.
var ErrDeposed = errors.New("another khook leads now: what this one would write is out of date")

// Lead makes this the store of the leader: from its commit on, writes of a store that led before are refused with
// ErrDeposed. A leader that was paused can act on stale state after its Lease has expired: it would record what was
// recorded since, and call agents that were called. The term is the fencing token against that: it grows with each
// leader, every transaction compares it, and what can't be part of a transaction asks StillLeads right before.
func (s *Store) Lead(ctx context.Context) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	s.term.Store(0)
	var term int64
	err := s.explain(s.transact(ctx, durable, func(tx *Tx) (err error) {
		term = tx.term + 1
		_, err = tx.exec(ctx, "UPDATE clusters SET term = ? WHERE no = :cluster", term)
		return err
	}))
	if err != nil {
		return fmt.Errorf("take over the history: %w", err)
	}
	s.term.Store(term)
	return nil
}

const readTerm = "SELECT term FROM clusters WHERE no = :cluster"

// StillLeads says with ErrDeposed that another store leads since, for what can't be part of a
// transaction. A store that never led may do all.
func (s *Store) StillLeads(ctx context.Context) error {
	mine := s.term.Load()
	if mine == 0 {
		return nil
	}
	term, err := readOne(ctx, s.core, "who leads", scanNumber, readTerm)
	if err == nil && term != mine {
		err = ErrDeposed
	}
	return err
}
