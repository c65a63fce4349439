package app

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
)

// TestAReadinessCheckTellsItsReasonToTheLogOnly asks as whoever reaches the port can.
func TestAReadinessCheckTellsItsReasonToTheLogOnly(t *testing.T) {
	var lines []string
	wrong := errors.New("pods is forbidden in the namespace shop")
	clock := clocktesting.NewFakePassiveClock(time.Now())
	check := &withheld{name: "watch", check: func(*http.Request) error { return wrong }, clock: clock,
		log: funcr.New(func(_, args string) { lines = append(lines, args) }, funcr.Options{})}
	handler := &healthz.Handler{Checks: map[string]healthz.Checker{"watch": check.answer}}
	ask := func() {
		t.Helper()
		for _, path := range []string{"/", "/?verbose", "/watch"} {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
			if failed := w.Code != http.StatusOK; failed != (wrong != nil) || strings.Contains(w.Body.String(), "shop") {
				t.Errorf("%s: %d %s", path, w.Code, w.Body)
			}
		}
	}
	logged := func(want int) {
		t.Helper()
		if len(lines) != want || want > 0 && !strings.Contains(lines[want-1], "in the namespace shop") {
			t.Errorf("%d lines, want %d: %s", len(lines), want, lines)
		}
	}
	ask()
	ask()
	logged(1)
	clock.SetTime(clock.Now().Add(withheldEvery))
	ask()
	logged(2)
	wrong = nil
	ask()
	wrong = errors.New("another one in the namespace shop")
	ask()
	logged(3)
}

func TestWithoutAuthenticationTheProbesTooAnswerOnlyForNamesThatKhookKnows(t *testing.T) {
	for _, c := range []struct {
		auth, host string
		code       int
	}{
		{"none", "evil.example", http.StatusMisdirectedRequest},
		{"none", "10.1.2.3:8081", http.StatusOK},
		{"none", "localhost:8081", http.StatusOK},
		{"none", "khook.kagent.svc:8081", http.StatusOK},
		{"kubernetes", "evil.example", http.StatusOK},
	} {
		p := &App{options: Options{APIAuth: c.auth, ServiceName: "khook", LeaderElectionNamespace: "kagent"}}
		r := httptest.NewRequest(http.MethodGet, "/healthz", nil)
		r.Host = c.host
		w := httptest.NewRecorder()
		p.probeHandler().ServeHTTP(w, r)
		if w.Code != c.code {
			t.Errorf("--api-auth=%s, Host %s: %d, want %d", c.auth, c.host, w.Code, c.code)
		}
	}
}
