package postgres_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
	"github.com/kagent-dev/khook/internal/store/engine"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

// record writes an incident with its event.
func record(ctx context.Context, st *store.Store, key string) error {
	now := time.Now()
	s := &incident.Signal{Key: key, Kind: incident.Observed, Type: incident.PodRestart, At: now, Count: 1, Observation: incident.Observation{
		Container: "app", Resource: incident.Resource{Kind: "Pod", Namespace: "shop", Name: key, UID: key},
	}}
	inc := incident.Open(incident.Origin{}, s)
	return st.Write(ctx, func(tx *store.Tx) error {
		ev := incident.NewEvent(inc, s, now)
		ev.ID = tx.NextEvent()
		return tx.Save(ctx, &store.Changes{Events: []*incident.Event{ev}, Incidents: []*incident.Incident{inc}})
	})
}

func open(t *testing.T, url string) *store.Store {
	t.Helper()
	st, err := store.Open(t.Context(), store.Config{Engine: pgtest.At(url)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}

// recorded are the keys that the history has, of some.
func recorded(t *testing.T, st *store.Store, keys ...string) map[string]bool {
	t.Helper()
	known, err := st.KnownKeys(t.Context(), keys)
	if err != nil {
		t.Fatal(err)
	}
	return known
}

// unavailable is what the error says to do about the state of the database, which it must be about.
func unavailable(t *testing.T, err error) (advice string) {
	t.Helper()
	state, ok := errors.AsType[*engine.StateError](err)
	if !ok {
		t.Fatalf("no error about the state of the database: %v", err)
	}
	if strings.Contains(err.Error(), "of-the-tests") {
		t.Errorf("the password is in %q", err)
	}
	return state.Advice
}

// again tries until it succeeds, as those do who have something to record.
func again(t *testing.T, do func() error) {
	t.Helper()
	for until := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		err := do()
		if err == nil {
			return
		}
		unavailable(t, err)
		if time.Now().After(until) {
			t.Fatal(err)
		}
	}
}

func TestAServerThatCrashesLosesNothingAndIsWrittenAgainOnceItIsBack(t *testing.T) {
	server := pgtest.New(t)
	st := open(t, server.Database(t))
	if err := record(t.Context(), st, "before"); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	unavailable(t, record(t.Context(), st, "meanwhile"))
	unavailable(t, record(t.Context(), st, "meanwhile"))
	_, err := st.OpenIncidents(t.Context())
	unavailable(t, err)
	unavailable(t, st.Check(t.Context()))
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	again(t, func() error { return record(t.Context(), st, "after") })
	if known := recorded(t, st, "before", "meanwhile", "after"); !known["before"] || known["meanwhile"] || !known["after"] {
		t.Errorf("recorded: %v", known)
	}
	if err := st.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestACrashInTheMiddleOfATransactionTakesItBack(t *testing.T) {
	server := pgtest.New(t)
	st := open(t, server.Database(t))
	err := st.Write(t.Context(), func(tx *store.Tx) error {
		s := &incident.Signal{Key: "k", Kind: incident.Observed, Type: incident.PodRestart, At: time.Now(), Count: 1}
		ev := incident.NewEvent(incident.Open(incident.Origin{}, s), s, s.At)
		ev.ID = tx.NextEvent()
		if err := tx.Save(t.Context(), &store.Changes{Events: []*incident.Event{ev}}); err != nil {
			return err
		}
		server.Kill()
		return nil
	})
	// Whether it is recorded can't be asked before the server is back: then it is said that it is not.
	unavailable(t, err)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	again(t, func() error { return record(t.Context(), st, "k") })
}

// TestWhatBecameOfACommitIsFoundOutWhenItsAnswerIsLost: an error means that nothing is recorded, no error that it is.
func TestWhatBecameOfACommitIsFoundOutWhenItsAnswerIsLost(t *testing.T) {
	server := pgtest.Shared(t)
	proxy := pgtest.NewProxy(t, server)
	st := open(t, server.Through(server.Database(t), proxy.Address()))
	for round := range 5 {
		lost, kept := fmt.Sprint("lost ", round), fmt.Sprint("kept ", round)
		proxy.OnCommit(pgtest.LoseCommit)
		unavailable(t, record(t.Context(), st, lost))
		proxy.OnCommit(pgtest.LoseAnswer)
		if err := record(t.Context(), st, kept); err != nil {
			t.Errorf("what is recorded was said not to be: %v", err)
		}
		if known := recorded(t, st, lost, kept); known[lost] || !known[kept] {
			t.Errorf("recorded: %v", known)
		}
	}
}

func TestWhoeverCanNotWaitIsToldThatACommitIsUnknown(t *testing.T) {
	server := pgtest.New(t)
	proxy := pgtest.NewProxy(t, server)
	url := server.Database(t)
	ctx, stop := context.WithCancel(t.Context())
	st, err := store.Open(t.Context(), store.Config{Engine: pgtest.At(server.Through(url, proxy.Address())), Committing: func(c store.Commit) {
		if !c.Done {
			server.Kill()
			stop()
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if err := record(ctx, st, "k"); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("%v", err)
	}
}

func TestAPromotedStandbyIsGoneOnWith(t *testing.T) {
	primary := pgtest.New(t)
	url := primary.Database(t)
	standby := primary.Standby(t)
	both := primary.Or(standby, url)
	if _, err := store.Open(t.Context(), store.Config{Engine: pgtest.At(primary.Through(url, standby.Address()))}); !strings.Contains(fmt.Sprint(err), "standby") {
		t.Errorf("a standby was opened: %v", err)
	}
	st := open(t, both)
	if err := record(t.Context(), st, "before"); err != nil {
		t.Fatal(err)
	}
	other := open(t, both)
	for len(recorded(t, other, "before")) == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	primary.Stop()
	unavailable(t, record(t.Context(), st, "meanwhile"))
	standby.Promote(t)
	again(t, func() error { return record(t.Context(), st, "after") })
	if known := recorded(t, st, "before", "meanwhile", "after"); !known["before"] || known["meanwhile"] || !known["after"] {
		t.Errorf("recorded: %v", known)
	}
}

// TestALeaderWhoseCommitsAreLostWritesNothingMore: what it knows is in no row.
func TestALeaderWhoseCommitsAreLostWritesNothingMore(t *testing.T) {
	primary := pgtest.New(t)
	url := primary.Database(t)
	standby := primary.Standby(t)
	both := primary.Or(standby, url)
	st := open(t, both)
	if err := st.Lead(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := record(t.Context(), st, "before"); err != nil {
		t.Fatal(err)
	}
	standby.CatchUp(t, primary)
	standby.Stop()
	if err := record(t.Context(), st, "lost"); err != nil {
		t.Fatal(err)
	}
	primary.Kill()
	if err := standby.Start(); err != nil {
		t.Fatal(err)
	}
	standby.Promote(t)
	var err error
	again(t, func() error {
		if err = record(t.Context(), st, "after"); errors.Is(err, store.ErrDeposed) {
			return nil
		}
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "has lost what was committed to it") {
		t.Fatalf("it goes on: %v", err)
	}
	if err := st.StillLeads(t.Context()); !errors.Is(err, store.ErrDeposed) {
		t.Errorf("it is told that it leads: %v", err)
	}
	if err := st.Lead(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := record(t.Context(), st, "anew"); err != nil {
		t.Error(err)
	}
	if known := recorded(t, st, "before", "lost", "after", "anew"); !known["before"] || known["lost"] || known["after"] || !known["anew"] {
		t.Errorf("recorded: %v", known)
	}
}

// TestWhoWaitsNoLongerIsToldSo: the server says of a statement that its client has ended only that it was canceled.
func TestWhoWaitsNoLongerIsToldSo(t *testing.T) {
	url := pgtest.Shared(t).Schema(t)
	st := open(t, url)
	other, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	tx, err := other.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(t.Context(), "LOCK TABLE events, incidents IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func(context.Context) error{
		"a read":  func(ctx context.Context) error { _, err := st.Incident(ctx, "i"); return err },
		"a write": func(ctx context.Context) error { return record(ctx, st, "k") },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		err := do(ctx)
		cancel()
		if state := (*engine.StateError)(nil); !errors.Is(err, context.DeadlineExceeded) || errors.As(err, &state) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
