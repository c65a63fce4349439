package postgres_test

import (
	"testing"

	"github.com/kagent-dev/khook/internal/store"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
	"github.com/kagent-dev/khook/internal/store/storetest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestAHistoryInPostgreSQLIsAHistory(t *testing.T) {
	server := pgtest.Shared(t)
	storetest.Conformance(t, func(t *testing.T) storetest.Opener {
		t.Helper()
		url := server.Database(t)
		return func() (*store.Store, error) {
			return store.Open(t.Context(), store.Config{Engine: pgtest.At(url)})
		}
	})
}

// TestAHistoryBehindPgBouncerIsAHistory: in transaction mode, where each transaction may have another session of the server. Debian's
// knows nothing of prepared statements.
func TestAHistoryBehindPgBouncerIsAHistory(t *testing.T) {
	server := pgtest.Shared(t)
	pooler := server.Pooler(t)
	storetest.Conformance(t, func(t *testing.T) storetest.Opener {
		t.Helper()
		url := server.Through(server.Database(t), pooler) + "&default_query_exec_mode=exec"
		return func() (*store.Store, error) {
			return store.Open(t.Context(), store.Config{Engine: pgtest.At(url)})
		}
	})
}
