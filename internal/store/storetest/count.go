package storetest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"sync/atomic"

	"github.com/kagent-dev/khook/internal/store/engine"
)

// Counting is an engine that counts what its writer sends: each statement is a round trip where the database is another process.
type Counting struct {
	engine.Engine
	Statements atomic.Int64
}

// OpenWriter implements engine.Engine.
func (c *Counting) OpenWriter(ctx context.Context) (*sql.DB, error) {
	inner, err := c.Engine.OpenWriter(ctx)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(&countingConnector{inner, &c.Statements}), nil
}

// countingConnector takes its connections out of another pool.
type countingConnector struct {
	inner *sql.DB
	n     *atomic.Int64
}

// Connect implements driver.Connector.
func (c *countingConnector) Connect(ctx context.Context) (driver.Conn, error) {
	taken, err := c.inner.Conn(ctx)
	if err != nil {
		return nil, err
	}
	counting := &countingConn{taken: taken, n: c.n}
	err = taken.Raw(func(conn any) error {
		counting.Conn = conn.(driver.Conn) //nolint:forcetypeassert // it is a driver's; ours as long as it is taken
		return nil
	})
	return counting, err
}

// Driver implements driver.Connector.
func (c *countingConnector) Driver() driver.Driver { return c.inner.Driver() }

// Close implements io.Closer: sql.DB.Close calls it.
func (c *countingConnector) Close() error { return c.inner.Close() }

type countingConn struct {
	driver.Conn
	taken *sql.Conn
	n     *atomic.Int64
}

// Close gives the connection back.
func (c *countingConn) Close() error { return c.taken.Close() }

// Ping implements driver.Pinger.
func (c *countingConn) Ping(ctx context.Context) error {
	if p, ok := c.Conn.(driver.Pinger); ok {
		return p.Ping(ctx)
	}
	return nil
}

// BeginTx implements driver.ConnBeginTx.
func (c *countingConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, opts) //nolint:forcetypeassert // both drivers have it
}

// ExecContext implements driver.ExecerContext.
func (c *countingConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c.n.Add(1)
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args) //nolint:forcetypeassert // both drivers have it
}

// QueryContext implements driver.QueryerContext.
func (c *countingConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.n.Add(1)
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args) //nolint:forcetypeassert // both drivers have it
}

// PrepareContext implements driver.ConnPrepareContext.
func (c *countingConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	st, err := c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query) //nolint:forcetypeassert // both drivers have it
	if err != nil {
		return nil, err
	}
	return &countingStmt{st, c.n}, nil
}

type countingStmt struct {
	driver.Stmt
	n *atomic.Int64
}

// ExecContext implements driver.StmtExecContext.
func (s *countingStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	s.n.Add(1)
	return s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args) //nolint:forcetypeassert // both drivers have it
}

// QueryContext implements driver.StmtQueryContext.
func (s *countingStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	s.n.Add(1)
	return s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, args) //nolint:forcetypeassert // both drivers have it
}
