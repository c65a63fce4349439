package server

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestAHeaderThatIsTooLargeIsRefused(t *testing.T) {
	l := goLive(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, l.base+Base+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Large", strings.Repeat("x", 64<<10))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("%s", resp.Status)
	}
}

func TestAnAnswerThatTakesTooLongIsAProblemThatSaysWhatToDo(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Limits.RequestTimeout = time.Nanosecond })
	for _, path := range []string{"/events", "/incidents", "/deliveries", "/stats/trends", "/hooks/shop/memory/events"} {
		w := ask(f.Server, http.MethodGet, Base+path, "")
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Content-Type") != problemType || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "ask for less") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}
