package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"pgregory.net/rapid"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
)

// operation is a route of the document.
type operation struct {
	method, path string
	*huma.Operation
}

func operations(s *Server) []operation {
	var all []operation
	for path, item := range s.api.OpenAPI().Paths {
		for method, op := range map[string]*huma.Operation{http.MethodGet: item.Get, http.MethodPost: item.Post, http.MethodPut: item.Put, http.MethodDelete: item.Delete, http.MethodPatch: item.Patch} {
			if op != nil {
				all = append(all, operation{method, path, op})
			}
		}
	}
	slices.SortFunc(all, func(a, b operation) int { return strings.Compare(a.path+a.method, b.path+b.method) })
	return all
}

func askServer(s *Server, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, "http://localhost/", strings.NewReader(body))
	if strings.HasPrefix(target, streamPath) { // which does not end by itself
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		r = r.WithContext(ctx)
	}
	u, err := url.Parse("http://khook" + target)
	if err != nil {
		u = &url.URL{Scheme: "http", Host: "khook", Path: target}
	}
	r.URL, r.RequestURI = u, target
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	s.Handler().ServeHTTP(w, r)
	return w
}

// checkAnswer holds an answer against the document: no 5xx, errors are problem documents, and JSON
// is as its schema says.
func checkAnswer(s *Server, op operation, w *httptest.ResponseRecorder) error {
	code, contentType := w.Code, w.Header().Get("Content-Type")
	described := op.Responses[fmt.Sprint(code)]
	switch {
	case code >= http.StatusInternalServerError:
		return fmt.Errorf("%d %s", code, w.Body)
	case described == nil:
		return fmt.Errorf("%d is not in the document: %s", code, w.Body)
	case code >= http.StatusBadRequest && contentType != problemType:
		return fmt.Errorf("%d %s is no problem document: %s", code, contentType, w.Body)
	}
	media := described.Content[contentType]
	if media == nil {
		if base, _, _ := strings.Cut(contentType, ";"); described.Content[base] != nil {
			return nil // a text
		}
		return fmt.Errorf("%d %s is not in the document", code, contentType)
	}
	if !strings.HasSuffix(contentType, "json") || media.Schema.Type == huma.TypeString {
		return nil
	}
	var value any
	if err := json.Unmarshal(w.Body.Bytes(), &value); err != nil {
		return fmt.Errorf("%w: %s", err, w.Body)
	}
	res := &huma.ValidateResult{}
	huma.Validate(s.api.OpenAPI().Components.Schemas, media.Schema, huma.NewPathBuffer([]byte{}, 0), huma.ModeReadFromServer, value, res)
	if len(res.Errors) > 0 {
		return fmt.Errorf("the answer is not as described: %v in %.2000s", res.Errors, w.Body)
	}
	return nil
}

func TestEveryDocumentedExampleWorks(t *testing.T) {
	f := newFixture(t)
	for _, op := range operations(f.Server) {
		t.Run(op.method+" "+op.path, func(t *testing.T) {
			target, query := op.path, url.Values{}
			if op.Summary == "" || op.OperationID == "" || len(op.Tags) != 1 {
				t.Errorf("it is not described: %+v", op.Operation)
			}
			for _, p := range op.Parameters {
				example := p.Example
				if example == nil && p.Schema.Examples != nil {
					example = p.Schema.Examples[0]
				}
				switch {
				case p.In == "path":
					target = strings.ReplaceAll(target, "{"+p.Name+"}", f.pathExample(op.path, p.Name, example))
				case p.In == "query" && example != nil:
					query.Set(p.Name, strings.ReplaceAll(strings.Trim(fmt.Sprint(example), "[]"), " ", ",")) // a list is written with commas
				case p.In == "query" && p.Schema.Default != nil:
					query.Set(p.Name, fmt.Sprint(p.Schema.Default))
				}
				if p.In == "query" && p.Description == "" && len(p.Schema.Enum) == 0 {
					t.Errorf("parameter %s is not described", p.Name)
				}
			}
			body, headers := f.bodyExample(t, op.path)
			w := askServer(f.Server, op.method, target+"?"+query.Encode(), body, headers...)
			if w.Code != max(op.DefaultStatus, http.StatusOK) {
				t.Fatalf("%s?%s: %d %s", target, query.Encode(), w.Code, w.Body)
			}
			if err := checkAnswer(f.Server, op, w); err != nil {
				t.Error(err)
			}
		})
	}
}

// bodyExample is what a route is sent, and makes the history so that it can be done.
func (f *fixture) bodyExample(t *testing.T, path string) (body string, headers []string) {
	t.Helper()
	switch {
	case strings.HasSuffix(path, "/hooks/validate"):
		return "kind: Hook", []string{"Content-Type", "application/yaml"}
	case path == sessionPath:
		return `{"token": "eyJhbGciOi..."}`, []string{"Content-Type", "application/json"}
	case strings.HasSuffix(path, "/reply"):
		f.make(t, func(d *delivery.Delivery) { d.State, d.Question, d.QuestionID = delivery.InputRequired, "May I?", "q" })
		return `{"text": "Yes, the volume may be resized."}`, []string{"Content-Type", "application/json"}
	case strings.HasSuffix(path, "/pause"):
		return `{"namespace": "shop", "reason": "INC-1234: the agent restarts healthy Pods", "for": "2h"}`, []string{"Content-Type", "application/json"}
	case strings.HasSuffix(path, "v1/resume"):
		return `{"namespace": "shop"}`, []string{"Content-Type", "application/json"}
	case strings.HasSuffix(path, "/cancel"):
		f.make(t, func(d *delivery.Delivery) { d.State, d.CancelRequestedBy = delivery.Working, "" })
	case strings.HasSuffix(path, "/retry"):
		f.make(t, func(d *delivery.Delivery) { d.State, d.EndedAt = delivery.Failed, time.Now() })
	}
	return "", nil
}

func (f *fixture) pathExample(path, name string, example any) string {
	switch {
	case name != "id":
		return fmt.Sprint(example)
	case strings.Contains(path, "deliveries"):
		return f.delivery
	default:
		return f.incident
	}
}

func TestEveryRouteIsDocumented(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Pprof = true })
	described := map[string]bool{}
	for _, op := range operations(f.Server) {
		described[op.method+" "+op.path] = true
		if !strings.HasPrefix(op.path, api.Base+"/") {
			t.Errorf("%s is not below %s", op.path, api.Base)
		}
		// What is described is served: a wrong parameter gets an answer of the route itself.
		if w := askServer(f.Server, op.method, strings.NewReplacer("{", "", "}", "").Replace(op.path)+"?no=1", ""); w.Code == http.StatusNotFound && !strings.Contains(op.path, "{") {
			t.Errorf("%s %s is described, but not served", op.method, op.path)
		}
	}
	// The contract's routes.
	for _, route := range []string{
		"GET /events", "GET /events/{namespace}", "GET /hooks/{namespace}/{name}/events", "GET /events/types/{eventType}", "GET /stats/events/summary",
		"GET /stats/events/by-type", "GET /stats/hooks/{namespace}/{name}/metrics", "GET /stats/trends", "GET /hooks", "GET /hooks/{namespace}/{name}",
		"GET /hooks/{namespace}/{name}/why", "GET /why", "POST /hooks/validate", "POST /pause", "POST /resume", "GET /pauses", "GET /inbox", "GET /agents", "GET /health", "GET /diagnostics", "GET /metrics",
		"GET /events/stream", "GET /incidents", "GET /incidents/{id}", "GET /incidents/{id}/earlier", "GET /incidents/groups", "GET /deliveries", "GET /deliveries/{id}", "POST /deliveries/{id}/reply", "POST /deliveries/{id}/cancel", "POST /deliveries/{id}/retry", "POST /deliveries/{id}/resume", "GET /me", "GET /clusters", "GET /session", "POST /session", "DELETE /session", "GET /openapi.json", "GET /openapi.yaml",
	} {
		method, path, _ := strings.Cut(route, " ")
		if !described[method+" "+api.Base+path] {
			t.Errorf("%s is not described", route)
		}
		delete(described, method+" "+api.Base+path)
	}
	for route := range described {
		t.Errorf("%s is described, but not known to this test: add it", route)
	}
}

func TestTheDocumentInTheDocsIsTheOneThatIsServed(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Version = DocumentVersion })
	want, _, err := f.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Error(`docs/openapi.yaml is not up to date: run "make generate"`)
	}
}

// wild draws a value for a parameter: often a right one, else anything.
func wild(t *rapid.T, p *huma.Param) (value string, absent bool) {
	label := p.In + " " + p.Name
	var right []string
	for _, e := range p.Schema.Enum {
		right = append(right, fmt.Sprint(e))
	}
	if p.Example != nil {
		right = append(right, fmt.Sprint(p.Example))
	}
	if p.Schema.Type == huma.TypeInteger {
		right = append(right, "1", "2", "50", "1000")
	}
	switch rapid.IntRange(0, 4).Draw(t, "kind of "+label) {
	case 0:
		return "", p.In == "query"
	case 1:
		return rapid.StringN(0, 40, 400).Draw(t, label), false
	case 2:
		return rapid.SampledFrom([]string{
			"", "0", "-1", "1e9", "99999999999999999999", "null", "true", "%", "*", "..", "/", "a/b", "\x00", "\xff", "é", "' OR 1=1 --", "2026-01-01T00:00:00Z", "2026-13-01T00:00:00Z",
			"0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z", "24h", "1m", "0s", "-5m", "1000000h", "eyJxIjoxLCJhIjpbMSwyXX0", strings.Repeat("x", 3000),
		}).Draw(t, label), false
	}
	if len(right) == 0 {
		return "", p.In == "query"
	}
	return rapid.SampledFrom(right).Draw(t, label), false
}

// FuzzRoutes asks every route with parameters that are drawn by its description.
func FuzzRoutes(f *testing.F) {
	fix := newFixture(f)
	all := operations(fix.Server)
	f.Fuzz(rapid.MakeFuzz(func(t *rapid.T) { fix.askWildly(t, all) }))
}

func TestNoParameterBreaksARoute(t *testing.T) {
	f := newFixture(t)
	all := operations(f.Server)
	rapid.Check(t, func(rt *rapid.T) { f.askWildly(rt, all) })
}

func (f *fixture) askWildly(t *rapid.T, all []operation) {
	op := rapid.SampledFrom(all).Draw(t, "route")
	target, query := op.path, url.Values{}
	for _, p := range op.Parameters {
		value, absent := wild(t, p)
		switch {
		case p.In == "path":
			if value == "" || strings.Trim(value, "./") == "" {
				value = "x"
			}
			target = strings.ReplaceAll(target, "{"+p.Name+"}", url.PathEscape(value))
		case p.In == "query" && !absent:
			query.Set(p.Name, value)
		}
	}
	if rapid.IntRange(0, 9).Draw(t, "one more") == 0 {
		query.Set(rapid.String().Draw(t, "name"), "1")
	}
	headers := []string{
		"Accept", rapid.SampledFrom([]string{"", "*/*", "application/json", "application/yaml", "text/html", "application/json;q=0", "application/*;q=0.5, text/*", ";;;,", "application/openmetrics-text"}).Draw(t, "Accept"),
		"Content-Type", rapid.SampledFrom([]string{"", "application/yaml", "application/json", "text/plain", "application/json; charset", ";"}).Draw(t, "Content-Type"),
	}
	body := ""
	if op.method == http.MethodPost {
		body = rapid.OneOf(rapid.StringN(0, 200, 2000), rapid.SampledFrom([]string{
			"kind: Hook", "{}", "[]", `{"text":"yes"}`, `{"decision":"approve"}`, `{"decision":7}`, `{"text":"a","questionId":"q","more":1}`, "---\n---\n", "apiVersion: kagent.dev/v1alpha2\nkind: Hook\nmetadata: {name: a, namespace: shop}\nspec: {eventConfigurations: [{eventType: oom-kill, agentId: x, prompt: '{{.}}'}]}",
			"a: &a [*a]", strings.Repeat("- ", 5000),
		})).Draw(t, "body")
	}
	w := askServer(f.Server, op.method, target+"?"+query.Encode(), body, headers...)
	if w.Code == http.StatusNotFound && w.Header().Get("Content-Type") == problemType {
		return // also for paths that lead elsewhere
	}
	if w.Code == http.StatusMovedPermanently || w.Code == http.StatusTemporaryRedirect {
		t.Fatalf("%s redirects to %s", target, w.Header().Get("Location"))
	}
	if err := checkAnswer(f.Server, op, w); err != nil {
		t.Fatalf("%s %s?%s: %v", op.method, target, query.Encode(), err)
	}
}
