// Package engine says what the history needs of a database engine: to open it, to know how it is, and to put its
// errors into words. It is the seam between package store, which has the schema and the queries, and the engines, each
// in a folder of its own beside this one.
//
// An engine knows no table and no query but the catalog's: what khook keeps is for store alone.
package engine

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/pressly/goose/v3"

	"github.com/kagent-dev/khook/internal/incident"
)

// Engine is the database that one history is in.
type Engine interface {
	// OpenWriter opens the handle of the one writer, with one connection, and checks what is there: it must be a
	// history of khook or nothing, and not damaged.
	OpenWriter(ctx context.Context) (*sql.DB, error)
	// OpenReader opens a handle that can't write, with a number of connections.
	OpenReader(ctx context.Context, connections int) (*sql.DB, error)
	// Ready returns why nothing may be written now: what was opened is not there any more, or is damaged. It is asked
	// before each transaction, after both handles are open, and costs little.
	Ready() error

	// Schema says which migrations make the schema, and how they are run.
	Schema() Schema
	// Bind writes a query's placeholders, which are question marks in store, as the engine has them. No query has a
	// question mark for anything else.
	Bind(query string) string
	// Remote says whether the database is another process: then a connection to it can break, and with it the answer to a
	// commit, so that the store has to open a new one and to ask there what became of the commit.
	Remote() bool
	// Begin is the statement that begins a transaction which is to write, and whose commit is to wait for the disk, or not.
	Begin(waitForDisk bool) string
	// Durability is the statement that makes the commits of a connection wait for the disk, or not; empty where Begin says it.
	Durability(waitForDisk bool) string
	// ForUpdate follows a SELECT in a transaction that is to write, so that its rows are locked until the transaction ends, and are read
	// as who had them locked before has left them; empty where such a transaction has everything locked.
	ForUpdate() string
	// NoIndex writes a column so that no index of its own is used for it.
	NoIndex(column string) string
	// Shared says whether khooks of several clusters may keep their histories in the database.
	Shared() bool
	// JoinInOrder joins two tables on a condition, so that the left one leads the search.
	JoinInOrder(left, right, on string) string

	// Size is how many bytes the history takes on the disk, as seen through a handle.
	Size(ctx context.Context, db *sql.DB) (int64, error)
	// Disk is the size of the file system that the history is on and how much of it khook may still fill, in bytes;
	// both are 0 where there is none, or it is not known.
	Disk() (size, free uint64, err error)

	// Explain says what an error of the engine is about: a StateError if it is the state of the database, with what a
	// person can do; a RowError if a row is at fault. What the engine doesn't know it returns as it is: to take an
	// outage for the fault of a row would put aside what could be written later.
	Explain(err error) error
	// Advise makes a StateError of an error that store found itself.
	Advise(err error, advice string) error
	// Duplicate says whether a row could not be written because its key is there already.
	Duplicate(err error) bool
}

// Schema is what makes the tables of a history.
type Schema struct {
	Dialect goose.Dialect
	// Folder of the migrations, within store's.
	Folder string
	// Options let one process at a time migrate, where the database does not see to that by itself.
	Options []goose.ProviderOption
}

// StateError is an error about the state of the database, and not about what was asked of it.
type StateError struct {
	Where  string // such as the path of the file
	Advice string // what a person can do
	Err    error
}

// Error says where, what to do and what it was.
func (e *StateError) Error() string {
	return fmt.Sprintf("history %s: %s (%v)", e.Where, e.Advice, e.Err)
}

// Unwrap returns the cause.
func (e *StateError) Unwrap() error { return e.Err }

// RowError is an error about what a row says: the write fails again however often it is tried.
type RowError struct {
	Fault incident.Fault
	Err   error
}

// Error is that of the cause.
func (e *RowError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *RowError) Unwrap() error { return e.Err }
