package system

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/api"
)

// FR6: Provide comprehensive health monitoring and diagnostic information.
func TestFR6HealthAndDiagnostics(t *testing.T) {
	s := serve(t, "--kagent-header", "X-Secret=hunter2", "--api-pprof")
	t.Run("GET /api/v1/health", func(t *testing.T) {
		if h := read[api.PublicHealth](s.as(""), "/health"); h.Status != api.Healthy {
			t.Errorf("%s", h.Status)
		}
		h := read[api.Health](s.caller, "/health")
		if h.Status != api.Healthy || len(h.Reasons) != 0 {
			t.Errorf("%s %v", h.Status, h.Reasons)
		}
	})
	t.Run("API server status and uptime", func(t *testing.T) {
		h := read[api.Health](s.caller, "/health")
		if h.Server.Status != api.Healthy || h.Server.Requests == 0 || h.UptimeSeconds <= 0 || h.StartedAt.Before(s.began.Add(-time.Minute)) || h.Version == "" {
			t.Errorf("%+v", h)
		}
	})
	t.Run("Event processing pipeline health", func(t *testing.T) {
		if p := read[api.Health](s.caller, "/health").Pipeline; p.Status != api.Healthy || p.State != "leading" || p.OpenIncidents != 3 {
			t.Errorf("%+v", p)
		}
	})
	t.Run("Plugin status (for pluggable event sources)", func(t *testing.T) {
		plugins := read[api.Health](s.caller, "/health").Plugins
		if len(plugins) != 2 || plugins[0].Name != "kubernetes-events" || plugins[1].Name != "kubernetes-pods" {
			t.Fatalf("%+v", plugins)
		}
		if p := plugins[1]; p.State != "up" || p.LastEvent.Before(s.began.Truncate(time.Second)) || p.Since.IsZero() {
			t.Errorf("%+v", p)
		}
	})
	t.Run("GET /api/v1/diagnostics: Memory usage and performance metrics", func(t *testing.T) {
		d := read[api.Diagnostics](s.caller, "/diagnostics")
		if d.Runtime.Goroutines == 0 || d.Runtime.HeapBytes == 0 || d.Runtime.CPUs == 0 || d.Store.SizeBytes == 0 || d.Store.LastChange == 0 || d.Build.GoVersion == "" || len(d.Queues) != 4 {
			t.Errorf("%+v", d)
		}
		if d.Settings["stabilization"] != "1h0m0s" || fmt.Sprint(d.Settings["kagent-header"]) != "[X-Secret]" {
			t.Errorf("settings %+v", d.Settings)
		}
		if text := s.get("/diagnostics").body; strings.Contains(text, "hunter2") || strings.Contains(text, s.token) {
			t.Error("the diagnostics tell a secret")
		}
	})
	t.Run("GET /api/v1/metrics", func(t *testing.T) {
		r := s.get("/metrics")
		problems, err := promlint.New(strings.NewReader(r.body)).Lint()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			if strings.HasPrefix(p.Metric, "khook_") {
				t.Errorf("%s: %s", p.Metric, p.Text)
			}
		}
		for _, name := range []string{"khook_events_total", "khook_watch_up", "khook_http_requests_total", "khook_http_request_duration_seconds_bucket"} {
			if !strings.Contains(r.body, name) || !strings.Contains(s.scrape(), name) {
				t.Errorf("%s is not in both", name)
			}
		}
	})
	t.Run("pprof is behind a flag and behind authorization", func(t *testing.T) {
		at := func(token string) caller { return caller{t, "http://" + s.api, token} }
		at(s.token).get("/debug/pprof/").problem(t, http.StatusForbidden, "/debug/pprof")
		at("").get("/debug/pprof/heap").problem(t, http.StatusUnauthorized)
		dev := serviceAccountWith(t, s.pay, "dev", rbacv1.PolicyRule{NonResourceURLs: []string{"/debug/pprof"}, Verbs: []string{"get"}})
		if r := at(dev).get("/debug/pprof/heap"); r.code != http.StatusOK || !strings.HasPrefix(r.body, "\x1f\x8b") {
			t.Errorf("a profile: %d", r.code)
		}
		off := controller(t, append(settings(s.kagent, t.TempDir()), "--api-auth", "none")...).ready()
		caller{t, "http://" + off.api, ""}.get("/debug/pprof/").problem(t, http.StatusNotFound)
	})
	t.Run("Kagent API connectivity status", func(t *testing.T) {
		if k := read[api.Health](s.caller, "/health").Kagent; k.Status != api.Healthy || k.CheckedAt.IsZero() {
			t.Errorf("%+v", k)
		}
		down := kagenttest.New(t, kagenttest.Options{})
		args := append(settings(down, t.TempDir()), "--api-auth", "none")
		down.Close()
		p := controller(t, args...).ready()
		c := caller{t, "http://" + p.api + api.Base, ""}
		eventually(t, "the health tells that kagent is away", func() error {
			h := read[api.Health](c, "/health")
			told := slices.ContainsFunc(h.Reasons, func(r string) bool { return strings.HasPrefix(r, "kagent: ") }) // beside it may stand that calls wait
			if h.Status != api.Degraded || !told || h.Kagent.CheckedAt.IsZero() {
				return fmt.Errorf("%+v", h)
			}
			return nil
		})
	})
}

func TestAnUnhealthyKhookSaysSoWith503(t *testing.T) {
	kagent, dir := kagenttest.New(t, kagenttest.Options{}), t.TempDir()
	p := controller(t, append(settings(kagent, dir), "--api-auth", "none")...).ready()
	removeAll(t, dir)
	c := caller{t, "http://" + p.api + api.Base, ""}
	eventually(t, "the history is unhealthy", func() error {
		r := c.get("/health")
		if r.code != http.StatusServiceUnavailable || !strings.Contains(r.body, `"status":"unhealthy"`) || !strings.Contains(r.body, "history: ") {
			return fmt.Errorf("%d %s", r.code, r.body)
		}
		return nil
	})
}
