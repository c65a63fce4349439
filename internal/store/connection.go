package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// ErrUnknown is returned for a write that may be recorded or not: the connection to the database broke when the commit was
// under way, and ctx ended before the database could be asked.
var ErrUnknown = errors.New("the answer to the commit was lost, and the database can't be asked")

// A database that is another process can hang. Then what ends a transaction is waited for no longer than this; a commit is
// asked for after it.
const endWithin = time.Minute

// How long a store waits before it asks again what became of a commit: at first, and at most.
const (
	settleAgain = 50 * time.Millisecond
	settleMost  = 2 * time.Second
)

// marksKept is how long the mark of a process that ended is kept.
const marksKept = 7 * 24 * time.Hour

// marks tell the commits of this store from each other. The number of the newest one is in a row of its own, which is
// written as part of each transaction: so the row says what became of it. The change sequence does not: another
// khook may have gone on with it.
type marks struct {
	writer    string
	n         int64
	unsettled atomic.Pointer[error] // why a commit's end can't be asked for; nil if none is to be asked for
}

// connect opens the writer's connection.
func (s *Store) connect(ctx context.Context) error {
	conn, err := s.write.Conn(ctx)
	if err != nil {
		return err
	}
	if s.engine.Remote() {
		if err := s.beginMarks(ctx, conn); err != nil {
			return errors.Join(err, conn.Close())
		}
	}
	s.conn, s.stmts, s.sync = conn, map[string]*sql.Stmt{}, durable
	return nil
}

// beginMarks makes the store's row: where it was there before a transaction, who asks for the transaction's end waits for it.
func (s *Store) beginMarks(ctx context.Context, conn *sql.Conn) error {
	now := s.cfg.Clock.Now()
	if s.marks.writer == "" {
		s.marks.writer = s.cfg.Cluster + "/" + rand.Text() // by the name, a database can hold each cluster's khook to its own
		if _, err := conn.ExecContext(ctx, s.engine.Bind("DELETE FROM commits WHERE at < ?"), micros(now.Add(-marksKept))); err != nil {
			return err
		}
	}
	_, err := conn.ExecContext(ctx, s.engine.Bind("INSERT INTO commits (writer, n, at) VALUES (?, 0, ?) ON CONFLICT DO NOTHING"), s.marks.writer, micros(now))
	return err
}

// mark is the last statement of a transaction.
func (tx *Tx) mark(ctx context.Context) error {
	s := tx.store
	if !s.engine.Remote() {
		return nil
	}
	s.marks.n++
	_, err := tx.exec(ctx, "INSERT INTO commits (writer, n, at) VALUES (?, ?, ?) ON CONFLICT (writer) DO UPDATE SET n = excluded.n, at = excluded.at",
		s.marks.writer, s.marks.n, micros(s.cfg.Clock.Now()))
	return err
}

// disconnect closes the writer's connection.
func (s *Store) disconnect() error {
	var errs []error
	for _, st := range s.stmts {
		errs = append(errs, st.Close())
	}
	if s.conn != nil {
		errs = append(errs, s.conn.Close())
	}
	s.conn, s.stmts = nil, map[string]*sql.Stmt{}
	return errors.Join(errs...)
}

// broken says whether there must be another connection.
func (s *Store) broken(ctx context.Context) bool {
	return s.conn == nil || s.engine.Remote() && s.conn.PingContext(ctx) != nil
}

// reconnect opens another connection in place of one that broke.
func (s *Store) reconnect(ctx context.Context) error {
	_ = s.disconnect() // what broke has nothing more to say
	return s.connect(ctx)
}

// begin begins a transaction; on another connection if this one broke since the transaction before.
func (s *Store) begin(ctx context.Context, sync durability) error {
	err := sql.ErrConnDone
	if s.conn != nil {
		err = s.beginOn(ctx, sync)
	}
	if err == nil || !s.broken(ctx) {
		return err
	}
	if err := s.reconnect(ctx); err != nil {
		return err
	}
	return s.beginOn(ctx, sync)
}

func (s *Store) beginOn(ctx context.Context, sync durability) error {
	if statement := s.engine.Durability(sync == durable); sync != s.sync && statement != "" {
		if _, err := s.conn.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	s.sync = sync
	_, err := s.conn.ExecContext(ctx, s.engine.Begin(sync == durable))
	return err
}

// end ends a transaction by a statement, which ctx does not end.
func (s *Store) end(ctx context.Context, statement string) error {
	ctx = context.WithoutCancel(ctx)
	if s.engine.Remote() {
		limited, stop := context.WithTimeout(ctx, endWithin)
		defer stop()
		ctx = limited
	}
	_, err := s.conn.ExecContext(ctx, statement)
	return err
}

// settle finds out what became of a commit whose answer was an error, which may be that the connection broke: it is recorded
// (nil), or not (the error). It asks until the database answers, and keeps the turn meanwhile: who is told that nothing was
// recorded may record it again, and call an agent again.
func (s *Store) settle(ctx context.Context, lost error) error {
	defer s.marks.unsettled.Store(nil)
	for wait := settleAgain; ; wait = min(2*wait, settleMost) {
		done, err := s.ask(ctx)
		switch {
		case err == nil && done:
			return nil
		case err == nil:
			return lost
		}
		s.marks.unsettled.Store(&err)
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrUnknown, errors.Join(lost, err))
		case <-time.After(wait):
		}
	}
}

// ask says whether the newest mark is recorded. It writes the row, though nothing in it changes: so it waits for the
// transaction that may still be under way on the connection that broke.
func (s *Store) ask(ctx context.Context) (done bool, err error) {
	if s.broken(ctx) {
		if err := s.reconnect(ctx); err != nil {
			return false, err
		}
	}
	if _, err := s.conn.ExecContext(ctx, "ROLLBACK"); err != nil { // of what the commit left, if the connection is whole
		return false, err
	}
	var n int64
	err = s.conn.QueryRowContext(ctx, s.engine.Bind("UPDATE commits SET at = at WHERE writer = ? RETURNING n"), s.marks.writer).Scan(&n)
	return n == s.marks.n, err
}
