package stream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/coder/websocket"

	"github.com/kagent-dev/khook/internal/feed"
	"github.com/kagent-dev/khook/internal/incident"
)

// The subprotocols. Browsers can set no header: there the token is a second subprotocol.
const (
	Protocol      = "khook.v1"
	TokenProtocol = "khook.bearer." //nolint:gosec // no token, but what stands before one
)

// TakeToken puts a token that came as a subprotocol where the others are, in the header Authorization.
func TakeToken(r *http.Request) {
	if !IsUpgrade(r) || r.Header.Get("Authorization") != "" {
		return
	}
	for _, list := range r.Header.Values("Sec-WebSocket-Protocol") {
		for p := range strings.SplitSeq(list, ",") {
			if token, ok := strings.CutPrefix(strings.TrimSpace(p), TokenProtocol); ok {
				r.Header.Set("Authorization", "Bearer "+token)
			}
		}
	}
}

// wsMessage is what goes over a WebSocket, either way.
type wsMessage struct {
	Type   string          `json:"type"`
	ID     int64           `json:"id,omitempty"`
	Event  json.RawMessage `json:"event,omitempty"`
	From   int64           `json:"from,omitempty"`
	To     int64           `json:"to,omitempty"`
	Reason string          `json:"reason,omitempty"`

	Kinds        []feed.Kind        `json:"kinds,omitempty"`
	Namespace    string             `json:"namespace,omitempty"`
	EventType    incident.EventType `json:"eventType,omitempty"`
	ResourceName string             `json:"resourceName,omitempty"`
	Workload     string             `json:"workload,omitempty"`
	Status       incident.Status    `json:"status,omitempty"`
	MaxRate      float64            `json:"maxRate,omitempty"`
}

// maxControl bounds a message of a client, in bytes.
const maxControl = 4096

// ws writes to a WebSocket.
type ws struct {
	conn *websocket.Conn
	ctx  context.Context //nolint:containedctx // of the stream, without its end: that is told first

	mu        sync.Mutex
	asked     []wsMessage        // by the client, not yet looked at
	interrupt context.CancelFunc // of the wait for the next batch
}

// maxAsked bounds how many messages of a client wait.
const maxAsked = 16

func (s *Session) serveWebSocket(life context.Context, w http.ResponseWriter, r *http.Request) {
	shake := &handshake{ResponseWriter: w}
	conn, err := websocket.Accept(shake, r, &websocket.AcceptOptions{Subprotocols: []string{Protocol}})
	if err != nil {
		shake.refuse(s.Caller)
		return
	}
	conn.SetReadLimit(maxControl)
	ctx, cancel := untilStop(context.WithoutCancel(r.Context()), life)
	defer cancel()
	ctx, gone := context.WithCancelCause(ctx)
	defer gone(nil)
	out := &ws{conn: conn, ctx: context.WithoutCancel(ctx)} // a write that is canceled takes the connection with it
	s.out, s.control = out, func(ctx context.Context) error { return s.applyControl(ctx, out) }
	readCtx, stopReading := context.WithCancel(context.WithoutCancel(ctx))
	defer stopReading()
	done := make(chan struct{})
	go func() { defer close(done); gone(out.listen(readCtx)) }()
	err = s.loop(ctx, func() (context.Context, context.CancelFunc) {
		wait, cancel := context.WithTimeout(ctx, s.patience())
		out.mu.Lock()
		out.interrupt = cancel
		if len(out.asked) > 0 {
			cancel()
		}
		out.mu.Unlock()
		return wait, cancel
	})
	out.end(err)
	stopReading()
	<-done
}

// handshake passes on the answer to a handshake, but for refusals: those become problem documents.
type handshake struct {
	http.ResponseWriter
	code int
	why  bytes.Buffer
}

// WriteHeader implements http.ResponseWriter.
func (h *handshake) WriteHeader(code int) {
	if code < http.StatusBadRequest {
		h.ResponseWriter.WriteHeader(code)
		return
	}
	h.code = code
}

// Write implements http.ResponseWriter.
func (h *handshake) Write(p []byte) (int, error) {
	if h.code == 0 {
		return h.ResponseWriter.Write(p)
	}
	return h.why.Write(p)
}

// Unwrap is for who takes the connection over.
func (h *handshake) Unwrap() http.ResponseWriter { return h.ResponseWriter }

// refuse answers with the problem, if the handshake came to one.
func (h *handshake) refuse(caller Caller) {
	if h.code != 0 {
		caller.Refuse(h.ResponseWriter, h.code, incident.Clean(strings.TrimSpace(h.why.String()), incident.MaxMessage))
	}
}

// end closes the connection, and says why.
func (w *ws) end(err error) {
	code, reason := websocket.StatusInternalError, "khook could not read its history"
	switch {
	case errors.Is(err, errStops):
		code, reason = websocket.StatusServiceRestart, fmt.Sprintf("khook stops: come back in %d ms", retryDelay())
	case errors.Is(err, errNoRight):
		code, reason = websocket.StatusPolicyViolation, errNoRight.Error()
	case errors.Is(err, errNotAsked):
		code, reason = websocket.StatusTryAgainLater, errNotAsked.Error()
	case errors.Is(err, context.DeadlineExceeded):
		code, reason = websocket.StatusPolicyViolation, "too slow: come back with the last id"
	case websocket.CloseStatus(err) != -1:
		code, reason = websocket.StatusNormalClosure, ""
	}
	_ = w.conn.Close(code, reason)
}

// listen takes what the client sends, until it leaves.
func (w *ws) listen(ctx context.Context) error {
	for {
		kind, text, err := w.conn.Read(ctx)
		if err != nil {
			return err
		}
		m := wsMessage{Type: "error", Reason: "send a text with a JSON object"}
		if kind == websocket.MessageText {
			m = readControl(text)
		}
		w.mu.Lock()
		if len(w.asked) < maxAsked {
			w.asked = append(w.asked, m)
		}
		if w.interrupt != nil {
			w.interrupt()
		}
		w.mu.Unlock()
	}
}

// readControl reads a message of a client; what is wrong with it is in a message of type error.
func readControl(text []byte) wsMessage {
	var m wsMessage
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	wrong := func(format string, args ...any) wsMessage {
		return wsMessage{Type: "error", Reason: incident.Clean(fmt.Sprintf(format, args...), incident.MaxMessage)}
	}
	switch err := d.Decode(&m); {
	case err != nil:
		return wrong("%v; send {\"type\": \"filter\", ...} with kinds, namespace, eventType, resourceName, workload, status and maxRate", err)
	case m.Type != "filter":
		return wrong("there is no message of type %q: send one of type filter", m.Type)
	case m.EventType != "" && !m.EventType.Valid():
		return wrong("eventType is %q: it must be one of %v", m.EventType, incident.EventTypes())
	case m.Status != "" && !slices.Contains([]incident.Status{incident.Firing, incident.Duplicate, incident.Resolved}, m.Status):
		return wrong("status is %q: it must be firing, duplicate or resolved", m.Status)
	case !kindsKnown(m.Kinds):
		return wrong("kinds must be a list of event, incident and delivery")
	case m.MaxRate < 0 || m.MaxRate > 1000:
		return wrong("maxRate must be from 0 to 1000")
	case m.ID != 0 || m.Event != nil || m.From != 0 || m.To != 0 || m.Reason != "":
		return wrong("a filter has kinds, namespace, eventType, resourceName, workload, status and maxRate only")
	}
	return m
}

func kindsKnown(kinds []feed.Kind) bool {
	_, ok := feed.KindsOf(kinds)
	return ok
}

// applyControl does what the client asked for.
func (s *Session) applyControl(ctx context.Context, out *ws) error {
	out.mu.Lock()
	asked := out.asked
	out.asked = nil
	out.mu.Unlock()
	for _, m := range asked {
		if wait, ok := s.Caller.LimitControl(); !ok {
			m = wsMessage{Type: "error", Reason: fmt.Sprintf("too many messages: wait %d s", max(1, int(math.Ceil(wait.Seconds()))))}
		}
		if m.Type == "filter" {
			if err := s.Caller.Allow(ctx, m.Namespace); err != nil {
				m = wsMessage{Type: "error", Reason: err.Error()}
			} else {
				s.Namespace = m.Namespace
				kinds, _ := feed.KindsOf(m.Kinds) // they were looked at
				s.Reader.Filter(feed.Filter{Kinds: kinds, Namespace: m.Namespace, Type: m.EventType, Status: m.Status, Name: m.ResourceName, Workload: m.Workload})
				held := s.rate.held
				s.rate = newPace(m.MaxRate)
				s.rate.held = held
				m.ID = s.Reader.Position()
			}
		}
		if err := out.send(m); err != nil { //nolint:contextcheck // it has that of the stream
			return err
		}
	}
	return nil
}

func (w *ws) send(m wsMessage) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return w.write(text)
}

func (w *ws) write(text []byte) error {
	ctx, cancel := context.WithTimeout(w.ctx, WriteLimit)
	defer cancel()
	return w.conn.Write(ctx, websocket.MessageText, text)
}

func (w *ws) ready(position int64) error { return w.send(wsMessage{Type: "ready", ID: position}) }

func (w *ws) events(messages []*feed.Message) error {
	var text []byte
	for _, m := range messages {
		text = append(fmt.Appendf(text[:0], `{"type":"%s","id":%d,"%[1]s":`, m.Kind, m.Seq), m.Data...)
		if err := w.write(append(text, '}')); err != nil {
			return err
		}
	}
	return nil
}

func (w *ws) gap(g feed.Gap, position int64) error {
	return w.send(wsMessage{Type: "gap", ID: position, From: g.From, To: g.To, Reason: g.Reason})
}

// position is a heartbeat: the client answers the ping, or is gone.
func (w *ws) position(position int64) error {
	if err := w.send(wsMessage{Type: "position", ID: position}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(w.ctx, WriteLimit)
	defer cancel()
	return w.conn.Ping(ctx)
}
