package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"

	sqlite "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

var (
	errDamaged = errors.New("the file is damaged")
	errNewer   = errors.New("the file was written by a newer khook")
	errForeign = errors.New("the file is a database of another program")
	errClosed  = errors.New("the history is closed")
	errMoved   = errors.New("the file was moved, deleted or replaced while khook had it open")
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
	case errors.Is(err, errMoved):
		return &fileError{path, "what khook writes would be lost: put the file back, or restart khook to begin with what is there now", err}
	case errors.Is(err, errForeign):
		return &fileError{path, "name another file (--database) or move this one away", err}
	case errors.Is(err, errNewer):
		return &fileError{path, "use that version, or another file (--database)", err}
	}
	return err
}

// damage is the first sign that the file is damaged. It stays: what is written into such a file
// is lost with it, so nothing more is.
type damage struct{ first atomic.Pointer[error] }

func (d *damage) note(err error) {
	var se *sqlite.Error
	if errors.As(err, &se) && (se.Code()&0xff == sqlite3.SQLITE_CORRUPT || se.Code()&0xff == sqlite3.SQLITE_NOTADB) {
		d.first.CompareAndSwap(nil, &err)
	}
}

func (d *damage) found() error {
	if err := d.first.Load(); err != nil {
		return *err
	}
	return nil
}

// explain is explain for an error about the store's own file.
func (s *Store) explain(err error) error {
	s.damage.note(err)
	return explain(s.cfg.Path, err)
}

// isDuplicate says whether a row could not be written because its key is there already.
func isDuplicate(err error) bool {
	var se *sqlite.Error
	return errors.As(err, &se) && (se.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || se.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
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
