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

// histories are the databases that stand for files.
var histories sync.Map

// At is an engine for a URL.
func At(url string) *postgres.Engine {
	return postgres.New(postgres.Config{URL: func() (string, error) { return url, nil }})
}

// Engine is the engine for a history that would be in a file: nil for SQLite, else a database that is the same for the same file.
func Engine(t testing.TB, file string) engine.Engine {
	t.Helper()
	if !OnPostgres() {
		return nil
	}
	server := Shared(t)
	if file == ":memory:" {
		return At(server.Database(t))
	}
	url, known := histories.Load(file)
	if !known {
		url = server.Database(t)
		histories.Store(file, url)
	}
	return At(url.(string)) //nolint:forcetypeassert // as it was stored
}
