package store

import (
	"context"
	"errors"
	"fmt"
)

// ErrDeposed is returned for a write of a leader after which another one has begun to lead.
var ErrDeposed = errors.New("another khook leads now: what this one would write is out of date")

// Lead makes this the store of the leader: from its commit on, writes of a store that led before are
// refused with ErrDeposed. A leader that was halted for long learns too late from its Lease that it is
// none; what it knows, and would write or call an agent for, is of before.
func (s *Store) Lead(ctx context.Context) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	s.term = 0
	var term int64
	err := s.explain(s.transact(ctx, full, func(tx *Tx) (err error) {
		if term, err = tx.number(ctx, "SELECT coalesce(max(value), 0) + 1 FROM meta WHERE name = 'term'"); err != nil {
			return err
		}
		_, err = tx.exec(ctx, "INSERT INTO meta (name, value) VALUES ('term', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", term)
		return err
	}))
	if err != nil {
		return fmt.Errorf("take over the history: %w", err)
	}
	s.term = term
	return nil
}

// stillLeads refuses the transaction if another store leads since.
func (tx *Tx) stillLeads(ctx context.Context) error {
	if tx.store.term == 0 {
		return nil
	}
	term, err := tx.number(ctx, "SELECT value FROM meta WHERE name = 'term'")
	if err == nil && term != tx.store.term {
		err = ErrDeposed
	}
	return err
}
