package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
	"github.com/kagent-dev/khook/internal/store/sqlite"
)

func newPath(t testing.TB) string { return filepath.Join(t.TempDir(), "khook.db") }

func says(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("it says %v, want %q", err, want)
	}
}

func TestAnErrorMeansThatNothingIsRecordedAndNoErrorThatAllIs(t *testing.T) {
	st := openStore(t, newPath(t))
	done := 0
	for i := range 400 {
		ctx, cancel := context.WithCancel(t.Context())
		timer := time.AfterFunc(time.Duration(rand.IntN(1500))*time.Microsecond, cancel)
		key := fmt.Sprintf("k%d", i)
		err := save(ctx, st, key)
		timer.Stop()
		cancel()
		_, found := st.Incident(t.Context(), incident.DeriveID("incident", "", key))
		if (err == nil) != (found == nil) {
			t.Fatalf("%s: writing it says %v, reading it says %v", key, err, found)
		}
		if err != nil {
			err = save(t.Context(), st, key)
		}
		if err != nil {
			t.Fatalf("the write after one that was canceled: %v", err)
		}
		done++
	}
	if n := count(t, st, "events"); n != done {
		t.Errorf("%d events, %d were acknowledged", n, done)
	}
}

func TestAPanicInAWriteRollsItBackAndTheNextOneGoesOn(t *testing.T) {
	st := openStore(t, newPath(t))
	func() {
		defer func() { _ = recover() }()
		_ = st.Write(t.Context(), func(tx *Tx) error {
			if _, err := tx.exec(t.Context(), "INSERT INTO notifiers (cluster, name, seq) VALUES (:cluster, 'half', 1)"); err != nil {
				t.Error(err)
			}
			panic("a bug")
		})
	}()
	if err := save(t.Context(), st, "k"); err != nil {
		t.Errorf("after the panic: %v", err)
	}
	if n := count(t, st, "notifiers WHERE name = 'half'"); n != 0 {
		t.Error("half of the write that panicked is there")
	}
}

func TestAWriteWhoseStatementFailedIsNotCommittedThoughTheErrorWasIgnored(t *testing.T) {
	st := openStore(t, newPath(t))
	err := st.Write(t.Context(), func(tx *Tx) error {
		_, _ = tx.exec(t.Context(), "INSERT INTO notifiers (cluster, name, seq) VALUES (:cluster, 'before', 1)")
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		_, _ = tx.exec(canceled, "INSERT INTO notifiers (cluster, name, seq) VALUES (:cluster, 'failed', 1)")
		if _, err := st.conn.ExecContext(t.Context(), "ROLLBACK"); err != nil { // as SQLite does by itself on some errors
			t.Error(err)
		}
		_, _ = tx.exec(t.Context(), "INSERT INTO notifiers (cluster, name, seq) VALUES (:cluster, 'after', 1)")
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("it says %v", err)
	}
	if n := count(t, st, "notifiers WHERE name IN ('before', 'failed', 'after')"); n != 0 {
		t.Errorf("%d of its rows are there", n)
	}
}

func TestNobodyWaitsForTheWriterLongerThanTheContextLets(t *testing.T) {
	st := openStore(t, newPath(t))
	err := st.Write(t.Context(), func(*Tx) error {
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		err := st.Check(canceled)
		says(t, err, "wait for earlier writes")
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("it says %v", err)
	}
}

func TestReadinessGoesOnTellingOfAWriteThatFailed(t *testing.T) {
	pgtest.OnlySQLite(t)
	clock := clocktesting.NewFakePassiveClock(time.Date(2026, 1, 15, 10, 0, 0, 0, time.UTC))
	st, err := Open(t.Context(), Config{Engine: pgtest.Engine(t, ":memory:"), Path: newPath(t), Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	limitPages(t, st, 60)
	for n := 0; err == nil; n++ {
		err = save(t.Context(), st, fmt.Sprintf("k%d", n))
	}
	limitPages(t, st, 1_000_000)
	says(t, st.Check(t.Context()), "the disk is full")
	clock.SetTime(clock.Now().Add(failureShown))
	if err := st.Check(t.Context()); err != nil {
		t.Errorf("nothing failed for a while: %v", err)
	}
}

func limitPages(t *testing.T, st *Store, pages int) {
	t.Helper()
	if _, err := st.conn.ExecContext(t.Context(), fmt.Sprintf("PRAGMA max_page_count = %d", pages)); err != nil {
		t.Fatal(err)
	}
}

func TestWhatWouldBeLostInAFileThatWasMovedAwayIsNotWritten(t *testing.T) {
	pgtest.OnlySQLite(t)
	for name, harm := range map[string]func(file string) error{
		"deleted": os.Remove,
		"moved":   func(file string) error { return os.Rename(file, file+".old") },
		"replaced": func(file string) error {
			return errors.Join(os.Rename(file, file+".old"), os.WriteFile(file, nil, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := newPath(t)
			st := openStore(t, file)
			if err := harm(file); err != nil {
				t.Fatal(err)
			}
			says(t, save(t.Context(), st, "k"), "moved, deleted or replaced")
			says(t, st.Check(t.Context()), "restart khook")
		})
	}
}

func TestADatabaseOfAnotherProgramIsLeftAlone(t *testing.T) {
	pgtest.OnlySQLite(t)
	file := newPath(t)
	st := openStore(t, file)
	for _, table := range []string{"goose_db_version", "events"} {
		if _, err := st.conn.ExecContext(t.Context(), "ALTER TABLE "+table+" RENAME TO their_"+table); err != nil {
			t.Fatal(err)
		}
	}
	tables := count(t, st, "sqlite_master")
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), Config{Engine: pgtest.Engine(t, file), Path: file})
	says(t, err, "database of another program")
	db, err := sqlite.New(sqlite.Config{Path: file}).OpenReader(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if n := count(t, &Store{core: &coreHandle{db: db}}, "sqlite_master"); n != tables {
		t.Errorf("it has %d tables and indexes now, had %d", n, tables)
	}
}

func TestNoFileIsNamed(t *testing.T) {
	_, err := Open(t.Context(), Config{})
	says(t, err, "needs a file")
}

func TestAFileMayHaveAnyName(t *testing.T) {
	pgtest.OnlySQLite(t)
	dir := t.TempDir()
	for _, name := range []string{"a b.db", "50%.db", "who?.db", "#1.db", "x&_pragma=query_only(1).db", "ü.db"} {
		file := filepath.Join(dir, name)
		if err := save(t.Context(), openStore(t, file), "k"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
	}
}

func TestClosingTwiceIsFine(t *testing.T) {
	st := openStore(t, newPath(t))
	for range 2 {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}
	_, err := st.OpenIncidents(t.Context())
	says(t, err, "closed")
}

func TestEachCommitThatChangesTheHistoryIsToldBeforeAndAfter(t *testing.T) {
	var st *Store
	var told []string
	st, err := Open(t.Context(), Config{Engine: pgtest.Engine(t, ":memory:"), Path: newPath(t), Committing: func(c Commit) {
		_, recorded := st.Incident(t.Context(), incident.DeriveID("incident", "", "k"))
		told = append(told, fmt.Sprintf("soon %t, done %t, recorded %t", c.Soon, c.Done, recorded == nil))
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	failing := errors.New("no")
	if err := st.Write(t.Context(), func(tx *Tx) error { tx.Next(); return failing }); !errors.Is(err, failing) {
		t.Error(err)
	}
	if err := st.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if err := save(t.Context(), st, "k"); err != nil {
		t.Error(err)
	}
	want := []string{"soon false, done false, recorded false", "soon false, done true, recorded true"}
	if !slices.Equal(told, want) {
		t.Errorf("told of %q, want %q", told, want)
	}
}
