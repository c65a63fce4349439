package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

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
