package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kagent-dev/khook/internal/store"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

// TestCLIMigrateShowsABarOnATerminalAndLinesElsewhere, and the password nowhere.
func TestCLIMigrateShowsABarOnATerminalAndLinesElsewhere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "khook.db")
	st, err := store.Open(t.Context(), store.Config{Path: file, Cluster: "prod"})
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	url := pgtest.Shared(t).Schema(t)
	shown := onTerminal(t, 80, "migrate", "--from", file, "--to", url)
	for _, want := range []string{"\r\x1b[K[####################] events: compared 0 of 0\r\x1b[K", "\r\x1b[KTABLE ", `The history of cluster "prod" is in the database now. Start khook with it.`} {
		if !strings.Contains(shown, want) {
			t.Errorf("%q is not in %q", want, shown)
		}
	}
	secret := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(secret, []byte(url), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := khook(t, "migrate", "--from", file, "--to-file", secret, "--cluster", "prod")
	if code != 0 || !strings.Contains(out, "was in the database already") || strings.Contains(out+errs, "\x1b") {
		t.Errorf("%d %s%s", code, out, errs)
	}
	for _, text := range []string{shown, out, errs} {
		if strings.Contains(text, "of-the-tests") {
			t.Errorf("the password is in %q", text)
		}
	}
	for want, args := range map[string][]string{
		"say where to":              {"--from", file},
		"is not the URL":            {"--from", file, "--to", "other.db"},
		"there is no history":       {"--from", file + ".gone", "--to", url},
		`by --cluster: "prod"`:      {"--from", file, "--to", url, "--cluster", "another"},
		"the URL of the database c": {"--from", file, "--to", "postgres://khook:sec%ret@h/khook"},
	} {
		if code, _, errs := khook(t, append([]string{"migrate"}, args...)...); code == 0 || !strings.Contains(errs, want) || strings.Contains(errs, "sec%ret") {
			t.Errorf("%v: %d %s", args, code, errs)
		}
	}
}
