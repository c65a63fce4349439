package kagenttest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/a2aproject/a2a-go/v2/a2a"
	"github.com/a2aproject/a2a-go/v2/a2acompat/a2av0"
	"github.com/a2aproject/a2a-go/v2/a2asrv"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/delivery"
)

var silent = slog.New(slog.DiscardHandler)

// maxBody bounds a request's body.
const maxBody = 4 << 20

// ServeHTTP answers as the dialect's version of kagent does.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r = r.WithContext(context.WithValue(r.Context(), dialectKey{}, s.Dialect()))
	body, _ := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	r.Body = io.NopCloser(bytes.NewReader(body))
	kind, ref := s.route(r, body)
	s.records.request(Request{Kind: kind, Method: r.Method, Path: r.URL.Path, Header: r.Header.Clone(), At: time.Now(), Dialect: s.dialectOf(r.Context())})
	s.faulty(w, r, kind, ref, func(w http.ResponseWriter) { s.serve(w, r, kind, ref) })
}

// The kinds of requests, by which faults and records are told apart.
const (
	Health  = "health"
	Version = "version"
	Card    = "card"
	Session = "session" // POST /api/sessions
	Tasks   = "tasks"   // GET /api/sessions/{id}/tasks
	Stored  = "stored"  // GET /api/tasks/{id}
	Send    = "send"
	Stream  = "stream"
	Get     = "get"
	List    = "list"
	Cancel  = "cancel"
	Nothing = "nothing" // no such route in this dialect
)

var rpcKinds = map[string]string{
	"SendMessage": Send, "message/send": Send, "SubscribeToTask": Stream, "tasks/resubscribe": Stream,
	"GetTask": Get, "tasks/get": Get, "ListTasks": List, "tasks/list": List, "CancelTask": Cancel, "tasks/cancel": Cancel,
}

func (s *Server) route(r *http.Request, body []byte) (kind string, ref delivery.AgentRef) {
	dialect, rest := s.dialectOf(r.Context()), s.restful(r.Context())
	path := strings.Split(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case r.URL.Path == "/health" && dialect != agent.Kagent10:
		return Health, ref
	case r.URL.Path == "/version" && rest:
		return Version, ref
	case r.URL.Path == "/api/sessions" && rest && r.Method == http.MethodPost:
		return Session, ref
	case len(path) == 4 && path[0] == "api" && path[1] == "sessions" && path[3] == "tasks" && rest:
		return Tasks, ref
	case len(path) == 3 && path[0] == "api" && path[1] == "tasks" && rest:
		return Stored, ref
	case dialect == agent.Kagent10 && path[0] == "agents":
		return agentRoute(r, path[1:], body, 2)
	case dialect != agent.Kagent10 && path[0] == "api" && len(path) > 1 && path[1] == "a2a":
		return agentRoute(r, path[2:], body, 3)
	}
	return Nothing, ref
}

// agentRoute tells the routes of an agent apart; its endpoint has a slash at the end, an empty
// third element, in the older versions.
func agentRoute(r *http.Request, path []string, body []byte, endpoint int) (string, delivery.AgentRef) {
	if len(path) < 2 {
		return Nothing, delivery.AgentRef{}
	}
	ref := delivery.AgentRef{Namespace: path[0], Name: path[1]}
	if strings.Join(path[2:], "/") == ".well-known/agent-card.json" && r.Method == http.MethodGet {
		return Card, ref
	}
	if len(path) != endpoint || path[endpoint-1] == "" != (endpoint == 3) || r.Method != http.MethodPost {
		return Nothing, ref
	}
	var call struct {
		Method string `json:"method"`
	}
	_ = json.Unmarshal(body, &call)
	if kind, ok := rpcKinds[call.Method]; ok {
		return kind, ref
	}
	return "rpc", ref
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, kind string, ref delivery.AgentRef) {
	if token := s.token.Load().(string); token != "" && kind != Health && r.Header.Get("Authorization") != "Bearer "+token {
		http.Error(w, "Unauthorized", http.StatusUnauthorized)
		return
	}
	user := s.userOf(r)
	if user == "" && kind != Health {
		http.Error(w, "unauthenticated: missing or invalid Authorization header", http.StatusUnauthorized)
		return
	}
	dialect := s.dialectOf(r.Context())
	r = r.WithContext(context.WithValue(r.Context(), userKey{}, user))
	switch kind {
	case Nothing:
		http.NotFound(w, r)
	case Health:
		writeJSON(w, http.StatusOK, map[string]any{"error": false, "data": map[string]string{"status": "OK"}, "message": "OK"})
	case Version:
		version := "0.9.6"
		if dialect == agent.Kagent097 {
			version = "0.10.0"
		}
		writeJSON(w, http.StatusOK, map[string]string{"kagent_version": version, "git_commit": "none", "build_date": "unknown"})
	case Session:
		s.postSession(w, r)
	case Tasks:
		s.sessionTasks(w, r, strings.Split(r.URL.Path, "/")[3])
	case Stored:
		s.storedTask(w, r, strings.Split(r.URL.Path, "/")[3])
	default:
		if !s.exists(ref) {
			http.Error(w, fmt.Sprintf("Agent %s not found", ref), http.StatusNotFound)
			return
		}
		if kind == Card {
			s.card(w, r, ref)
			return
		}
		s.call(w, r, ref)
	}
}

// call hands a JSON-RPC call to the SDK's server, if its version header is right in this dialect.
func (s *Server) call(w http.ResponseWriter, r *http.Request, ref delivery.AgentRef) {
	dialect := s.dialectOf(r.Context())
	r = r.WithContext(context.WithValue(r.Context(), refKey{}, ref))
	version := r.Header.Get("A2A-Version")
	switch {
	case dialect == agent.Kagent05 && version != "":
		http.NotFound(w, r) // its methods have other names
	case dialect == agent.Kagent05, dialect == agent.Kagent097 && (version == "" || version == "0.3"):
		s.v0.ServeHTTP(w, r)
	case version == "1.0":
		s.v1.ServeHTTP(w, r)
	default:
		http.Error(w, fmt.Sprintf("unsupported A2A version %q", version), http.StatusBadRequest)
	}
}

// card shows what the version's cards show. Its URL leads nowhere: nobody may trust it.
func (s *Server) card(w http.ResponseWriter, r *http.Request, ref delivery.AgentRef) {
	const nowhere = "http://127.0.0.1:9/"
	full := &a2a.AgentCard{
		Name: strings.ReplaceAll(ref.Name, "-", "_"), Description: "A stand-in without a language model.", Version: "1",
		Capabilities:      a2a.AgentCapabilities{Streaming: !s.opts.NoStream},
		DefaultInputModes: []string{"text"}, DefaultOutputModes: []string{"text"},
		SupportedInterfaces: []*a2a.AgentInterface{{URL: nowhere, ProtocolBinding: a2a.TransportProtocolJSONRPC, ProtocolVersion: "1.0"}},
	}
	switch s.dialectOf(r.Context()) {
	case agent.Kagent05:
		full.SupportedInterfaces[0].ProtocolVersion = a2av0.Version
		writeJSON(w, http.StatusOK, a2av0.FromV1AgentCard(full))
	case agent.Kagent097:
		full.SupportedInterfaces = append(full.SupportedInterfaces, &a2a.AgentInterface{URL: nowhere, ProtocolBinding: a2a.TransportProtocolJSONRPC, ProtocolVersion: a2av0.Version})
		writeJSON(w, http.StatusOK, full)
	default:
		if r.Header.Get("A2A-Version") != "1.0" && s.dialectOf(r.Context()) == agent.KagentMain {
			http.Error(w, "unsupported A2A version", http.StatusBadRequest)
			return
		}
		writeJSON(w, http.StatusOK, full)
	}
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value)
}

type refKey struct{}

// ownership makes the caller that kagent would see the owner of the tasks.
type ownership struct {
	a2asrv.PassthroughCallInterceptor
}

// Before implements a2asrv.CallInterceptor.
func (ownership) Before(ctx context.Context, call *a2asrv.CallContext, _ *a2asrv.Request) (context.Context, any, error) {
	call.User = a2asrv.NewAuthenticatedUser(callerOf(ctx), nil)
	return ctx, nil, nil
}
