package server

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/kagent-dev/khook/internal/incident"
)

// OwnHost serves only requests that name this server: by an IP address, as localhost, or by one of
// some names. Where being able to reach khook is all that it takes to read, this is what keeps a page in a
// browser from it: the page can make its own name stand for khook's address (DNS rebinding), but then
// that name is in the request.
func OwnHost(names []string, next http.Handler) http.Handler {
	own := map[string]bool{"localhost": true}
	for _, name := range names {
		own[strings.ToLower(strings.TrimSuffix(name, "."))] = true
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := hostOf(r.Host)
		if _, err := netip.ParseAddr(host); err != nil && !own[host] {
			writeProblem(w, http.StatusMisdirectedRequest, misdirected(host))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hostOf is a host without port, brackets and final dot, in lower case.
func hostOf(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

func misdirected(host string) string {
	if host == "" {
		return "the request does not say which host it is for: send the header Host, with the name or address that khook is reached by"
	}
	return "khook asks nobody who they are (--api-auth=none), so it answers only under names that it knows, and " + incident.Clean(host, maxLogged) +
		" is none: use its IP address or localhost, or start it with --allowed-hosts=" + incident.Clean(host, maxLogged)
}

// ownHost keeps pages of other sites out while khook does not ask who calls.
func (s *Server) ownHost(next http.Handler) http.Handler {
	if s.cfg.Access != nil {
		return next
	}
	names := s.cfg.Hosts
	if s.external != nil {
		names = append(slices.Clone(names), s.external.Hostname())
	}
	return OwnHost(names, next)
}
