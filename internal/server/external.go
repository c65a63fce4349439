package server

import (
	"net/http"
	"net/url"
	"strings"
)

// prefixOf is the path of an external URL, with a slash at its end.
func prefixOf(external *url.URL) string {
	if external == nil {
		return "/"
	}
	return strings.TrimSuffix(external.EscapedPath(), "/") + "/"
}

// prefixed answers below the path of the external URL as below /: a proxy may pass the path on as it is, or take the prefix off.
func (s *Server) prefixed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req := requestOf(r.Context())
		req.base = s.baseOf(r)
		escaped, below := strings.CutPrefix(r.URL.EscapedPath(), strings.TrimSuffix(s.prefix, "/"))
		switch {
		case s.prefix == "/" || !below || escaped != "" && escaped[0] != '/':
			next.ServeHTTP(w, r)
			return
		case escaped == "": // a page there would look for its files beside itself
			w.Header().Set("Location", s.prefix)
			w.WriteHeader(http.StatusPermanentRedirect)
			return
		}
		path, err := url.PathUnescape(escaped)
		if err != nil { // it could be read before
			next.ServeHTTP(w, r)
			return
		}
		inner := *r
		inner.URL = new(url.URL)
		*inner.URL = *r.URL
		inner.URL.Path, inner.URL.RawPath = path, escaped
		next.ServeHTTP(w, &inner)
	})
}

// baseOf is the path below which the client reaches khook. Also where a proxy takes it off: cookies for / would go to
// whatever else the proxy serves under the name.
func (s *Server) baseOf(r *http.Request) string {
	if s.prefix == "/" || strings.HasPrefix(r.URL.EscapedPath(), s.prefix) || hostOf(r.Host) == hostOf(s.external.Host) {
		return s.prefix
	}
	return "/"
}
