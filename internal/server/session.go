package server

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kagent-dev/khook/internal/access"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/stream"
)

const sessionPath = api.Base + "/session"

// credentials finds the one token that a request is judged by, and puts it into the header Authorization: it is there, or it
// is a subprotocol of a WebSocket or in khook's own header, or else that of a session. The cookies go no further, so that nothing can log them.
func (s *Server) credentials(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req := requestOf(r.Context())
		req.site = s.siteOf(r, req.base)
		if r.URL.Path == streamPath { // elsewhere no browser needs it
			stream.TakeToken(r)
		}
		takeToken(r)
		if s.cfg.Access != nil && r.Header.Get("Authorization") == "" {
			found := req.site.session(r, time.Now())
			if found.token != "" {
				r.Header.Set("Authorization", "Bearer "+found.token)
			}
			found.token = "" // it is in one place only
			req.session = found
		}
		r.Header.Del("Cookie")
		next.ServeHTTP(w, r)
	})
}

type loginInput struct {
	Body struct {
		Token string `json:"token" minLength:"1" maxLength:"16384" doc:"A bearer token of the cluster, such as kubectl create token makes." example:"eyJhbGciOi..."`
	}
}

// sessionAnswer is what a session is after a request, with the cookies that make it so.
type sessionAnswer struct {
	SetCookie []http.Cookie `header:"Set-Cookie"`
	Body      api.Session
}

func (s *Server) registerSession() {
	s.registerMe()
	errs := []int{http.StatusBadRequest, http.StatusForbidden, http.StatusNotAcceptable, http.StatusTooManyRequests, http.StatusServiceUnavailable}
	op := func(method, id, summary, description string, further ...int) huma.Operation {
		return huma.Operation{
			OperationID: id, Method: method, Path: sessionPath, Tags: []string{tagPeople}, Summary: summary, Description: description,
			Security: anonymous, Errors: append(further, errs...),
		}
	}
	huma.Register(s.api, op(http.MethodGet, "getSession", "Tell whether a browser is known",
		"Open to everybody. A session is a token in cookies that no page can read (HttpOnly, SameSite=Strict); khook keeps nothing of it."), s.getSession)
	login := op(http.MethodPost, "login", "Begin a session",
		"Takes a token, asks Kubernetes whose it is as for any request, and answers with cookies that hold it until it ends, and for 12 hours at most. They count on any replica as the token would; what changes something must come from a page of khook's own. "+
			"Over TLS, also of a trusted proxy that sends X-Forwarded-Proto, and on the loopback address only: else 403 of the kind insecure-login.", http.StatusUnauthorized, http.StatusUnsupportedMediaType)
	login.MaxBodyBytes, login.BodyReadTimeout = maxLogin, 20*time.Second
	huma.Register(s.api, login, s.login)
	huma.Register(s.api, op(http.MethodDelete, "logout", "End a session", "Takes the cookies away. The token itself goes on counting until it ends: khook can't take it back."), s.logout)
}

// sessionOf is what the request's session is.
func (s *Server) sessionOf(ctx context.Context) api.Session {
	now := api.Session{Authentication: "kubernetes", State: "none", Login: api.Login{Allowed: true, Audience: s.cfg.TokenAudience}}
	switch req := requestOf(ctx); {
	case s.cfg.Access == nil:
		now.Authentication, now.Login = "none", api.Login{Reason: "khook asks nobody who they are (--api-auth=none)"}
	case !req.site.mayHoldToken():
		now.Login.Allowed, now.Login.Reason = false, plainHTTP
	}
	return now
}

// plainHTTP says why no token is taken, and what to do.
const plainHTTP = "khook was reached by plain HTTP over the network, where all on the way could read the token. Open the page by khook dashboard on your own machine, or over https; " +
	"behind a proxy that ends TLS, give khook its address (--trusted-proxies), and let it send X-Forwarded-Proto: https"

func (s *Server) getSession(ctx context.Context, _ *struct{}) (*sessionAnswer, error) {
	answer, req := s.sessionOf(ctx), requestOf(ctx)
	if req.authFailed != nil && !errors.Is(req.authFailed, access.ErrUnknownCaller) {
		return nil, s.notAsked(ctx, req.authFailed)
	}
	switch {
	case !req.session.sent():
	case req.caller == nil:
		answer.State = "ended"
	default:
		answer.State, answer.Name, answer.ExpiresAt = "active", req.callerName(), &req.session.ends
	}
	return &sessionAnswer{Body: answer}, nil
}

func (s *Server) login(ctx context.Context, in *loginInput) (*sessionAnswer, error) {
	answer, req := s.sessionOf(ctx), requestOf(ctx)
	switch {
	case s.cfg.Access == nil:
		return &sessionAnswer{Body: answer}, nil
	case !answer.Login.Allowed:
		return nil, ofKind(insecureLogin, huma.Error403Forbidden(answer.Login.Reason))
	case !tokenForm.MatchString(in.Body.Token):
		return nil, s.notYours()
	}
	r := (&http.Request{Header: http.Header{"Authorization": {"Bearer " + in.Body.Token}}}).WithContext(ctx)
	caller, err := s.cfg.Access.Authenticate(r, req.limitBy)
	if errors.Is(err, access.ErrUnknownCaller) {
		return nil, s.notYours()
	}
	if err != nil {
		return nil, s.notAsked(ctx, err)
	}
	req.caller = caller
	now := time.Now()
	ends := sessionEnd(in.Body.Token, now)
	answer.State, answer.Name, answer.ExpiresAt = "active", caller.GetName(), &ends
	s.cfg.Log.Info("a person logged in", "user", incident.Clean(answer.Name, maxLogged), "until", ends, "client", req.address, "request", req.id)
	return &sessionAnswer{SetCookie: req.site.cookies(in.Body.Token, ends, now), Body: answer}, nil
}

// notYours is the answer to a token that is nobody's.
func (s *Server) notYours() error {
	return huma.ErrorWithHeaders(huma.Error401Unauthorized(s.badToken()), http.Header{"WWW-Authenticate": {`Bearer realm="khook", error="invalid_token"`}})
}

func (s *Server) logout(ctx context.Context, _ *struct{}) (*sessionAnswer, error) {
	return &sessionAnswer{SetCookie: requestOf(ctx).site.clear(0), Body: s.sessionOf(ctx)}, nil
}
