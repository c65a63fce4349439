package sqlite

import (
	"context"
	"path/filepath"
	"testing"
)

func TestALargeFileIsLookedThroughInParts(t *testing.T) {
	db, err := New(Config{Path: filepath.Join(t.TempDir(), "khook.db")}).OpenWriter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, table := range []string{"meta", "deliveries", "incidents"} {
		if _, err := db.ExecContext(t.Context(), "CREATE TABLE "+table+" (id TEXT PRIMARY KEY)"); err != nil {
			t.Fatal(err)
		}
	}
	if parts := checks(wholeCheck + 1); len(parts) < 2 {
		t.Errorf("only %v", parts)
	}
	for _, check := range checks(wholeCheck + 1) {
		var verdict string
		if err := db.QueryRowContext(context.Background(), "PRAGMA "+check).Scan(&verdict); err != nil || verdict != "ok" {
			t.Errorf("%s: %s, %v", check, verdict, err)
		}
	}
}
