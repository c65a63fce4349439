package pgtest

import (
	"os"
	"sync"
	"testing"

	"github.com/kagent-dev/khook/internal/store/engine"
	"github.com/kagent-dev/khook/internal/store/postgres"
)

// EnvEngine says on which engine the tests of what uses a history run: "postgres", or SQLite if it is empty.
const EnvEngine = "KHOOK_TEST_ENGINE"

// OnPostgres says whether the tests run on PostgreSQL.
func OnPostgres() bool { return os.Getenv(EnvEngine) == "postgres" }

// OnlySQLite skips a test that is about files.
func OnlySQLite(t testing.TB) {
	t.Helper()
	if OnPostgres() {
		t.Skip("about SQLite")
	}
}

// histories are the schemas that stand for files.
var histories = struct {
	sync.Mutex
	urls map[string]string
}{urls: map[string]string{}}

// At is an engine for a URL.
func At(url string) *postgres.Engine {
	return postgres.New(postgres.Config{URL: func() (string, error) { return url, nil }})
}

// Engine is the engine for a history that would be in a file: nil for SQLite, else a schema that is the same for the same file.
func Engine(t testing.TB, file string) engine.Engine {
	t.Helper()
	if url := URL(t, file); url != "" {
		return At(url)
	}
	return nil
}

// URL is where Engine has the history; empty for SQLite.
func URL(t testing.TB, file string) string {
	t.Helper()
	if !OnPostgres() {
		return ""
	}
	server := Shared(t)
	if file == ":memory:" {
		return server.Schema(t)
	}
	histories.Lock()
	defer histories.Unlock()
	if histories.urls[file] == "" {
		histories.urls[file] = server.Schema(t)
	}
	return histories.urls[file]
}
