package cli

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kagent-dev/khook/internal/api"
)

func TestCLIHealthTellsWhatTheCallerMayKnowAndExitsAccordingly(t *testing.T) {
	sick := api.Health{Status: api.Unhealthy, Reasons: []string{"pipeline: the watch of pods is down"}, Version: "v1", Pipeline: api.PipelineHealth{State: "leading"}}
	for name, c := range map[string]struct {
		status int
		body   any
		exit   int
		says   []string
	}{
		"all of it":                           {200, api.Health{Status: api.Degraded, Reasons: []string{"kagent: it answered 503"}, Version: "v1"}, 0, []string{"degraded", "kagent: it answered 503", "v1"}},
		"what is paused, of one that is well": {200, api.Health{Status: api.Healthy, Warnings: []string{"calls of all Hooks are paused"}, Version: "v1"}, 0, []string{"healthy", "Warning:", "calls of all Hooks are paused"}},
		"a word":                              {200, api.PublicHealth{Status: api.Healthy}, 0, []string{"healthy", "nonResourceURL /diagnostics"}},
		"what is wrong, of a khook that does not do its work": {503, sick, 1, []string{"unhealthy", "the watch of pods is down", "khook is unhealthy"}},
		"a word of one": {503, api.PublicHealth{Status: api.Unhealthy}, 1, []string{"unhealthy", "khook is unhealthy"}},
		"another error": {503, &huma.ErrorModel{Status: 503, Detail: "too much to do"}, 1, []string{"too much to do"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if _, problem := c.body.(*huma.ErrorModel); problem {
					w.Header().Set("Content-Type", "application/problem+json")
				}
				w.WriteHeader(c.status)
				if r.URL.Path == api.Base+"/health" {
					_ = json.NewEncoder(w).Encode(c.body)
				}
			}))
			defer s.Close()
			code, out, errs := khook(t, "health", "--server", s.URL)
			for _, words := range c.says {
				if !strings.Contains(out+errs, words) {
					t.Errorf("it does not say %q: %s%s", words, out, errs)
				}
			}
			if code != c.exit {
				t.Errorf("exit code %d, want %d: %s%s", code, c.exit, out, errs)
			}
		})
	}
}
