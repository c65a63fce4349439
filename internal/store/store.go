// Package store keeps khook's history in SQL: events, incidents, deliveries, dispositions, the
// change log and the counters. SQLite is the engine; the schema and the queries are plain SQL
// that PostgreSQL takes as well.
//
// There is one writer: a transaction at a time, as Write runs them. Reads go through handles of
// their own and never wait for it.
package store

import (
	"cmp"
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"github.com/pressly/goose/v3"
	"k8s.io/utils/clock"
	_ "modernc.org/sqlite" // the driver "sqlite"
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
	// Clock tells when a change was made; the real one if nil.
	Clock clock.PassiveClock
	// Committing is told of each commit that changes the history, right before it and right after it
	// is done, for tests that stop the process there; nil for nobody.
	Committing func(Commit)
	// CacheBytes is how large the page cache of each of the connections (one to write, and up to
	// readers twice) may be; 16 MB if 0. It is outside of Go's memory.
	CacheBytes int64
}

// Store is an open history.
type Store struct {
	cfg     Config
	memory  bool
	file    os.FileInfo // as it was opened; nil in memory
	write   *sql.DB
	read    *sql.DB
	queries *sql.DB       // reads of people, so that khook's own never wait for them
	turns   chan struct{} // holds a token for each of queries' handles that is in use
	reads   prepared      // statements of read
	damage  damage
	term    atomic.Int64 // of this leader; 0 if it is none

	turn     chan struct{} // holds one token while somebody writes; guards what follows
	conn     *sql.Conn     // the writer's one connection
	stmts    map[string]*sql.Stmt
	sync     synchrony // of the connection now
	failed   error     // of the newest write, about the state of the file
	failedAt time.Time
}

// readers is how many reads run at the same time.
const readers = 4

// busyTimeout is how long a write waits for another process that has the file locked.
const busyTimeout = 5 * time.Second

// Open opens the history, checks it and brings its schema up to date. The error says what to do
// about a file that is locked, damaged, no database, not writable, or written by a newer khook.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	s := &Store{cfg: cfg, memory: cfg.Path == ":memory:", turn: make(chan struct{}, 1), turns: make(chan struct{}, readers)}
	if err := s.open(ctx); err != nil {
		_ = s.Close()
		return nil, explain(cfg.Path, err)
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) (err error) {
	if s.cfg.Path == "" {
		return errors.New("the history needs a file")
	}
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
	for _, db := range []**sql.DB{&s.read, &s.queries} {
		if *db, err = s.readHandle(ctx); err != nil {
			return err
		}
	}
	if !s.memory {
		if s.file, err = os.Stat(s.cfg.Path); err != nil {
			return err
		}
	}
	s.conn, err = s.write.Conn(ctx)
	s.stmts = map[string]*sql.Stmt{}
	return err
}

func (s *Store) readHandle(ctx context.Context) (*sql.DB, error) {
	db, err := sql.Open("sqlite", s.dsn(true))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(readers)
	db.SetMaxIdleConns(readers)
	return db, db.PingContext(ctx)
}

// dsn is the data source. Connections start with synchronous=FULL; see Write and WriteSoon.
func (s *Store) dsn(readOnly bool) string {
	pragmas := []string{
		fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()),
		"journal_mode(WAL)", "synchronous(FULL)", "temp_store(MEMORY)",
		fmt.Sprintf("cache_size(-%d)", max(64, cmp.Or(s.cfg.CacheBytes, 16_000<<10)>>10)), "journal_size_limit(67108864)", "wal_autocheckpoint(4000)",
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

// wholeCheck is the size in bytes of the largest file that is looked through as a whole when it is
// opened, which takes some seconds.
const wholeCheck = 1 << 30

// checks are the pragmas that look for damage in a file of a size in bytes. Of a large one they
// look through what khook goes on from; damage in the rest is found when it is read.
func checks(size int64) []string {
	if size <= wholeCheck {
		return []string{"quick_check(1)"}
	}
	return []string{"quick_check(meta)", "quick_check(deliveries)", "quick_check(incidents)"}
}

// quickCheck finds damage before anything is built on it.
func (s *Store) quickCheck(ctx context.Context) error {
	var tables int
	if err := s.write.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_master").Scan(&tables); err != nil || tables == 0 {
		return err
	}
	size, err := s.Size(ctx)
	if err != nil {
		return err
	}
	for _, check := range checks(size) {
		var verdict string
		if err := s.write.QueryRowContext(ctx, "PRAGMA "+check).Scan(&verdict); err != nil {
			return err
		}
		if verdict != "ok" {
			return fmt.Errorf("%w: %s", errDamaged, verdict)
		}
	}
	return nil
}

func (s *Store) migrate(ctx context.Context) error {
	if err := s.ownFile(ctx); err != nil {
		return err
	}
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
	for {
		if _, err = provider.Up(ctx); err == nil {
			return nil
		}
		was := have
		var unknown error
		if have, _, unknown = provider.GetVersions(ctx); unknown != nil || have == was {
			return err
		}
		if have == newest {
			return nil // another process did it at the same time
		} // or is about to: one step of it failed here because it was done there
	}
}

// ownFile refuses a database of another program, before khook's tables get into it.
func (s *Store) ownFile(ctx context.Context) error {
	var tables, ours int
	err := s.write.QueryRowContext(ctx, "SELECT count(*), coalesce(sum(name = 'goose_db_version'), 0) FROM sqlite_master "+
		"WHERE type = 'table'").Scan(&tables, &ours)
	if err == nil && tables > 0 && ours == 0 {
		err = errForeign
	}
	return err
}

// Close closes the store, when the write under way is finished.
func (s *Store) Close() error {
	s.turn <- struct{}{}
	defer s.unlock()
	var errs []error
	for _, st := range s.stmts {
		errs = append(errs, st.Close())
	}
	errs = append(errs, s.reads.close())
	if s.conn != nil {
		errs = append(errs, s.conn.Close())
	}
	s.stmts, s.conn = nil, nil
	for _, db := range []*sql.DB{s.queries, s.read, s.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
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
