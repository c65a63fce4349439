package postgres

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/kagent-dev/khook/internal/store/engine"
)

// IsURL says whether a text is the URL of a database, and not the path of a file.
func IsURL(text string) bool {
	return strings.HasPrefix(text, "postgres://") || strings.HasPrefix(text, "postgresql://")
}

// Named returns the engine for a URL, or for a file that has one and wins; nil if database is the path of a SQLite file.
func Named(database, file string, maxConnections int) (engine.Engine, error) {
	cfg := Config{MaxConnections: maxConnections}
	switch {
	case file != "":
		cfg.URL = FromFile(file)
	case IsURL(database):
		cfg.URL = func() (string, error) { return database, nil }
	default:
		return nil, nil //nolint:nilnil // it is no engine of this package
	}
	text, err := cfg.URL()
	if err == nil {
		err = CheckURL(text)
	}
	return New(cfg), err
}

// FromFile reads the URL from a file.
func FromFile(file string) func() (string, error) {
	return func() (string, error) {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("read the URL of the database: %w", err)
		}
		return strings.TrimSpace(string(text)), nil
	}
}

// CheckURL says what is wrong with a URL, without its password.
func CheckURL(text string) error {
	_, err := parse(text)
	return err
}

// errURL does not have the parser's error as its cause: that quotes the URL, and with it the password.
var errURL = errors.New("the URL of the database can't be read: write it as postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full, " +
	"with what is special in a URL in percent-encoding")

func parse(text string) (*pgx.ConnConfig, error) {
	if !IsURL(text) {
		return nil, errURL
	}
	if u, err := url.Parse(text); err != nil || u.Fragment != "" {
		return nil, errURL
	}
	cfg, err := pgx.ParseConfig(text)
	if err != nil {
		return nil, fmt.Errorf("%w%s", errURL, parserSays(err, text))
	}
	return cfg, nil
}

// parserSays is the parser's reason, unless the password is in it.
func parserSays(err error, text string) string {
	u, unread := url.Parse(text)
	reason := errors.Unwrap(err)
	if unread != nil || reason == nil {
		return ""
	}
	password, has := u.User.Password()
	if has && (strings.Contains(reason.Error(), password) || strings.Contains(reason.Error(), u.User.String())) {
		return ""
	}
	return " (" + reason.Error() + ")"
}

// connector makes connections.
type connector struct {
	engine   *Engine
	readOnly bool
}

// Driver implements driver.Connector.
func (*connector) Driver() driver.Driver { return stdlib.GetDefaultDriver() }

// Connect implements driver.Connector.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	text, err := c.engine.cfg.URL()
	if err != nil {
		return nil, err
	}
	cfg, err := parse(text)
	if err != nil {
		return nil, err
	}
	where := address(cfg)
	c.engine.where.Store(&where)
	c.configure(cfg)
	made, err := stdlib.GetConnector(*cfg).Connect(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, err // who asked waits no longer
	case err != nil:
		return nil, &connectError{err}
	}
	return &conn{made.(*stdlib.Conn)}, nil //nolint:forcetypeassert // it is its only one
}

// connectError is that there is no connection: a time limit of its own is about the database, not about who asks.
type connectError struct{ error }

// Unwrap returns the cause.
func (e *connectError) Unwrap() error { return e.error }

// address is where the database is, without who khook is there.
func address(cfg *pgx.ConnConfig) string {
	return "postgres://" + net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port))) + "/" + cfg.Database
}

func (c *connector) configure(cfg *pgx.ConnConfig) {
	cfg.ConnectTimeout = cmp.Or(cfg.ConnectTimeout, connectTimeout)
	cfg.RuntimeParams["application_name"] = cmp.Or(cfg.RuntimeParams["application_name"], "khook")
	if c.readOnly { // beside the rule that only the writer writes: nothing relies on it
		cfg.RuntimeParams["default_transaction_read_only"] = "on"
		cfg.RuntimeParams["statement_timeout"] = strconv.FormatInt(statementTimeout.Milliseconds(), 10)
	}
	// A standby can't be written, and what is read there may be old: the server to go on with is looked for among those that the URL names.
	cfg.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary
	// Who asked and went away ends the query, and not the connection, if the server answers soon.
	cfg.BuildContextWatcherHandler = func(made *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: made, DeadlineDelay: connectTimeout}
	}
	dialer := &net.Dialer{Timeout: cfg.ConnectTimeout, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: unheardTimeout, Interval: 5 * time.Second, Count: 3}, Control: endUnheard}
	cfg.DialFunc = dialer.DialContext
}

// conn is a connection that leaves it to pgx when a statement is prepared: by the URL (default_query_exec_mode), since a pooler
// may give each transaction another session. If nothing is said, each query is prepared once and kept.
type conn struct{ *stdlib.Conn }

// PrepareContext implements driver.ConnPrepareContext.
func (c *conn) PrepareContext(_ context.Context, query string) (driver.Stmt, error) {
	return &stmt{c, query}, nil
}

// ExecContext implements driver.ExecerContext.
func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	result, err := c.Conn.ExecContext(ctx, query, args)
	return result, c.reason(ctx, err)
}

// QueryContext implements driver.QueryerContext.
func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := c.Conn.QueryContext(ctx, query, args)
	return rows, c.reason(ctx, err)
}

// reason tells what was ended before it began from a connection that is of no use any more: the driver says the same of both, and
// the connection would be closed.
func (c *conn) reason(ctx context.Context, err error) error {
	closed := c.Conn.Conn().IsClosed()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, driver.ErrBadConn) && ctx.Err() != nil && !closed:
		return ctx.Err()
	case closed && ctx.Err() == nil && !errors.Is(err, driver.ErrBadConn):
		return &lostError{err}
	}
	return err
}

// lostError is that the connection broke, which the driver has no value for.
type lostError struct{ error }

// Unwrap returns the cause.
func (e *lostError) Unwrap() error { return e.error }

// Prepare implements driver.Conn.
func (c *conn) Prepare(query string) (driver.Stmt, error) { return &stmt{c, query}, nil }

// stmt is a query that is prepared when it first runs.
type stmt struct {
	conn  *conn
	query string
}

// Close implements driver.Stmt: what pgx has prepared it keeps, up to a bound.
func (*stmt) Close() error { return nil }

// NumInput implements driver.Stmt: the database checks it.
func (*stmt) NumInput() int { return -1 }

// Exec implements driver.Stmt.
func (*stmt) Exec([]driver.Value) (driver.Result, error) { return nil, driver.ErrSkip }

// Query implements driver.Stmt.
func (*stmt) Query([]driver.Value) (driver.Rows, error) { return nil, driver.ErrSkip }

// ExecContext implements driver.StmtExecContext.
func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return s.conn.ExecContext(ctx, s.query, args)
}

// QueryContext implements driver.StmtQueryContext.
func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.conn.QueryContext(ctx, s.query, args)
}
