package server

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kagent-dev/khook/internal/access"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/review"
)

// allow returns an error unless the caller may read in a namespace, or in all if it is empty.
func (s *Server) allow(ctx context.Context, namespace string) error {
	return s.require(ctx, func(caller string) string { return refusedNamespace(caller, namespace) }, access.ReadHooks(namespace))
}

// CallerName is the name that Kubernetes gives the caller of a request; empty if nobody asked.
func CallerName(ctx context.Context) string { return callerName(ctx) }

// MayRead says whether the caller of a request may read in a namespace, or in all if it is empty.
func MayRead(ctx context.Context, a access.Control, namespace string) (bool, error) {
	return a.May(ctx, callerOf(ctx), access.ReadHooks(namespace))
}

func refusedNamespace(caller, namespace string) string {
	if namespace == "" {
		return fmt.Sprintf("%s may not list hooks.kagent.dev in all namespaces: name one namespace (namespace=...), or ask for a ClusterRole with that right", caller)
	}
	return fmt.Sprintf("%s may not list hooks.kagent.dev in namespace %s: ask for a Role with that right", caller, namespace)
}

// allowPath returns an error unless the caller may get a path; who may read everything may get
// those that are not strict.
func (s *Server) allowPath(ctx context.Context, path string, strict bool) error {
	rights := []access.Right{access.GetPath(path)}
	if !strict {
		rights = []access.Right{access.ReadHooks(""), access.GetPath(path)}
	}
	return s.require(ctx, func(caller string) string { return refusedPath(caller, path, strict) }, rights...)
}

func refusedPath(caller, path string, strict bool) string {
	if strict {
		return fmt.Sprintf("%s may not get %s: ask for a ClusterRole with that nonResourceURL", caller, path)
	}
	return fmt.Sprintf("%s may not list hooks.kagent.dev in all namespaces, nor get %s: ask for a ClusterRole with that right or that nonResourceURL", caller, path)
}

// accessFailed is the answer when the API server could not be asked.
func (s *Server) accessFailed(ctx context.Context, err error) error {
	if errors.Is(err, review.ErrBusy) {
		return huma.ErrorWithHeaders(huma.Error429TooManyRequests("too many of your rights, such as those in many namespaces, were looked up: wait as long as Retry-After says"), http.Header{"Retry-After": {fmt.Sprint(comeBackIn())}})
	}
	s.cfg.Log.Error(err, "cannot ask Kubernetes what a caller may read", "request", requestID(ctx))
	return huma.ErrorWithHeaders(ofKind(kubernetesUnavailable, huma.Error503ServiceUnavailable("Kubernetes could not be asked what you may read; try again")), http.Header{"Retry-After": {"5"}})
}

// authenticate finds out who calls; on open routes only if the caller wants to be known.
func (s *Server) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		route, req := routeOf(r.Context()), requestOf(r.Context())
		open := openRoute(route)
		ends := route == sessionPath && r.Method != http.MethodGet && r.Method != http.MethodHead // or begins: whoever did the last one
		if s.cfg.Access != nil && !ends && (!open || r.Header.Get("Authorization") != "") {
			ctx, cancel := context.WithTimeout(r.Context(), s.cfg.Limits.RequestTimeout)
			caller, err := s.cfg.Access.Authenticate(r.WithContext(ctx), req.limitBy)
			cancel()
			if err != nil && !open { // an open route tells strangers, and those with a bad token, what everybody may know
				s.refuseUnknown(w, r, err)
				return
			}
			req.authFailed = err
			if err == nil {
				req.caller = caller
			}
		}
		if s.limitCaller(w, r) {
			next.ServeHTTP(w, r)
		}
	})
}

// openRoute says whether a route answers also those who do not say who they are.
func openRoute(route string) bool { return route == api.Base+"/health" || route == sessionPath }

func (s *Server) refuseUnknown(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, access.ErrUnknownCaller) {
		s.refuseToken(w, r)
		return
	}
	answerError(w, s.notAsked(r.Context(), err))
}

// notAsked is the answer where it could not be found out who calls.
func (s *Server) notAsked(ctx context.Context, err error) error {
	if errors.Is(err, review.ErrBusy) {
		s.metrics.limited.WithLabelValues("review").Inc()
		return huma.ErrorWithHeaders(huma.Error429TooManyRequests("too many tokens that khook does not know yet are waiting to be checked: come back when Retry-After says, with the same token"), http.Header{"Retry-After": {fmt.Sprint(comeBackIn())}})
	}
	s.cfg.Log.Error(err, "cannot ask Kubernetes who calls", "request", requestID(ctx))
	return huma.ErrorWithHeaders(ofKind(kubernetesUnavailable, huma.Error503ServiceUnavailable("Kubernetes could not be asked who you are; try again")), http.Header{"Retry-After": {"5"}})
}

// refuseToken answers a request whose token is nobody's, or that has none. A browser whose session does not count any more
// is told so, since it has to begin another one.
func (s *Server) refuseToken(w http.ResponseWriter, r *http.Request) {
	_, how := s.madeFor()
	kind, detail, challenge := kindOfStatus[http.StatusUnauthorized], s.badToken(), `Bearer realm="khook", error="invalid_token"`
	switch req := requestOf(r.Context()); {
	case req.session.sent():
		kind, detail = sessionEnded, "your session has ended, or was taken back: log in again (POST "+sessionPath+")"
	case r.Header.Get("Authorization") == "":
		detail, challenge = `send a token of the cluster, such as: -H "Authorization: Bearer $(kubectl create token SERVICEACCOUNT`+how+`)"`, `Bearer realm="khook"`
	}
	w.Header().Set("WWW-Authenticate", challenge)
	writeProblemOf(w, kind, http.StatusUnauthorized, detail)
}

// badToken says what is wrong with a token that is nobody's.
func (s *Server) badToken() string {
	made, _ := s.madeFor()
	return "the bearer token is not valid, or no longer" + made
}

// madeFor says for which audience a token has to be made, and how.
func (s *Server) madeFor() (made, how string) {
	if s.cfg.TokenAudience == "" {
		return "", ""
	}
	return ", or was not made for the audience " + s.cfg.TokenAudience, " --audience " + s.cfg.TokenAudience
}

// comeBackIn is in how many seconds to try again: not all at once.
func comeBackIn() int { return 1 + rand.IntN(3) } //nolint:gosec // only to spread
