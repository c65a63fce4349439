package server

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/kagent-dev/khook/internal/access"
	"github.com/kagent-dev/khook/internal/api"
)

func TestTheAddressOfAClientIsThatOfTheLastStranger(t *testing.T) {
	a := addresses{[]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}}
	for name, c := range map[string]struct {
		from, forwardedFor, forwarded string
		shown, limitBy                string
	}{
		"a client":                               {"198.51.100.7:1234", "", "", "198.51.100.7", "198.51.100.7"},
		"one that says it is another":            {"198.51.100.7:1234", "203.0.113.1", "for=203.0.113.1", "198.51.100.7", "198.51.100.7"},
		"one of IPv6, which has a whole network": {"[2001:db8::1]:1234", "", "", "2001:db8::1", "2001:db8::/64"},
		"one of IPv4 in IPv6":                    {"[::ffff:198.51.100.7]:1", "", "", "198.51.100.7", "198.51.100.7"},
		"this machine":                           {"127.0.0.1:1234", "", "", "127.0.0.1", ""},
		"this machine, which is no proxy":        {"[::1]:1234", "203.0.113.1", "", "::1", ""},
		"a proxy that does not say":              {"10.1.1.1:1", "", "", "10.1.1.1", ""},
		"a proxy that says":                      {"10.1.1.1:1", "203.0.113.1", "", "203.0.113.1", "203.0.113.1"},
		"one of whom a stranger wrote more":      {"10.1.1.1:1", "127.0.0.1, 192.0.2.1, 203.0.113.1", "", "203.0.113.1", "203.0.113.1"},
		"several proxies":                        {"10.1.1.1:1", "192.0.2.1, 203.0.113.1, 10.2.2.2,10.3.3.3", "", "203.0.113.1", "203.0.113.1"},
		"proxies only":                           {"10.1.1.1:1", "10.2.2.2", "", "10.1.1.1", ""},
		"one that says nonsense":                 {"10.1.1.1:1", "203.0.113.1, unknown", "", "10.1.1.1", ""},
		"one with a port":                        {"10.1.1.1:1", "203.0.113.1:555", "", "203.0.113.1", "203.0.113.1"},
		"Forwarded":                              {"[fd00::1]:1", "", `for=192.0.2.1;proto=http, For="[2001:db8::2]:47";by=x`, "2001:db8::2", "2001:db8::/64"},
		"both, of which the first counts":        {"10.1.1.1:1", "203.0.113.1", "for=192.0.2.1", "203.0.113.1", "203.0.113.1"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = c.from
		if c.forwardedFor != "" {
			r.Header.Set("X-Forwarded-For", c.forwardedFor)
		}
		if c.forwarded != "" {
			r.Header.Set("Forwarded", c.forwarded)
		}
		if shown, limitBy := a.of(r); shown != c.shown || limitBy != c.limitBy {
			t.Errorf("%s: %q %q, want %q %q", name, shown, limitBy, c.shown, c.limitBy)
		}
	}
}

// FuzzAddress feeds what proxies, and strangers before them, write.
func FuzzAddress(f *testing.F) {
	f.Add("203.0.113.1, 10.0.0.1", `for="[::1]:7"`)
	f.Add(strings.Repeat(",", 100), ";=,")
	a := addresses{[]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	f.Fuzz(func(t *testing.T, forwardedFor, forwarded string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = "10.1.1.1:1"
		r.Header["X-Forwarded-For"], r.Header["Forwarded"] = []string{forwardedFor}, []string{forwarded}
		if shown, _ := a.of(r); shown == "" || len(shown) > 64 {
			t.Fatal(shown)
		}
	})
}

// askTimes sends requests from an address, and returns how often each status came.
func askTimes(s *Server, n int, from string, token string) map[int]int {
	codes := map[int]int{}
	for range n {
		r := httptest.NewRequest(http.MethodGet, "http://localhost"+api.Base+"/openapi.json", nil)
		r.RemoteAddr = from
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		codes[w.Code]++
	}
	return codes
}

func TestACallerWhoIsKnownPassesTheLimitOfItsAddress(t *testing.T) {
	h := newHostile(t)
	s := newFixture(t, func(c *Config) {
		a, err := access.New(&rest.Config{Host: h.URL}, access.Config{})
		if err != nil {
			t.Fatal(err)
		}
		c.Access = a
		c.Limits.Rate, c.Limits.Burst = 1, 100 // of an address: four times as much
	}).Server
	if codes := askTimes(s, 1, "198.51.100.7:1", "good"); codes[http.StatusOK] != 1 {
		t.Fatalf("before: %v", codes)
	}
	if codes := askTimes(s, 500, "198.51.100.7:1", ""); codes[http.StatusUnauthorized] < 400 || codes[http.StatusTooManyRequests] == 0 {
		t.Errorf("without a token: %v", codes)
	}
	if codes := askTimes(s, 50, "198.51.100.7:2", "good"); codes[http.StatusOK] != 50 {
		t.Errorf("a caller who is known, at the same address: %v", codes)
	}
	if codes := askTimes(s, 1, "198.51.100.7:3", "good-2"); codes[http.StatusOK] != 1 {
		t.Errorf("one who is not known yet, at the same address: %v", codes)
	}
	if codes := askTimes(s, 500, "127.0.0.1:1", ""); codes[http.StatusUnauthorized] != 500 {
		t.Errorf("this machine is no address: %v", codes)
	}
	// Each good token was asked about once, the bad one once for each of the audiences.
	if codes := askTimes(s, 500, "198.51.100.7:4", "bad"); codes[http.StatusOK] != 0 || codes[http.StatusServiceUnavailable] != 0 || h.count("tokenreviews") != 4 {
		t.Errorf("one bad token: %v, and Kubernetes was asked %d times", codes, h.count("tokenreviews"))
	}
}
