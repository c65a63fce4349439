package sqlite

import (
	"errors"
	"path/filepath"
	"sync/atomic"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store/engine"
)

var (
	errDamaged = errors.New("the file is damaged")
	errForeign = errors.New("the file is a database of another program")
	errMoved   = errors.New("the file was moved, deleted or replaced while khook had it open")
)

// adviceFor says what a person can do about the errors that SQLite has for the state of its file.
var adviceFor = map[int]string{
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

// faults are SQLite's errors for what a row says. A full disk, a lock, damage and the like are none: they pass, or a
// person ends them.
var faults = map[int]incident.Fault{
	sqlite3.SQLITE_CONSTRAINT: incident.BadConstraint,
	sqlite3.SQLITE_MISMATCH:   incident.BadEncoding,
	sqlite3.SQLITE_TOOBIG:     incident.BadSize,
}

// Advise implements engine.Engine.
func (e *Engine) Advise(err error, advice string) error {
	return &engine.StateError{Where: filepath.Clean(e.cfg.Path), Advice: advice, Err: err}
}

// Explain implements engine.Engine, and remembers a sign of damage.
func (e *Engine) Explain(err error) error {
	e.damage.note(err)
	var state *engine.StateError
	var row *engine.RowError
	if err == nil || errors.As(err, &state) || errors.As(err, &row) {
		return err
	}
	if what := adviceFor[code(err)]; what != "" {
		return e.Advise(err, what)
	}
	if fault := faults[code(err)]; fault != "" {
		return &engine.RowError{Fault: fault, Err: err}
	}
	switch {
	case errors.Is(err, errDamaged):
		return e.Advise(err, adviceFor[sqlite3.SQLITE_CORRUPT])
	case errors.Is(err, errMoved):
		return e.Advise(err, "what khook writes would be lost: put the file back, or restart khook to begin with what is there now")
	case errors.Is(err, errForeign):
		return e.Advise(err, "name another file (--database) or move this one away")
	}
	return err
}

// damage is the first sign that the file is damaged. It stays: what is written into such a file
// is lost with it, so nothing more is.
type damage struct{ first atomic.Pointer[error] }

func (d *damage) note(err error) {
	if c := code(err); c == sqlite3.SQLITE_CORRUPT || c == sqlite3.SQLITE_NOTADB {
		d.first.CompareAndSwap(nil, &err)
	}
}

func (d *damage) found() error {
	if err := d.first.Load(); err != nil {
		return *err
	}
	return nil
}

// Duplicate implements engine.Engine.
func (*Engine) Duplicate(err error) bool {
	var se *sqlite.Error
	return errors.As(err, &se) && (se.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || se.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
}

// busy says whether somebody else has the file locked.
func busy(err error) bool { return code(err) == sqlite3.SQLITE_BUSY }

// code is SQLite's primary result code of an error, without what extends it in the higher bits; SQLITE_OK, which is 0, if it
// is none of SQLite's.
func code(err error) int {
	var se *sqlite.Error
	if !errors.As(err, &se) {
		return sqlite3.SQLITE_OK
	}
	return se.Code() & 0xff
}
