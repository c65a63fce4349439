// Package store keeps khook's history in SQL: events, incidents, deliveries, dispositions, the
// change log and the counters. SQLite is the engine; the schema and the queries are plain SQL
// that PostgreSQL takes as well.
//
// There is one writer: a transaction at a time, as Write runs them. Reads go through handles of
// their own and never wait for it.
package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/pressly/goose/v3"
	sqlite "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

//go:embed migrations/*.sql
var migrations embed.FS

// ErrNotFound is returned for an ID that the store has no row for.
var ErrNotFound = errors.New("not found")

// Config holds the store's settings.
type Config struct {
	// Path of the SQLite file, made if it is missing; ":memory:" for a private store that ends
	// with the process.
	Path string
	// Cluster is the name of the cluster whose history this process writes; may be empty.
	Cluster string
}

// Store is an open history.
type Store struct {
	cfg     Config
	memory  bool
	write   *sql.DB
	read    *sql.DB
	writing sync.Mutex // guards what follows
	conn    *sql.Conn  // the writer's one connection
	stmts   map[string]*sql.Stmt
	sync    synchrony // of the connection now
}

// readers is how many reads run at the same time.
const readers = 4

// busyTimeout is how long a write waits for another process that has the file locked.
const busyTimeout = 5 * time.Second

// Open opens the history, checks it and brings its schema up to date. The error says what to do
// about a file that is locked, damaged, no database, not writable, or written by a newer khook.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	s := &Store{cfg: cfg, memory: cfg.Path == ":memory:"}
	if err := s.open(ctx); err != nil {
		_ = s.Close()
		return nil, explain(cfg.Path, err)
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) (err error) {
	if s.write, err = sql.Open("sqlite", s.dsn(false)); err != nil {
		return err
	}
	s.write.SetMaxOpenConns(1)
	if err := s.write.PingContext(ctx); err != nil {
		return err
	}
	if err := s.quickCheck(ctx); err != nil {
		return err
	}
	if err := s.migrate(ctx); err != nil {
		return err
	}
	if s.read, err = sql.Open("sqlite", s.dsn(true)); err != nil {
		return err
	}
	s.read.SetMaxOpenConns(readers)
	s.read.SetMaxIdleConns(readers)
	if err := s.read.PingContext(ctx); err != nil {
		return err
	}
	s.conn, err = s.write.Conn(ctx)
	s.stmts = map[string]*sql.Stmt{}
	return err
}

// dsn is the data source. Connections start with synchronous=FULL; see Write and WriteSoon.
func (s *Store) dsn(readOnly bool) string {
	pragmas := []string{
		fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()),
		"journal_mode(WAL)", "synchronous(FULL)", "temp_store(MEMORY)",
		"cache_size(-16000)", "journal_size_limit(67108864)", "wal_autocheckpoint(2000)",
	}
	q := url.Values{}
	if readOnly {
		pragmas = append(pragmas, "query_only(true)")
	} else {
		q.Set("_txlock", "immediate")
	}
	q["_pragma"] = pragmas
	if s.memory {
		return fmt.Sprintf("file:/khook-%p?vfs=memdb&", s) + q.Encode()
	}
	return "file:" + (&url.URL{Path: s.cfg.Path}).EscapedPath() + "?" + q.Encode()
}

// quickCheck finds damage before anything is built on it.
func (s *Store) quickCheck(ctx context.Context) error {
	var verdict string
	if err := s.write.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return err
	}
	if verdict != "ok" {
		return fmt.Errorf("%w: %s", errDamaged, verdict)
	}
	return nil
}

func (s *Store) migrate(ctx context.Context) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, s.write, files)
	if err != nil {
		return err
	}
	have, newest, err := provider.GetVersions(ctx)
	if err != nil {
		return err
	}
	if have > newest {
		return fmt.Errorf("%w: its schema is %d, this khook knows %d", errNewer, have, newest)
	}
	_, err = provider.Up(ctx)
	return err
}

// Close closes the store. Writes under way are finished first.
func (s *Store) Close() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	var errs []error
	for _, st := range s.stmts {
		errs = append(errs, st.Close())
	}
	s.stmts = nil
	if s.conn != nil {
		errs = append(errs, s.conn.Close())
	}
	for _, db := range []*sql.DB{s.read, s.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// Check proves that the history can be written; the error says what to do.
func (s *Store) Check(ctx context.Context) error {
	err := s.Write(ctx, func(tx *Tx) error {
		_, err := tx.exec(ctx, "INSERT INTO meta (name, value) VALUES ('checked', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
			time.Now().UnixMicro())
		return err
	})
	return explain(s.cfg.Path, err)
}

// Size is how many bytes the history takes on the disk, the write-ahead log included.
func (s *Store) Size(ctx context.Context) (int64, error) {
	if s.memory {
		var size int64
		err := s.read.QueryRowContext(ctx, "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()").Scan(&size)
		return size, err
	}
	var size int64
	for _, suffix := range []string{"", "-wal"} {
		info, err := os.Stat(s.cfg.Path + suffix)
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

// Write runs do in one transaction, which is committed if do returns nil and rolled back as a
// whole if not. One runs at a time; do must not call Write. When it returns, the commit is on the
// disk, and with it all earlier ones: not even a power failure takes it back.
func (s *Store) Write(ctx context.Context, do func(*Tx) error) error {
	return s.commit(ctx, full, do)
}

// WriteSoon is Write for what could be found out again: the commit survives the end of the process
// at once, but a power failure only when the next Write or checkpoint has put it on the disk. It
// saves the wait for the disk, which is most of a small commit's time.
func (s *Store) WriteSoon(ctx context.Context, do func(*Tx) error) error {
	return s.commit(ctx, normal, do)
}

// synchrony is how much of a commit is waited for.
type synchrony string

const (
	full   synchrony = "FULL"   // the write-ahead log is on the disk
	normal synchrony = "NORMAL" // it is with the kernel
)

func (s *Store) commit(ctx context.Context, sync synchrony, do func(*Tx) error) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	started := time.Now()
	err := s.transact(ctx, sync, do)
	writeSeconds.Observe(time.Since(started).Seconds())
	if err != nil {
		writeErrors.Inc()
		return explain(s.cfg.Path, err)
	}
	return nil
}

// transact begins and ends the transaction by hand, on the one connection of the writer: so its
// statements stay prepared from one transaction to the next.
func (s *Store) transact(ctx context.Context, sync synchrony, do func(*Tx) error) (err error) {
	if s.stmts == nil {
		return errors.New("the history is closed")
	}
	if sync != s.sync {
		if _, err := s.conn.ExecContext(ctx, "PRAGMA synchronous = "+string(sync)); err != nil {
			return err
		}
		s.sync = sync
	}
	if _, err := s.conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_, _ = s.conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK") // after a failed COMMIT there may be none
		}
	}()
	tx := &Tx{store: s}
	if err := tx.begin(ctx); err != nil {
		return err
	}
	if err := do(tx); err != nil {
		return err
	}
	if err := tx.finish(ctx); err != nil {
		return err
	}
	_, err = s.conn.ExecContext(ctx, "COMMIT")
	return err
}

var (
	errDamaged = errors.New("the file is damaged")
	errNewer   = errors.New("the file was written by a newer khook")
)

// advice says what a person can do about the errors that SQLite has for the state of its file.
var advice = map[int]string{
	sqlite3.SQLITE_BUSY:     "another process has it locked: stop the other khook, or give this one a file of its own (--database)",
	sqlite3.SQLITE_LOCKED:   "another process has it locked: stop the other khook, or give this one a file of its own (--database)",
	sqlite3.SQLITE_FULL:     "the disk is full: make room or give it a larger volume; what is not written yet is kept and tried again",
	sqlite3.SQLITE_IOERR:    "the disk can't be read or written: look at the volume and at the kernel's log",
	sqlite3.SQLITE_CORRUPT:  "the file is damaged: move it away (khook then starts a new history) or put a backup in its place",
	sqlite3.SQLITE_NOTADB:   "the file is no SQLite database: name another one (--database) or move this one away",
	sqlite3.SQLITE_READONLY: "the file or its folder can't be written: give khook the right to write it",
	sqlite3.SQLITE_CANTOPEN: "the file can't be opened: its folder must exist and khook must have the right to write in it",
	sqlite3.SQLITE_PERM:     "the file can't be opened: khook must have the right to write it",
}

// explain adds the file and what to do to an error about the file.
func explain(path string, err error) error {
	var told *fileError
	if err == nil || errors.As(err, &told) {
		return err
	}
	var se *sqlite.Error
	switch {
	case errors.As(err, &se):
		if what := advice[se.Code()&0xff]; what != "" {
			return &fileError{path, what, err}
		}
	case errors.Is(err, errDamaged):
		return &fileError{path, advice[sqlite3.SQLITE_CORRUPT], err}
	case errors.Is(err, errNewer):
		return &fileError{path, "use that version, or another file (--database)", err}
	}
	return err
}

// fileError is an error about the state of the file.
type fileError struct {
	path, advice string
	err          error
}

func (e *fileError) Error() string {
	return fmt.Sprintf("history %s: %s (%v)", filepath.Clean(e.path), e.advice, e.err)
}

func (e *fileError) Unwrap() error { return e.err }
