package server

import (
	"net/http"
	"net/url"

	"github.com/kagent-dev/khook/internal/api"
)

// MetricsPort answers GET /metrics, for a port of its own, as the route of that name below Base is answered: to
// the same callers, with the same limits, and in the same log. So the port has no way around them.
func (s *Server) MetricsPort() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		inner := new(http.Request)
		*inner = *r
		inner.URL = &url.URL{Path: api.Base + "/metrics", RawQuery: r.URL.RawQuery}
		s.handler.ServeHTTP(w, inner)
	})
	return mux
}
