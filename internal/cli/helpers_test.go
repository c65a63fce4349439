package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

// TestMain lets the test binary be khook itself, where a test needs a program.
func TestMain(m *testing.M) {
	time.Local = time.UTC // whatever this machine has
	if os.Getenv("KHOOK_OF_A_TEST") == "" {
		pgtest.Main(m)
	}
	os.Exit(Main(context.Background(), os.Args[1:], Env{Out: os.Stdout, Err: os.Stderr}))
}

// program is a folder with khook in it.
func program(t *testing.T) (dir string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	if err := os.Symlink(self, filepath.Join(dir, "khook")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KHOOK_OF_A_TEST", "1")
	return dir
}

// anID is the ID of some incident or delivery.
const anID = "5013d5ac-1b7b-5227-903f-da709c23323e"

func khook(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Main(t.Context(), args, Env{Out: &out, Err: &errs})
	return code, out.String(), errs.String()
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
