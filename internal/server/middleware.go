package server

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/klauspost/compress/gzhttp"

	"github.com/kagent-dev/khook/internal/access"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/conns"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/stream"
)

// middleware returns what answers a request: the steps below, in the order in which the request passes them, and then
// its route. Each step either answers, or hands on to the next one.
//
// The order is load-bearing. What costs nothing comes first, so that a flood is refused before it costs anything; nobody
// is asked who they are before their address was limited; and no body is read, nor room taken for an answer, before it
// is known who calls.
func (s *Server) middleware() http.Handler {
	steps := []func(http.Handler) http.Handler{
		conns.Track,    // on which connection it came
		s.observe,      // gives it an ID; a panic below is answered, and every answer logged and counted
		s.prefixed,     // takes the path of --external-url off
		s.ownHost,      // against DNS rebinding, while nobody is asked who they are
		fewFields,      // bounds the header
		s.credentials,  // finds the one token of the request, also that of a session
		s.limitAddress, // bounds the requests of an address, as far as it is all that is known
		s.dashboard,    // answers with the page and its files, which are the same for everybody
		compressed,
		s.routed,       // notes which route it is for, and answers if there is none
		acceptable,     // the content type
		wellFormed,     // the query
		s.ownOrigin,    // against what pages of other sites make a browser send
		s.authenticate, // who calls; bounds the requests of a caller
		s.ownPlace,     // the connection is a caller's from here on
		s.timed,        // bounds the time
		s.admit,        // bounds the memory: reads the body, and waits for room for the answer
	}
	h := http.Handler(s.mux)
	for _, step := range slices.Backward(steps) {
		h = step(h)
	}
	return h
}

// compressed compresses answers, but not live streams: these are to be sent as they come.
func compressed(next http.Handler) http.Handler {
	compress, err := gzhttp.NewWrapper(gzhttp.MinSize(1024), gzhttp.ExceptContentTypes([]string{stream.ContentType}))
	if err != nil {
		panic(err) // of the options above
	}
	plain, smaller := next, compress(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == streamPath {
			plain.ServeHTTP(w, r)
			return
		}
		smaller.ServeHTTP(w, r)
	})
}

// requestInfo is what is noted of a request on its way.
type requestInfo struct {
	id, route, address string
	limitBy            string        // the address as it is limited; empty if it stands for nobody in particular
	caller             access.Caller // nil while it is not known
	authFailed         error         // why it is not, on an open route
	base               string        // the path below which the client reaches khook, with a slash at its end
	site               site          // how a browser reached khook
	session            loginCookies  // of one that counts, or that does not any more
}

type requestKey struct{}

func requestOf(ctx context.Context) *requestInfo {
	r, _ := ctx.Value(requestKey{}).(*requestInfo)
	if r == nil {
		return &requestInfo{}
	}
	return r
}

func requestID(ctx context.Context) string       { return requestOf(ctx).id }
func routeOf(ctx context.Context) string         { return requestOf(ctx).route }
func callerOf(ctx context.Context) access.Caller { return requestOf(ctx).caller }
func callerName(ctx context.Context) string      { return requestOf(ctx).callerName() }

// callerName is "" while the caller is not known.
func (r *requestInfo) callerName() string {
	if r.caller == nil {
		return ""
	}
	return r.caller.GetName()
}

// clientOf names who sent a request, for limits.
func clientOf(ctx context.Context) string {
	r := requestOf(ctx)
	if r.caller != nil {
		return "user " + r.callerName()
	}
	return "address " + r.address
}

// observe gives the request an ID, answers a panic, and logs and counts the request when it is over.
func (s *Server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		req := &requestInfo{id: idOf(r), route: "none"}
		req.address, req.limitBy = s.origins.of(r)
		h := w.Header()
		h.Set("X-Request-Id", req.id)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		h.Set("Vary", "Accept, Authorization, Cookie, "+api.TokenHeader)
		rec := &recorder{ResponseWriter: w}
		s.metrics.inFlight.Inc()
		s.metrics.open.Add(1)
		defer func() {
			if what := recover(); what != nil && what != http.ErrAbortHandler { //nolint:errorlint // it is this value
				s.cfg.Log.Error(fmt.Errorf("panic: %v", what), "a request failed", "request", req.id, "route", req.route, "stack", string(debug.Stack()))
				if rec.code == 0 {
					writeProblem(rec, http.StatusInternalServerError, "khook failed; its log says why (request "+req.id+")")
				}
			}
			s.metrics.inFlight.Dec()
			s.metrics.open.Add(-1)
			s.done(r, req, rec, time.Since(began))
		}()
		next.ServeHTTP(rec, r.WithContext(context.WithValue(r.Context(), requestKey{}, req)))
	})
}

// maxLogged bounds what the log shows of a path, in bytes.
const maxLogged = 256

func (s *Server) done(r *http.Request, req *requestInfo, rec *recorder, took time.Duration) {
	code := rec.code
	if code == 0 {
		code = http.StatusOK
	}
	s.metrics.observe(req.route, r.Method, code, took)
	s.accessLog.write(accessLevel(req.route, code), code, req.address, "request", req.id, "method", incident.Clean(r.Method, 16), "path", incident.Clean(r.URL.Path, maxLogged),
		"route", req.route, "status", code, "bytes", rec.bytes, "took", took.Round(time.Microsecond).String(), "client", req.address, "user", incident.Clean(req.callerName(), maxLogged))
}

// accessLevel keeps what is asked every few seconds out of the log, while it goes well.
func accessLevel(route string, code int) int {
	if code < http.StatusBadRequest && (route == api.Base+"/health" || route == api.Base+"/metrics") {
		return 1
	}
	return 0
}

// idOf is the client's ID of the request if it is a decent one, else a new one.
func idOf(r *http.Request) string {
	id := r.Header.Get("X-Request-Id")
	ok := id != "" && len(id) <= 64
	for _, c := range id {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_.:", c))
	}
	if ok {
		return id
	}
	return uuid.NewString()
}

// recorder notes what was answered.
type recorder struct {
	http.ResponseWriter
	code  int
	bytes int64
}

func (r *recorder) WriteHeader(code int) {
	if r.code == 0 {
		r.code = code
	}
	r.ResponseWriter.WriteHeader(code)
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.code == 0 {
		r.code = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(p)
	r.bytes += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// timed ends what takes too long.
func (s *Server) timed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/debug/") || r.URL.Path == streamPath {
			next.ServeHTTP(w, r) // a profile takes as long as it is asked for, a stream as long as it is wanted
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), s.cfg.Limits.RequestTimeout)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}
