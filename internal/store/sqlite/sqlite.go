// Package sqlite is the engine that keeps a history in one file: how the file is opened, checked and measured, and what
// to do about SQLite's errors. It knows no table of khook's.
//
// Invariant: nothing is written into a file that is damaged, or that is not where it was opened any more: it would be
// lost with the file, while khook goes on as if it were kept.
package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"time"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/kagent-dev/khook/internal/store/engine"
)

// Config holds the settings of an Engine.
type Config struct {
	// Path of the file, made if it is missing; ":memory:" for a private history that ends with the process.
	Path string
	// CacheBytes is how large the page cache of each connection may be; 16 MB if 0. It is outside of Go's memory.
	CacheBytes int64
}

// Engine implements engine.Engine.
type Engine struct {
	cfg    Config
	memory bool
	file   os.FileInfo // as it was opened; nil in memory
	damage damage
}

// New returns an engine that has nothing open.
func New(cfg Config) *Engine { return &Engine{cfg: cfg, memory: cfg.Path == ":memory:"} }

// busyTimeout is how long a write waits for another process that has the file locked.
const busyTimeout = 5 * time.Second

// openAgain is about how long a process that was refused a new file at once waits until it opens the file again.
const openAgain = 20 * time.Millisecond

// OpenWriter implements engine.Engine.
func (e *Engine) OpenWriter(ctx context.Context) (*sql.DB, error) {
	if e.cfg.Path == "" {
		return nil, errors.New("the history needs a file")
	}
	return e.open(ctx, false, func(db *sql.DB) error {
		db.SetMaxOpenConns(1)
		return e.checkFile(ctx, db)
	})
}

// OpenReader implements engine.Engine.
func (e *Engine) OpenReader(ctx context.Context, connections int) (*sql.DB, error) {
	return e.open(ctx, true, func(db *sql.DB) (err error) {
		db.SetMaxOpenConns(connections)
		db.SetMaxIdleConns(connections)
		if err = db.PingContext(ctx); err == nil && !e.memory && e.file == nil { // it is there now, and nothing was written yet but the schema
			e.file, err = os.Stat(e.cfg.Path)
		}
		return err
	})
}

// open opens a handle that begins with first. Two processes that open a new file at the same time both want to make its
// journal a write-ahead log. Where they would wait for each other, SQLite refuses one of them at once, whatever
// busyTimeout says; that one begins again until the timeout is over.
func (e *Engine) open(ctx context.Context, readOnly bool, first func(*sql.DB) error) (*sql.DB, error) {
	for until := time.Now().Add(busyTimeout); ; {
		db, err := sql.Open("sqlite", e.dsn(readOnly))
		if err != nil {
			return nil, err
		}
		if err = first(db); err == nil {
			return db, nil
		}
		err = errors.Join(err, db.Close())
		if !busy(err) || time.Now().After(until) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		case <-time.After(openAgain/2 + rand.N(openAgain)): //nolint:gosec // only to spread
		}
	}
}

// dsn is the data source. Connections start with synchronous=FULL; see Durability.
func (e *Engine) dsn(readOnly bool) string {
	pragmas := []string{
		fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()),
		"journal_mode(WAL)", "synchronous(FULL)", "temp_store(MEMORY)",
		fmt.Sprintf("cache_size(-%d)", max(64, cmp.Or(e.cfg.CacheBytes, 16_000<<10)>>10)), "journal_size_limit(67108864)", "wal_autocheckpoint(4000)",
	}
	q := url.Values{}
	if readOnly {
		pragmas = append(pragmas, "query_only(true)")
	} else {
		q.Set("_txlock", "immediate")
	}
	q["_pragma"] = pragmas
	if e.memory {
		return fmt.Sprintf("file:/khook-%p?vfs=memdb&", e) + q.Encode()
	}
	return "file:" + (&url.URL{Path: e.cfg.Path}).EscapedPath() + "?" + q.Encode()
}

// Schema implements engine.Engine. Each migration is a transaction, for which another process waits.
func (*Engine) Schema() engine.Schema {
	return engine.Schema{Dialect: goose.DialectSQLite3, Folder: "."}
}

// Bind implements engine.Engine: SQLite takes question marks.
func (*Engine) Bind(query string) string { return query }

// Begin implements engine.Engine. An immediate transaction takes the lock at once, so that it can't fail halfway because
// another process has it.
func (*Engine) Begin(bool) string { return "BEGIN IMMEDIATE" }

// Remote implements engine.Engine.
func (*Engine) Remote() bool { return false }

// Durability implements engine.Engine. Without the wait a commit is with the kernel: it survives the process, and a
// power failure only after the next one that waited.
func (*Engine) Durability(waitForDisk bool) string {
	if waitForDisk {
		return "PRAGMA synchronous = FULL"
	}
	return "PRAGMA synchronous = NORMAL"
}

// ForUpdate implements engine.Engine: a transaction that writes is the only one.
func (*Engine) ForUpdate() string { return "" }

// NoIndex implements engine.Engine: an expression uses no index of the column.
func (*Engine) NoIndex(column string) string { return "+" + column }

// Shared implements engine.Engine: a file is of one khook.
func (*Engine) Shared() bool { return false }

// JoinInOrder implements engine.Engine: SQLite does not reorder a CROSS JOIN.
func (*Engine) JoinInOrder(left, right, on string) string {
	return left + " CROSS JOIN " + right + " ON " + on
}

// Size implements engine.Engine; the write-ahead log is included.
func (e *Engine) Size(ctx context.Context, db *sql.DB) (int64, error) {
	var size int64
	if e.memory {
		err := db.QueryRowContext(ctx, "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()").Scan(&size)
		return size, err
	}
	for _, suffix := range []string{"", "-wal"} {
		info, err := os.Stat(e.cfg.Path + suffix)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("size of the history: %w", err)
		}
		size += info.Size()
	}
	return size, nil
}
