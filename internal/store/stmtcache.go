package store

import (
	"context"
	"database/sql"
	"errors"
	"sync"
)

// stmtCache keeps the statements of a handle, prepared.
type stmtCache struct {
	mu     sync.Mutex
	stmts  map[string]*sql.Stmt
	closed bool
}

func (p *stmtCache) stmt(ctx context.Context, db *sql.DB, query string) (*sql.Stmt, error) {
	p.mu.Lock()
	st, closed := p.stmts[query], p.closed
	p.mu.Unlock()
	if st != nil || closed {
		return st, closedErr(closed)
	}
	st, err := db.PrepareContext(ctx, query) // not under the lock: it may wait for a connection
	if err != nil {
		return nil, err
	}
	return p.keep(query, st)
}

// keep adds a statement, unless another goroutine was faster.
func (p *stmtCache) keep(query string, st *sql.Stmt) (*sql.Stmt, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if other := p.stmts[query]; other != nil || p.closed {
		return other, errors.Join(st.Close(), closedErr(p.closed))
	}
	if p.stmts == nil {
		p.stmts = map[string]*sql.Stmt{}
	}
	p.stmts[query] = st
	return st, nil
}

func closedErr(closed bool) error {
	if closed {
		return errClosed
	}
	return nil
}

func (p *stmtCache) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, st := range p.stmts {
		errs = append(errs, st.Close())
	}
	p.stmts, p.closed = nil, true
	return errors.Join(errs...)
}
