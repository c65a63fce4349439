package server

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kagent-dev/khook/internal/api"
)

// The tags of the OpenAPI document.
const (
	tagEvents = "Events"
	tagStory  = "Incidents and deliveries"
	tagStats  = "Statistics"
	tagHooks  = "Hooks"
	tagHealth = "Health"
	tagPeople = "People"
)

func apiConfig(version string) huma.Config {
	config := huma.DefaultConfig("khook", version)
	config.Info.Description = "What khook knows of failures in the cluster: events, the incidents that they open, the calls to agents about them, the Hooks, and how khook itself does.\n\n" +
		"Who may read is asked of Kubernetes: a namespace needs the right to `list` `hooks.kagent.dev` in it, all namespaces together need it cluster-wide. Times are RFC 3339 in UTC. " +
		"Errors are RFC 9457 problem documents that name the parameter and what it accepts."
	config.Info.License = &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"}
	config.Info.Contact = &huma.Contact{Name: "khook", URL: "https://github.com/kagent-dev/khook/issues"}
	// Relative: what address a client reaches khook by is the cluster's matter.
	config.Servers = []*huma.Server{{URL: "/", Description: "The khook that served this document; within a cluster its Service, on port 8082."}}
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.CreateHooks = nil // no $schema links
	config.Transformers = append(config.Transformers, explainError)
	config.RejectUnknownQueryParameters = true
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"bearer":  {Type: "http", Scheme: "bearer", Description: "A token of the cluster, such as that of a service account."},
		"session": {Type: "apiKey", In: "cookie", Name: sessionCookie + ".0", Description: "The cookies of POST /session, for browsers; over TLS their names begin with __Host- or __Secure-. A bearer token wins."},
	}
	config.Security = []map[string][]string{{"bearer": {}}, {"session": {}}}
	config.Tags = []*huma.Tag{
		{Name: tagEvents, Description: "What happened."},
		{Name: tagStory, Description: "What was one problem, and what agents did about it."},
		{Name: tagStats, Description: "How often, over time; from counters."},
		{Name: tagHooks, Description: "The Hook resources, as this replica sees them."},
		{Name: tagHealth, Description: "How khook does."},
		{Name: tagPeople, Description: "Who asks, what they may, and how a browser logs in."},
	}
	return config
}

// OpenAPI returns the document that describes the routes, as YAML and as JSON.
func (s *Server) OpenAPI() (asYAML, asJSON []byte, err error) {
	completeDocument(s.api.OpenAPI())
	if asYAML, err = s.api.OpenAPI().YAML(); err != nil {
		return nil, nil, err
	}
	asJSON, err = s.api.OpenAPI().MarshalJSON()
	return asYAML, asJSON, err
}

func (s *Server) registerRoutes() {
	s.registerEvents()
	s.registerStream()
	s.registerStories()
	s.registerActions()
	s.registerPauses()
	s.registerInbox()
	s.registerAgents()
	s.registerStats()
	s.registerHooks()
	s.registerWhy()
	s.registerHealth()
	s.registerSession()
	s.registerClusters()
}

// commonErrors are the errors that every route can answer with.
var commonErrors = []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotAcceptable, http.StatusTooManyRequests, http.StatusServiceUnavailable}

// jsonAnswer is a JSON body.
type jsonAnswer[T any] struct{ Body T }

// getRoute registers a route that answers with JSON.
func getRoute[I, O any](s *Server, id, path, tag, summary, description string, handle func(context.Context, *I) (O, error), change ...func(*huma.Operation)) {
	op := huma.Operation{
		OperationID: id, Method: http.MethodGet, Path: api.Base + path, Tags: []string{tag}, Summary: summary, Description: description, Errors: commonErrors,
	}
	for _, do := range change {
		do(&op)
	}
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*jsonAnswer[O], error) {
		out, err := handle(ctx, in)
		if err != nil {
			return nil, err
		}
		return &jsonAnswer[O]{out}, nil
	})
}

// with404 documents that a route can answer with 404.
func with404(op *huma.Operation) {
	op.Errors = append(append([]int{}, op.Errors...), http.StatusNotFound)
}

// DocumentVersion is the version in the document of docs/openapi.yaml, which is of no build.
const DocumentVersion = "v1"
