package server

import (
	"net/http"
	"strings"
	"testing"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

// TestWithoutItsDatabaseTheAPIAsksToComeBack: what is lost for a while is no fault of khook's, nor of who asks.
func TestWithoutItsDatabaseTheAPIAsksToComeBack(t *testing.T) {
	server := pgtest.New(t)
	newFixture(t) // which makes the namespace and the Hook
	f := newFixtureOn(t, pgtest.At(server.Database(t)))
	list := func() (code int, retryAfter, body string) {
		w := askServer(f.Server, http.MethodGet, api.Base+"/events", "")
		return w.Code, w.Header().Get("Retry-After"), w.Body.String()
	}
	if code, _, body := list(); code != http.StatusOK {
		t.Fatalf("%d: %s", code, body)
	}
	server.Kill()
	if code, retryAfter, body := list(); code != http.StatusServiceUnavailable || retryAfter == "" || strings.Contains(body, "of-the-tests") {
		t.Errorf("%d, Retry-After %q: %s", code, retryAfter, body)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	if code, _, body := list(); code != http.StatusOK {
		t.Errorf("after it is back: %d: %s", code, body)
	}
}
