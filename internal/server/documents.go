package server

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/pprof"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/kagent-dev/khook/internal/api"
)

// anonymous is the security of routes that answer also those who do not say who they are.
var anonymous = []map[string][]string{{}, {"bearer": {}}, {"session": {}}}

// registerOpen registers the health, which needs no caller.
func registerOpen(s *Server) {
	schemas := s.api.OpenAPI().Components.Schemas
	schema := &huma.Schema{AnyOf: []*huma.Schema{
		schemas.Schema(reflect.TypeFor[api.PublicHealth](), true, ""), schemas.Schema(reflect.TypeFor[api.Health](), true, ""),
	}}
	body := func(text string) *huma.Response {
		return &huma.Response{Description: text, Content: map[string]*huma.MediaType{"application/json": {Schema: schema}}}
	}
	huma.Register(s.api, huma.Operation{
		OperationID: "health", Method: http.MethodGet, Path: api.Base + "/health", Tags: []string{tagHealth}, Summary: "Tell how khook does",
		Description: "Open to everybody, who are told the status only. The whole Health is for those with the right for all namespaces, or to get the nonResourceURL /diagnostics. 200 for healthy and degraded, 503 for unhealthy. What is told is at most a second old; kagent is looked at every 30 seconds.",
		Security:    anonymous, Errors: []int{http.StatusBadRequest, http.StatusNotAcceptable, http.StatusTooManyRequests},
		Responses: map[string]*huma.Response{"200": body("healthy or degraded"), "503": body("unhealthy")},
	}, s.healthOf)
}

// registerDocuments registers the routes that answer with no JSON of khook's, and describes them.
func (s *Server) registerDocuments() error {
	s.describe("metrics", "/metrics", tagHealth, "Get the metrics", "In Prometheus' formats; the same as on the metrics port, which leaves out the names of namespaces where it asks nobody who they are. Needs the right for all namespaces, or to get the nonResourceURL /metrics.", "text/plain", "application/openmetrics-text", "application/vnd.google.protobuf")
	s.describe("openapiJSON", "/openapi.json", tagHealth, "Get this document as JSON", "OpenAPI 3.1. Needs a token, and no further right.", "application/json")
	s.describe("openapiYAML", "/openapi.yaml", tagHealth, "Get this document as YAML", "OpenAPI 3.1. Needs a token, and no further right.", yamlType)
	asYAML, asJSON, err := s.OpenAPI()
	if err != nil {
		return fmt.Errorf("describe the HTTP API: %w", err)
	}
	metrics := promhttp.HandlerFor(s.cfg.Registry, promhttp.HandlerOpts{MaxRequestsInFlight: 3, DisableCompression: true, EnableOpenMetrics: true})
	s.handleDocument("/metrics", s.guarded(metrics, "/metrics", false))
	s.handleDocument("/openapi.json", serveBytes("application/json", asJSON))
	s.handleDocument("/openapi.yaml", serveBytes(yamlType, asYAML))
	if s.cfg.Pprof {
		s.registerPprof()
	}
	return nil
}

func (s *Server) handleDocument(path string, h http.Handler) {
	s.mux.Handle("GET "+api.Base+path, noParameters(h))
}

// describe adds a route to the document that huma does not serve.
func (s *Server) describe(id, path, tag, summary, description string, contentTypes ...string) {
	bodies := map[string]*huma.MediaType{}
	for _, ct := range contentTypes {
		bodies[ct] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
	}
	op := &huma.Operation{
		OperationID: id, Method: http.MethodGet, Path: api.Base + path, Tags: []string{tag}, Summary: summary, Description: description,
		Responses: map[string]*huma.Response{"200": {Description: "OK", Content: bodies}},
	}
	problem := huma.SchemaFromType(s.api.OpenAPI().Components.Schemas, reflect.TypeFor[huma.ErrorModel]())
	for _, code := range append([]int{http.StatusInternalServerError}, commonErrors...) {
		op.Responses[fmt.Sprint(code)] = &huma.Response{Description: http.StatusText(code), Content: map[string]*huma.MediaType{problemType: {Schema: problem}}}
	}
	s.api.OpenAPI().AddOperation(op)
}

func serveBytes(contentType string, body []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(body)
	})
}

// noParameters refuses all query parameters.
func noParameters(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name := range r.URL.Query() {
			e := wrongParameter(name, nil, "there is no such parameter; this route takes none")
			answerError(w, e)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// guarded serves only those who may get a path.
func (s *Server) guarded(next http.Handler, path string, strict bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := s.allowPath(r.Context(), path, strict); err != nil {
			answerError(w, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// answerError answers with an error outside of huma.
func answerError(w http.ResponseWriter, err error) {
	if withHeaders, ok := err.(huma.HeadersError); ok { //nolint:errorlint // as it was made
		maps.Copy(w.Header(), withHeaders.GetHeaders())
	}
	if inner, ok := err.(interface{ Unwrap() error }); ok {
		err = inner.Unwrap()
	}
	model, ok := err.(*huma.ErrorModel) //nolint:errorlint // as it was made
	if !ok {
		writeProblem(w, http.StatusInternalServerError, err.Error())
		return
	}
	writeModel(w, model)
}

// registerPprof serves Go's profiles to those who may get /debug/pprof.
func (s *Server) registerPprof() {
	handle := func(path string, h http.HandlerFunc) {
		s.mux.Handle("GET /debug/pprof/"+path, s.guarded(h, "/debug/pprof", true))
	}
	handle("", pprof.Index)
	handle("cmdline", pprof.Cmdline)
	handle("profile", pprof.Profile)
	handle("symbol", pprof.Symbol)
	handle("trace", pprof.Trace)
}

// diagnosticsPath is the nonResourceURL of the diagnostics.
const diagnosticsPath = "/diagnostics"

// allowDiagnostics asks for /diagnostics: every cluster lets everybody get what is below /api/.
func (s *Server) allowDiagnostics(ctx context.Context) error {
	return s.allowPath(ctx, diagnosticsPath, false)
}
