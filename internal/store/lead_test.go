package store

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/kagent-dev/khook/internal/incident"
)

func TestALeaderThatWasReplacedWritesNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "khook.db")
	first, second, reader := openStore(t, file), openStore(t, file), openStore(t, file)
	lead := func(st *Store) {
		t.Helper()
		if err := st.Lead(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	lead(first)
	if err := save(t.Context(), first, "while it leads"); err != nil {
		t.Error(err)
	}
	lead(second)
	if err := save(t.Context(), first, "too late"); !errors.Is(err, ErrDeposed) {
		t.Errorf("the first writes: %v", err)
	}
	if err := first.Check(t.Context()); !errors.Is(err, ErrDeposed) {
		t.Errorf("the first says that it can write: %v", err)
	}
	if _, err := reader.Incident(t.Context(), incident.DeriveID("incident", "", "too late")); !errors.Is(err, ErrNotFound) {
		t.Errorf("what came too late: %v", err)
	}
	if err := first.StillLeads(t.Context()); !errors.Is(err, ErrDeposed) {
		t.Errorf("the first says that it leads: %v", err)
	}
	if err := errors.Join(second.StillLeads(t.Context()), reader.StillLeads(t.Context())); err != nil {
		t.Error(err)
	}
	for name, st := range map[string]*Store{"the second": second, "one that never led": reader} {
		if err := save(t.Context(), st, name); err != nil {
			t.Errorf("%s writes: %v", name, err)
		}
	}
	lead(first)
	if err := save(t.Context(), first, "again"); err != nil {
		t.Error(err)
	}
}
