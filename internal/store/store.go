// Package store keeps khook's history in SQL: events, incidents, deliveries, dispositions, the change log and the
// counters. It has the schema, the queries and the rows; how a database is opened and what its errors mean is the
// engine's (engine, sqlite). The SQL is what SQLite and PostgreSQL 15 both take, but for what engine.Engine names; it is
// tested on SQLite only. storetest.Conformance says what a history on any engine must do.
//
// Store is for khook itself, Reader for people: each reads on a handle of its own, so that no question of people makes
// khook wait; but for Reader.Check and Reader.ProbeWrite, which write, as that is what they are about. The types keep them
// apart. Invariants:
//
//   - There is one writer, and one transaction at a time, in the order of the calls. What Write returned without an
//     error is on the disk; an error means that nothing of it is recorded.
//   - A store that led and does not any more writes nothing (Lead): its term is a fencing token.
//   - A delivery is overwritten only by who read its newest version (optimistic concurrency).
//   - The change log has each change once, with numbers that grow in the order of the commits; the counters change in
//     the transaction of what they count.
//
// It decides nothing about incidents or deliveries.
package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync/atomic"
	"time"

	"github.com/pressly/goose/v3"
	"k8s.io/utils/clock"

	"github.com/kagent-dev/khook/internal/store/engine"
	"github.com/kagent-dev/khook/internal/store/sqlite"
)

//go:embed migrations/*.sql migrations/postgres/*.sql
var migrations embed.FS

// Config holds the store's settings.
type Config struct {
	// Engine is the database that the history is in; SQLite with Path and CacheBytes if nil. A store needs one of its
	// own: it keeps what is open, and whether it is damaged.
	Engine engine.Engine
	// Path of the SQLite file, made if it is missing; ":memory:" for a private store that ends
	// with the process. Unused with Engine.
	Path string
	// Cluster is the name of the cluster whose history this process writes; may be empty. ClusterUID is what the cluster is known by whatever its
	// name is; empty if that is not known.
	Cluster, ClusterUID string
	// Replica is the name of this process among those that have the history open.
	Replica string
	// Visit opens the history of a cluster that is there already, and changes nothing about it: the one with the name Cluster, or the only one
	// if that is empty. It is for commands that are run beside khook.
	Visit bool
	// overview opens a database for what is about all clusters: none is entered, and none is made.
	overview bool
	// Clock tells when a change was made; the real one if nil.
	Clock clock.PassiveClock
	// Committing is told of each commit that changes the history, right before it and right after it
	// is done, for tests that stop the process there; nil for nobody.
	Committing func(Commit)
	// CacheBytes is how large the page cache of each of the connections (one to write, and up to
	// readers twice) may be; 16 MB if 0. It is outside of Go's memory. Unused with Engine.
	CacheBytes int64
}

// Store is an open history, for khook itself.
type Store struct {
	reads // on khook's own handle

	cfg    Config
	engine engine.Engine
	write  *sql.DB
	core   *coreHandle
	people *Reader
	term   atomic.Int64 // the fencing token of this leader; 0 if it is none

	// reached is the newest number of the change sequence that this leader has committed. A database that has less has lost it.
	reached atomic.Int64

	turn     chan struct{} // holds one token while somebody writes; guards what follows
	conn     *sql.Conn     // the writer's one connection; nil if it broke and there is no other one yet
	stmts    map[string]*sql.Stmt
	sync     durability // of the connection now
	failed   error      // of the newest write, about the state of the database
	failedAt time.Time
	marks    marks

	pace pace
}

// Reader is an open history for people: what they ask runs on connections of its own, a few at a time, first come
// first served.
type Reader struct {
	reads

	store *Store
	api   *apiHandle
}

// readers is how many reads run at the same time: so many of khook's, and so many of people.
const readers = 4

// Open opens the history, checks it and brings its schema up to date. The error says what to do
// about a file that is locked, damaged, no database, not writable, or written by a newer khook.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	if cfg.Engine == nil {
		cfg.Engine = sqlite.New(sqlite.Config{Path: cfg.Path, CacheBytes: cfg.CacheBytes})
	}
	s := &Store{cfg: cfg, engine: cfg.Engine, turn: make(chan struct{}, 1)}
	if err := s.open(ctx); err != nil {
		_ = s.Close()
		return nil, s.engine.Explain(err)
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) (err error) {
	if s.write, err = s.engine.OpenWriter(ctx); err != nil {
		return err
	}
	if err := s.migrate(ctx); err != nil {
		return err
	}
	if err := s.connect(ctx); err != nil {
		return err
	}
	cluster, err := s.findCluster(ctx)
	if err != nil {
		return err
	}
	own, err := s.engine.OpenReader(ctx, readers)
	if err != nil {
		return err
	}
	s.core = &coreHandle{db: own, store: s, cluster: cluster}
	s.reads = reads{s.core, s.engine, cluster}
	others, err := s.engine.OpenReader(ctx, readers)
	if err != nil {
		return err
	}
	api := &apiHandle{db: others, slots: make(chan struct{}, readers), store: s, cluster: cluster}
	s.people = &Reader{reads: reads{api, s.engine, cluster}, store: s, api: api}
	return nil
}

// Reader is the history for people.
func (s *Store) Reader() *Reader { return s.people }

// Check is Store.Check, for the health.
func (r *Reader) Check(ctx context.Context) error { return r.store.Check(ctx) }

// Size is how many bytes the history takes on the disk.
func (r *Reader) Size(ctx context.Context) (int64, error) {
	return r.store.engine.Size(ctx, r.api.db)
}

// ProbeWrite runs a transaction that writes nothing, to see how long one takes.
func (r *Reader) ProbeWrite(ctx context.Context) error {
	return r.store.Write(ctx, func(*Tx) error { return nil })
}

// explain says what to do about an error of the database.
func (s *Store) explain(err error) error { return s.engine.Explain(err) }

// migrator runs the migrations of an engine on a handle.
func migrator(e engine.Engine, db *sql.DB) (*goose.Provider, error) {
	schema := e.Schema()
	files, err := fs.Sub(migrations, path.Join("migrations", schema.Folder))
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(schema.Dialect, db, files, schema.Options...)
}

func (s *Store) migrate(ctx context.Context) error {
	provider, err := migrator(s.engine, s.write)
	if err != nil {
		return err
	}
	have, newest, err := provider.GetVersions(ctx)
	if err != nil {
		return err
	}
	if have > newest {
		return s.engine.Advise(fmt.Errorf("%w: its schema is %d, this khook knows %d", errNewer, have, newest), "use that version, or another file (--database)")
	}
	for have < newest {
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
	return nil
}

// Close closes the store, when the write under way is finished.
func (s *Store) Close() error {
	s.turn <- struct{}{}
	defer s.unlock()
	var errs []error
	errs = append(errs, s.disconnect())
	s.stmts = nil
	if s.people != nil {
		errs = append(errs, s.people.api.db.Close())
	}
	if s.core != nil {
		errs = append(errs, s.core.stmts.close(), s.core.db.Close())
	}
	if s.write != nil {
		errs = append(errs, s.write.Close())
	}
	return errors.Join(errs...)
}

// Size is how many bytes the history takes on the disk, what is written ahead included.
func (s *Store) Size(ctx context.Context) (int64, error) { return s.engine.Size(ctx, s.core.db) }

// Disk is the size of the file system that the history is on, and how much of it khook may still
// fill, in bytes. A history in memory has none: both are 0.
func (s *Store) Disk() (size, free uint64, err error) { return s.engine.Disk() }
