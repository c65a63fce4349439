package server

import (
	"net/http"
	"strings"

	"github.com/kagent-dev/khook/internal/api"
)

// Dashboard is the page for people.
type Dashboard interface {
	http.Handler
	// Serves says whether a path is one of the page's, and not the API's.
	Serves(path string) bool
}

// dashboard answers with the page and its files. Nobody is asked who they are: these hold nothing of the cluster, and the
// page reads all that it shows from the API.
func (s *Server) dashboard(next http.Handler) http.Handler {
	if s.cfg.Dashboard == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, api.Base) || !s.cfg.Dashboard.Serves(r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		requestOf(r.Context()).route = "/"
		s.cfg.Dashboard.ServeHTTP(w, r)
	})
}
