package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kagent-dev/khook/internal/store/engine"
)

// Write runs do in one transaction, which is committed if do returns nil and rolled back as a
// whole if not. One runs at a time, in the order of the calls; do must not call Write. When it
// returns, the commit is on the disk, and with it all earlier ones: not even a power failure takes
// it back. ctx ends the wait for earlier writes and the statements of do, but never a commit that
// has begun: so an error always means that nothing of it is recorded; but for ErrUnknown.
func (s *Store) Write(ctx context.Context, do func(*Tx) error) error {
	return s.commit(ctx, durable, do)
}

// WriteRelaxed is Write for what could be found out again: the commit survives the end of the process
// at once, but a power failure only when the next Write or checkpoint has put it on the disk. It
// saves the wait for the disk, which is most of a small commit's time.
func (s *Store) WriteRelaxed(ctx context.Context, do func(*Tx) error) error {
	return s.commit(ctx, relaxed, do)
}

// durability is how much of a commit is waited for.
type durability int

const (
	durable durability = iota // it is on the disk
	relaxed                   // it is with the kernel
)

// failureShown is how long Check goes on to tell of a write that failed, unless one succeeds: a
// small write may fit where a large one did not.
const failureShown = 30 * time.Second

// Check proves that the history can be written; the error says what to do.
func (s *Store) Check(ctx context.Context) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	now := s.cfg.Clock.Now()
	if s.failed != nil && now.Sub(s.failedAt) < failureShown {
		return s.failed
	}
	return s.explain(s.transact(ctx, durable, func(tx *Tx) error {
		_, err := tx.exec(ctx, "UPDATE clusters SET checked = ? WHERE no = :cluster",
			now.UnixMicro())
		return err
	}))
}

// lock waits for its turn to write, first come first served.
func (s *Store) lock(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		if why := s.marks.unsettled.Load(); why != nil {
			return fmt.Errorf("%w: %w", s.explain(*why), ctx.Err())
		}
		return fmt.Errorf("wait for earlier writes of the history: %w", ctx.Err())
	}
}

func (s *Store) unlock() { <-s.turn }

func (s *Store) commit(ctx context.Context, sync durability, do func(*Tx) error) error {
	if err := s.pace.wait(ctx); err != nil {
		return err
	}
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	started := time.Now()
	err := s.explain(endedBy(ctx, s.transact(ctx, sync, do)))
	writeSeconds.Observe(time.Since(started).Seconds())
	var undone *undoneError
	switch {
	case err == nil:
		s.failed = nil
		return nil
	case errors.As(err, &undone):
		return undone.error
	}
	if _, atFault := FaultOf(err); atFault {
		return err // what the row says is no failure of the history, see Probe
	}
	writeErrors.Inc()
	if state := (*engine.StateError)(nil); errors.As(err, &state) {
		s.failed, s.failedAt = err, s.cfg.Clock.Now()
	}
	return err
}

// transact begins and ends the transaction by hand, on the one connection of the writer: so its
// statements stay prepared from one transaction to the next.
func (s *Store) transact(ctx context.Context, sync durability, do func(*Tx) error) error {
	if s.stmts == nil {
		return errClosed
	}
	if err := s.engine.Ready(); err != nil {
		return err
	}
	committed := false
	defer func() {
		if !committed && s.conn != nil { // an error, or a panic; an error may have ended the transaction already
			_ = s.end(ctx, "ROLLBACK")
		}
	}()
	if err := s.begin(ctx, sync); err != nil {
		return err
	}
	tx := &Tx{store: s}
	if err := tx.run(ctx, do); err != nil {
		return err
	}
	s.committing(tx, Commit{Soon: sync == relaxed})
	err := s.end(ctx, "COMMIT")
	if err != nil && s.engine.Remote() {
		err = s.settle(ctx, err)
	}
	if committed = err == nil; committed {
		tx.committed()
		s.reached.Store(tx.seq)
		s.pace.spend(tx.seq - tx.first)
		s.committing(tx, Commit{Soon: sync == relaxed, Done: true})
	}
	return err
}

// Commit is a moment of a commit.
type Commit struct {
	Soon bool // of WriteRelaxed
	Done bool // it is recorded; else it is about to be
}

// committing tells of a commit that changes the history; what Check writes does not.
func (s *Store) committing(tx *Tx, c Commit) {
	if s.cfg.Committing != nil && tx.seq != tx.first {
		s.cfg.Committing(c)
	}
}

// run is what happens between the begin of the transaction and its commit.
func (tx *Tx) run(ctx context.Context, do func(*Tx) error) error {
	if err := tx.begin(ctx); err != nil {
		return err
	}
	err := do(tx)
	switch {
	case tx.failed != nil && err == nil:
		return tx.failed
	case tx.failed == nil && err != nil:
		return &undoneError{err}
	case err != nil:
		return err
	}
	if err := tx.finish(ctx); err != nil {
		return err
	}
	return tx.mark(ctx)
}

// undoneError is why a transaction was rolled back that could have been committed: no failure of the
// store.
type undoneError struct{ error }

// Unwrap returns the cause.
func (e *undoneError) Unwrap() error { return e.error }
