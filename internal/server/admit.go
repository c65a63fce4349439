package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/capacity"
	"github.com/kagent-dev/khook/internal/conns"
)

// gates bound what requests hold in memory at the same time: of all clients, and of each so that
// there is room for another.
type gates struct {
	bodies    *capacity.Gate // bytes of bodies, from before they are read until their answer
	answers   *capacity.Gate // bytes of answers, until they are written
	manifests *capacity.Gate // texts with Hooks that are checked
	catchUps  *capacity.Gate // streams that have messages of their own in memory
	logins    *capacity.Gate // bytes of bodies with tokens, which strangers send
}

func newGates(l Limits) *gates {
	return &gates{
		bodies:    capacity.NewGate(capacity.GateConfig{Size: l.BodyBytes}),
		answers:   capacity.NewGate(capacity.GateConfig{Size: l.ResponseBytes, ClientLine: l.Burst, Lines: 4 * max(l.Burst, 256)}),
		manifests: capacity.NewGate(capacity.GateConfig{Size: int64(l.Validations)}),
		logins:    capacity.NewGate(capacity.GateConfig{Size: min(16*maxLogin, l.BodyBytes)}),
		catchUps:  capacity.NewGate(capacity.GateConfig{Size: int64(l.CatchUps), ClientLine: l.ClientStreams, Lines: l.Streams}),
	}
}

// ownPlace notes whose the connection is, now that the caller is known: it is not closed for those
// of strangers any more.
func (s *Server) ownPlace(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !openRoute(routeOf(r.Context())) {
			conns.Known(r.Context(), clientOf(r.Context()))
		}
		next.ServeHTTP(w, r)
	})
}

// admit lets a request in when there is room for its body and for its answer. The caller is known by
// then, and a body that is too large is refused before any of it is read.
func (s *Server) admit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		route := routeOf(r.Context())
		if route == api.Base+"/health" || route == streamPath || strings.HasPrefix(route, "/debug/") {
			next.ServeHTTP(w, r) // what these hold is bounded otherwise
			return
		}
		body, ok := s.receive(w, r)
		defer body.Leave()
		if !ok {
			return
		}
		answer, err := s.gates.answers.Enter(r.Context(), clientOf(r.Context()), s.costOf(r, route))
		if err != nil {
			s.noRoom(w, r, err)
			return
		}
		defer answer.Leave()
		next.ServeHTTP(&weighed{ResponseWriter: w, pass: answer}, r)
	})
}

// weighed is a ResponseWriter that gives back what an answer turns out not to need, before its first
// byte goes out: from then on the client says how long it takes.
type weighed struct {
	http.ResponseWriter
	pass *capacity.Pass
	done bool
}

// Write implements http.ResponseWriter.
func (w *weighed) Write(p []byte) (int, error) {
	if !w.done {
		w.done = true
		w.pass.Keep(answerBase + answerByte*int64(len(p)))
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (w *weighed) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// noRoom answers a request for which there was no room in time.
func (s *Server) noRoom(w http.ResponseWriter, r *http.Request, err error) {
	status, detail := s.explainNoRoom(err)
	w.Header().Set("Retry-After", retrySoon)
	if r.ContentLength != 0 && r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close") // rather than read the rest of the body
	}
	writeProblem(w, status, detail)
}

// retrySoon is when to come back to a gate that was full, in seconds.
const retrySoon = "2"

func (s *Server) explainNoRoom(err error) (status int, detail string) {
	switch {
	case errors.Is(err, capacity.ErrClientBusy):
		s.metrics.limited.WithLabelValues("under-way").Inc()
		return http.StatusTooManyRequests, "too many of your requests are under way: wait for their answers, or ask for less at once"
	case errors.Is(err, capacity.ErrBusy):
		s.metrics.limited.WithLabelValues("busy").Inc()
		return http.StatusServiceUnavailable, "too many requests are under way: try again after Retry-After"
	}
	return http.StatusServiceUnavailable, "the request was not looked at in time: try again after Retry-After"
}

// maxAction bounds the body of an action on a delivery, in bytes: a reply in JSON with all escaped.
const maxAction = 128 << 10

// maxLogin bounds the body of a login, in bytes: a token in JSON.
const maxLogin = 24 << 10

// gateOf is where the body of a request has its place: those of strangers take none from callers who are known.
func (s *Server) gateOf(r *http.Request) *capacity.Gate {
	if routeOf(r.Context()) == sessionPath {
		return s.gates.logins
	}
	return s.gates.bodies
}

func (s *Server) maxBody(route string) int64 {
	if route == sessionPath {
		return min(maxLogin, s.cfg.Limits.BodyBytes)
	}
	if strings.HasSuffix(route, "/hooks/validate") {
		return s.cfg.Limits.MaxBody
	}
	return min(maxAction, s.cfg.Limits.BodyBytes)
}

// receive reads the body of a request, if it has one, and puts what it read in its place. What it
// takes of the gate is to be left when the request is answered; if it is not ok it has answered.
func (s *Server) receive(w http.ResponseWriter, r *http.Request) (pass *capacity.Pass, ok bool) {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 || r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil, true
	}
	most := s.maxBody(routeOf(r.Context()))
	if r.ContentLength > most {
		tooLarge(w, r, most)
		return nil, false
	}
	cost := r.ContentLength
	if cost < 0 { // it does not say
		cost = most
	}
	pass, err := s.gateOf(r).Enter(r.Context(), clientOf(r.Context()), cost)
	if err != nil {
		s.noRoom(w, r, err)
		return nil, false
	}
	text, err := readFrom(http.NewResponseController(w), r.Body, make([]byte, 0, cost+1), most, time.Now())
	switch {
	case err == nil && int64(len(text)) > most:
		tooLarge(w, r, most)
	case err == nil:
		r.Body = io.NopCloser(bytes.NewReader(text))
		return pass, true
	case errors.Is(err, errSlowBody):
		w.Header().Set("Connection", "close")
		writeProblem(w, http.StatusRequestTimeout, fmt.Sprintf("the body came too slowly: send at least %d KiB a second", slowest>>10))
	default:
		writeProblem(w, http.StatusBadRequest, "the body did not come to its end")
	}
	return pass, false
}

func tooLarge(w http.ResponseWriter, r *http.Request, most int64) {
	if r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
	writeProblem(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is too large: send fewer Hooks at once (at most %s)", capacity.Text(most)))
}

// A body must come this fast: it may be late by patience, and then so many bytes a second.
const (
	bodyPatience = 5 * time.Second
	slowest      = 16 << 10
)

var errSlowBody = errors.New("the body came too slowly")

// readFrom appends what a body has, up to one byte more than most, since a time.
func readFrom(rc *http.ResponseController, body io.Reader, text []byte, most int64, began time.Time) ([]byte, error) {
	defer func() { _ = rc.SetReadDeadline(time.Time{}) }()
	for int64(len(text)) <= most {
		deadline := began.Add(bodyPatience + time.Duration(len(text))*time.Second/slowest)
		_ = rc.SetReadDeadline(deadline)
		if len(text) == cap(text) {
			text = append(text, 0)[:len(text)]
		}
		n, err := body.Read(text[len(text):cap(text)])
		text = text[:len(text)+n]
		switch {
		case errors.Is(err, io.EOF):
			return text, nil
		case err != nil && !time.Now().Before(deadline):
			return text, errSlowBody
		case err != nil:
			return text, err
		}
	}
	return text, nil
}

// What an answer takes in memory, from the rows that are read to the last byte that is written; see
// TestWhatAnswersCost. What it turns out to take is often much less, and all that is kept while the
// client reads it.
const (
	answerBase  = 1 << 20  // of any: buffers, and a compressor, of which gzip takes most: some 800 KiB
	answerRow   = 8 << 10  // of each row of a list
	answerStory = 20 << 20 // of one incident or delivery with all that was said
	answerStats = 4 << 20
	answerByte  = 3 // of each byte of the answer while it is written
)

// costOf is answerCost where the answer may be of several clusters: the pages of two of them are held at a time.
func (s *Server) costOf(r *http.Request, route string) int64 {
	cost := answerCost(r, route)
	if s.cfg.ServeClusters {
		cost += cost - answerBase
	}
	return cost
}

// answerCost is what the answer to a request takes at most.
func answerCost(r *http.Request, route string) int64 {
	switch path := strings.TrimPrefix(route, api.Base); {
	case strings.HasSuffix(path, "/{id}"):
		return answerStory
	case path == "/incidents/{id}/earlier":
		return answerBase + answerRow*(maxEarlier+maxEarlierCalls)
	case path == "/incidents/groups":
		return answerBase + answerRow*maxGroups
	case strings.HasPrefix(path, "/stats/"):
		return answerStats
	case strings.HasSuffix(path, "events"), strings.HasPrefix(path, "/events"), path == "/incidents", path == "/deliveries":
		return answerBase + answerRow*int64(rowsOf(r))
	}
	return answerBase
}

// rowsOf is how many rows a list may have.
func rowsOf(r *http.Request) int {
	const unset, most = 50, 1000
	limit, err := strconv.Atoi(r.URL.Query().Get("limit"))
	switch {
	case err != nil:
		return unset
	case limit < 1 || limit > most:
		return 1 // it will be refused
	}
	return limit
}

// enterValidation waits for a turn to check a text with Hooks.
func (s *Server) enterValidation(ctx context.Context) (*capacity.Pass, error) {
	return s.gates.manifests.Enter(ctx, clientOf(ctx), 1)
}
