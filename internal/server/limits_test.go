package server

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/capacity"
	"github.com/kagent-dev/khook/internal/capacity/capacitytest"
)

func TestAHeaderThatIsTooLargeIsRefused(t *testing.T) {
	l := goLive(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, l.base+api.Base+"/events", nil)
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
		w := askServer(f.Server, http.MethodGet, api.Base+path, "")
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Content-Type") != problemType || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "ask for less") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

func TestAHeaderOfTooManyFieldsIsRefused(t *testing.T) {
	f := newFixture(t)
	w := askServer(f.Server, http.MethodGet, api.Base+"/events", "", manyFields(128)...)
	if w.Code != http.StatusOK {
		t.Errorf("128 fields: %d %s", w.Code, w.Body)
	}
	w = askServer(f.Server, http.MethodGet, api.Base+"/events", "", manyFields(129)...)
	if w.Code != http.StatusRequestHeaderFieldsTooLarge || !strings.Contains(w.Body.String(), "at most 128") {
		t.Errorf("129 fields: %d %s", w.Code, w.Body)
	}
}

func manyFields(n int) (fields []string) {
	for i := range n {
		fields = append(fields, fmt.Sprint("X-", i), "x")
	}
	return fields
}

// TestWhatHeadersCost sends headers that do not end. Each connection may take what it weighs, which
// is bounded in internal/conns.
func TestWhatHeadersCost(t *testing.T) {
	const size, units = 34 << 10, 34 // size / conns.headerShare
	for name, line := range map[string]string{"short lines": "", "one line": strings.Repeat("x", size)} {
		f := newFixture(t, func(c *Config) { c.Limits.MaxConnections = 100_000 })
		address := f.listen(t)
		var lines strings.Builder
		for i := 0; line == "" && lines.Len() < size; i++ {
			fmt.Fprintf(&lines, "%s:\n", strconv.FormatInt(int64(i), 36))
		}
		header := "GET / HTTP/1.1\r\nHost: x\r\n" + lines.String() + "A: " + line
		dial(t, address)
		capacitytest.Check(t, "a header of "+name, capacitytest.Each(50, func(int) {
			if _, err := io.WriteString(dial(t, address), header[:size]); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond) // it is read meanwhile; if not, it costs less
		}), units*capacity.Connection)
	}
}

func TestALongAcceptIsNotRead(t *testing.T) {
	f := newFixture(t)
	w := askServer(f.Server, http.MethodGet, api.Base+"/events", "", "Accept", strings.Repeat("a/b,", 5000)+"application/json")
	if w.Code != http.StatusNotAcceptable || !strings.Contains(w.Body.String(), "fewer types") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestCallersAreToldWhatTheyHaveLeft(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Limits.Rate, c.Limits.Burst = 0.001, 3 })
	for _, want := range []string{"2", "1", "0", "0"} {
		h := askServer(f.Server, "GET", api.Base+"/events", "").Header()
		if h.Get("RateLimit-Limit") != "3" || h.Get("RateLimit-Remaining") != want || h.Get("RateLimit-Reset") == "" || h.Get("RateLimit-Reset") == "0" {
			t.Errorf("%v, want %s left of 3", h, want)
		}
	}
}
