package sqlite_test

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/kagent-dev/khook/internal/store"
	"github.com/kagent-dev/khook/internal/store/engine"
	"github.com/kagent-dev/khook/internal/store/sqlite"
	"github.com/kagent-dev/khook/internal/store/storetest"
)

// numbered is SQLite with the placeholders that PostgreSQL has.
type numbered struct{ *sqlite.Engine }

func (numbered) Bind(query string) string {
	var b strings.Builder
	for n := 1; ; n++ {
		before, after, more := strings.Cut(query, "?")
		b.WriteString(before)
		if !more {
			return b.String()
		}
		b.WriteString("$" + strconv.Itoa(n))
		query = after
	}
}

func TestAHistoryInSQLiteIsAHistory(t *testing.T) {
	for name, of := range map[string]func(*sqlite.Engine) engine.Engine{
		"as it is":              func(e *sqlite.Engine) engine.Engine { return e },
		"numbered placeholders": func(e *sqlite.Engine) engine.Engine { return numbered{e} },
	} {
		t.Run(name, func(t *testing.T) {
			storetest.Conformance(t, func(t *testing.T) storetest.Opener {
				file := filepath.Join(t.TempDir(), "khook.db")
				return func() (*store.Store, error) {
					return store.Open(t.Context(), store.Config{Engine: of(sqlite.New(sqlite.Config{Path: file}))})
				}
			})
		})
	}
}
