package server

import (
	"fmt"
	"net/http"
	"path"
	"strings"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/incident"
)

// routed finds the request's route, and says in khook's words if there is none.
func (s *Server) routed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if as := cleanPath(r.URL.EscapedPath()); as != r.URL.EscapedPath() { // the mux would redirect
			writeProblemOf(w, noSuchRoute, http.StatusNotFound, "there is no such route: paths have no //, . or .. in them; write it as "+incident.Clean(as, maxLogged))
			return
		}
		fallback, pattern := s.mux.Handler(r)
		if pattern != "" {
			_, route, found := strings.Cut(pattern, " ")
			if !found {
				route = pattern
			}
			requestOf(r.Context()).route = route
			next.ServeHTTP(w, r)
			return
		}
		probe := &headerRecorder{header: http.Header{}}
		fallback.ServeHTTP(probe, r)
		switch probe.code {
		case http.StatusMethodNotAllowed:
			w.Header().Set("Allow", probe.header.Get("Allow"))
			writeProblem(w, probe.code, fmt.Sprintf("%s does not take %s: use %s", incident.Clean(r.URL.Path, maxLogged), incident.Clean(r.Method, 16), probe.header.Get("Allow")))
		default:
			writeProblemOf(w, noSuchRoute, http.StatusNotFound, "there is no such route: "+api.Base+"/openapi.json lists them all")
		}
	})
}

// cleanPath is a path without empty segments, "." and "..". A slash at its end is kept, several become one.
func cleanPath(escaped string) string {
	clean := path.Clean("/" + escaped)
	if strings.HasSuffix(escaped, "/") && clean != "/" {
		clean += "/"
	}
	return clean
}

// headerRecorder is a ResponseWriter that keeps the headers only.
type headerRecorder struct {
	header http.Header
	code   int
}

func (h *headerRecorder) Header() http.Header         { return h.header }
func (h *headerRecorder) WriteHeader(code int)        { h.code = code }
func (h *headerRecorder) Write(p []byte) (int, error) { return len(p), nil }
