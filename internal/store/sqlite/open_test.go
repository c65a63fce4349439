package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"testing"
)

// locked returns the error of SQLite about a file that somebody else is writing.
func locked(t *testing.T) error {
	t.Helper()
	file := "file:" + filepath.Join(t.TempDir(), "locked.db") + "?_txlock=immediate"
	var handles [2]*sql.DB
	for i := range handles {
		db, err := sql.Open("sqlite", file)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		handles[i] = db
	}
	tx, err := handles[0].BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback() //nolint:errcheck // only the lock is wanted
	_, err = handles[1].BeginTx(t.Context(), nil)
	if !busy(err) {
		t.Fatalf("not locked: %v", err)
	}
	return err
}

func TestAFileThatIsBusyForAMomentIsOpenedAgain(t *testing.T) {
	refusal, tries := locked(t), 0
	e := New(Config{Path: filepath.Join(t.TempDir(), "khook.db")})
	db, err := e.open(t.Context(), false, func(db *sql.DB) error {
		if tries++; tries < 3 {
			return refusal
		}
		return db.PingContext(t.Context())
	})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if tries != 3 {
		t.Errorf("opened %d times", tries)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := e.open(ctx, false, func(*sql.DB) error { return refusal }); !errors.Is(err, context.Canceled) || !busy(err) {
		t.Errorf("after the end: %v", err)
	}
}
