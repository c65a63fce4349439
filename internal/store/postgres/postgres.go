// Package postgres is the engine that keeps a history in PostgreSQL: how it is connected to and checked, and what to do about its
// errors. It knows no table of khook's.
//
// Invariants: no setting of a session is relied on by what is written, since a pooler (PgBouncer) may give each transaction another
// session; and no error, and nothing that is logged, has the password.
package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/kagent-dev/khook/internal/store/engine"
)

// Config holds the settings of an Engine.
type Config struct {
	// URL returns where the database is and who khook is there, such as postgres://khook:secret@db.example.com/khook?sslmode=verify-full.
	// It is asked for at each new connection, so that a password can be changed while khook runs.
	URL func() (string, error)
	// MaxConnections is how many connections there are at most; DefaultConnections if 0, at least MinConnections.
	MaxConnections int
}

// How many connections an engine has at most: if nothing is said, and at least. Two are for the writer, the second of them only while
// the schema is brought up to date; the others are shared by khook's reads and those of people.
const (
	DefaultConnections = 10
	MinConnections     = 4
)

// OldestVersion is the oldest PostgreSQL that khook is for.
const OldestVersion = 14

// How long the database may take. A leader that hangs in a transaction keeps the next one from taking over for no longer than idleTimeout;
// a statement waits for another transaction for longer than that, so that it outlasts such a leader.
const (
	connectTimeout   = 5 * time.Second
	idleTimeout      = 10 * time.Second
	lockTimeout      = 15 * time.Second
	statementTimeout = 30 * time.Second
	unheardTimeout   = 15 * time.Second // what was sent and is not acknowledged; Linux only
	connectionLife   = 30 * time.Minute // of a reader's: so that a load balancer's targets and changed passwords come to all
)

// Engine implements engine.Engine.
type Engine struct {
	cfg   Config
	where atomic.Pointer[string] // the address without the password, as the errors name it; nil before the first connection
	begin [2]string
	binds bindings
}

// New returns an engine that has nothing open.
func New(cfg Config) *Engine {
	return &Engine{cfg: cfg}
}

// OpenWriter implements engine.Engine.
func (e *Engine) OpenWriter(ctx context.Context) (*sql.DB, error) {
	db := sql.OpenDB(&connector{engine: e})
	db.SetMaxOpenConns(2) // the second for the lock of the migrations
	db.SetMaxIdleConns(1)
	if err := e.check(ctx, db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// OpenReader implements engine.Engine.
func (e *Engine) OpenReader(ctx context.Context, connections int) (*sql.DB, error) {
	most := e.cfg.MaxConnections
	if most == 0 {
		most = DefaultConnections
	}
	connections = max(1, min(connections, (most-2)/2))
	db := sql.OpenDB(&connector{engine: e, readOnly: true})
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	db.SetConnMaxLifetime(connectionLife)
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// check says why this database can't have a history.
func (e *Engine) check(ctx context.Context, db *sql.DB) error {
	var version int
	var encoding, commits string
	var schema sql.NullString
	err := db.QueryRowContext(ctx, "SELECT current_setting('server_version_num')::int, current_setting('server_encoding'), "+
		"current_setting('synchronous_commit'), current_schema()::text").Scan(&version, &encoding, &commits, &schema)
	switch {
	case err != nil:
		return err
	case version < OldestVersion*10000:
		return e.Advise(fmt.Errorf("it is PostgreSQL %d", version/10000), fmt.Sprintf("khook needs PostgreSQL %d or newer", OldestVersion))
	case encoding != "UTF8":
		return e.Advise(fmt.Errorf("its encoding is %s", encoding), "khook needs a database of the encoding UTF8: make another one")
	case !schema.Valid:
		return e.Advise(errors.New("no schema of the search path exists"), "make the schema, or name another one in the URL (search_path)")
	}
	e.begin = beginnings(commits)
	var tables, ours int
	if err := db.QueryRowContext(ctx, "SELECT count(*), count(*) FILTER (WHERE relname = $1) FROM pg_class c WHERE relkind IN ('r', 'p') "+
		"AND relnamespace = to_regnamespace(quote_ident(current_schema())) AND relname <> $2 "+
		"AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')",
		versionTable, lockTable).Scan(&tables, &ours); err != nil {
		return err
	}
	if tables > 0 && ours == 0 {
		return e.Advise(fmt.Errorf("schema %s has tables of another program", schema.String),
			"give khook a database of its own, or a schema (search_path in the URL)")
	}
	return nil
}

// beginnings are the statements that begin a transaction: one that is not waited for, and one that is. All is set for the transaction, not
// for the session. How a commit that is waited for does so is left to the database, which may have standbys to wait for; unless it would
// not wait for its own disk.
func beginnings(commits string) [2]string {
	const relaxed, durable = 0, 1
	begin := fmt.Sprintf("BEGIN; SET LOCAL idle_in_transaction_session_timeout = %d; SET LOCAL statement_timeout = %d; SET LOCAL lock_timeout = %d",
		idleTimeout.Milliseconds(), statementTimeout.Milliseconds(), lockTimeout.Milliseconds())
	both := [2]string{relaxed: begin + "; SET LOCAL synchronous_commit = off", durable: begin}
	if commits == "off" {
		both[durable] += "; SET LOCAL synchronous_commit = on"
	}
	return both
}

// Ready implements engine.Engine: the database says so itself.
func (*Engine) Ready() error { return nil }

// The tables by which the migrations are run. Others use goose too, so they have names of khook's.
const (
	versionTable = "khook_schema_version"
	lockTable    = "khook_schema_lock"
)

// Schema implements engine.Engine. The lock is a row, and not an advisory one, which poolers and some that speak PostgreSQL's protocol
// do not keep.
func (*Engine) Schema() engine.Schema {
	locker, err := lock.NewPostgresTableLocker(
		lock.WithTableName(lockTable),
		lock.WithTableLockTimeout(500*time.Millisecond, 600),
		lock.WithTableRetryPolicy(func(err error) bool { // what another process holds is no error of the database
			var refused *pgconn.PgError
			return !errors.As(err, &refused)
		}),
	)
	if err != nil {
		panic(err) // an option is wrong
	}
	return engine.Schema{Dialect: goose.DialectPostgres, Folder: "postgres", Options: []goose.ProviderOption{
		goose.WithTableName(versionTable), goose.WithLocker(locker),
	}}
}

// Remote implements engine.Engine.
func (*Engine) Remote() bool { return true }

// Begin implements engine.Engine.
func (e *Engine) Begin(waitForDisk bool) string {
	if waitForDisk {
		return e.begin[1]
	}
	return e.begin[0]
}

// Durability implements engine.Engine: Begin says it.
func (*Engine) Durability(bool) string { return "" }

// Shared implements engine.Engine.
func (*Engine) Shared() bool { return true }

// ForUpdate implements engine.Engine.
func (*Engine) ForUpdate() string { return " FOR UPDATE" }

// NoIndex implements engine.Engine: the planner knows how many rows there are of a value, and may choose.
func (*Engine) NoIndex(column string) string { return column }

// JoinInOrder implements engine.Engine: the planner may choose.
func (*Engine) JoinInOrder(left, right, on string) string {
	return left + " JOIN " + right + " ON " + on
}

// Size implements engine.Engine; the indexes are included, and the write-ahead log is not.
func (*Engine) Size(ctx context.Context, db *sql.DB) (int64, error) {
	var size int64
	err := db.QueryRowContext(ctx, "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class WHERE relkind = 'r' "+
		"AND relnamespace = to_regnamespace(quote_ident(current_schema()))").Scan(&size)
	if err != nil {
		return 0, fmt.Errorf("size of the history: %w", err)
	}
	return size, nil
}

// Disk implements engine.Engine: it is not known here.
func (*Engine) Disk() (size, free uint64, err error) { return 0, 0, nil }
