package server

import (
	"net/http"
	"testing"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/web"
)

func TestTheDashboardIsServedBesideTheAPIToAnybody(t *testing.T) {
	page, err := web.New()
	if err != nil {
		t.Fatal(err)
	}
	f := withPeople(t, func(c *Config) { c.Dashboard = page })
	b := f.browser("localhost:8082", "127.0.0.1")
	for _, path := range []string{"/", "/incidents", "/hooks/shop/memory", "/login"} {
		w := b.ask(http.MethodGet, path, "", "Accept", "text/html")
		wantAnswer(t, path, w, http.StatusOK, "<noscript>")
		if got := w.Header().Get("Content-Security-Policy"); got != web.Policy || w.Header().Get("Cache-Control") != "no-cache" {
			t.Errorf("%s: %v", path, w.Header())
		}
	}
	wantAnswer(t, "a file that is not there", b.ask(http.MethodGet, "/assets/none.js", ""), http.StatusNotFound, "no-such-route")
	wantAnswer(t, "a route that is not there", b.ask(http.MethodGet, api.Base+"/nope", ""), http.StatusNotFound, "no-such-route")
	wantAnswer(t, "what the page reads", b.ask(http.MethodGet, api.Base+"/incidents", ""), http.StatusUnauthorized, "unauthenticated")

	without := withPeople(t).browser("localhost:8082", "127.0.0.1")
	wantAnswer(t, "without a dashboard", without.ask(http.MethodGet, "/", ""), http.StatusNotFound, "no-such-route")
}
