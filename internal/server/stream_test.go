package server

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/kagent-dev/khook/internal/access"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
	"github.com/kagent-dev/khook/internal/stream"
)

// liveFixture is a server that listens, with a history.
type liveFixture struct {
	*fixture
	t    testing.TB
	base string
	stop func() // and wait until it has ended
	n    int
}

func goLive(t testing.TB, change ...func(*Config)) *liveFixture {
	t.Helper()
	f := newFixture(t, append(change, func(c *Config) { c.Drain = 5 * time.Second })...)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = f.Run(ctx, listener) }()
	l := &liveFixture{fixture: f, t: t, base: "http://" + listener.Addr().String(), stop: func() { cancel(); <-done }}
	t.Cleanup(l.stop)
	return l
}

// happen records an event, with a further change of its status for each time that it is resolved.
func (l *liveFixture) happen(namespace string) *incident.Event {
	l.t.Helper()
	l.n++
	s := &incident.Signal{
		Key: fmt.Sprint("live ", l.n), Kind: incident.Observed, Type: incident.OOMKill, At: time.Now(), Count: 1, Observation: incident.Observation{
			Reason: "OOMKilled", Message: "it was killed", Resource: incident.Resource{Kind: "Pod", Namespace: namespace, Name: fmt.Sprint("pod-", l.n), UID: fmt.Sprint("live-uid-", l.n)},
			Workload: incident.Workload{Kind: "Deployment", Name: "cart"},
		},
	}
	inc := incident.Open(incident.Origin{}, s)
	e := incident.NewEvent(inc, s, time.Now())
	err := l.store.WriteRelaxed(context.Background(), func(tx *store.Tx) error {
		e.ID = tx.NextEvent()
		return tx.Save(context.Background(), &store.Changes{Events: []*incident.Event{e}, Incidents: []*incident.Incident{inc}})
	})
	if err != nil {
		l.t.Fatal(err)
	}
	l.cfg.Feed.Wake()
	return e
}

// sseClient reads a stream frame by frame.
type sseClient struct {
	t     testing.TB
	resp  *http.Response
	lines *bufio.Scanner
}

func (l *liveFixture) sse(path string, headers ...string) *sseClient {
	l.t.Helper()
	return l.sseBy(http.DefaultClient, path, headers...)
}

func (l *liveFixture) sseBy(client *http.Client, path string, headers ...string) *sseClient {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	l.t.Cleanup(cancel)
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, l.base+streamPath+path, nil)
	req.Header.Set("Accept", stream.ContentType)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { resp.Body.Close() })
	return &sseClient{l.t, resp, bufio.NewScanner(resp.Body)}
}

// next returns the lines of the next frame; nil at the end.
func (c *sseClient) next() []string {
	c.t.Helper()
	var frame []string
	for c.lines.Scan() {
		if c.lines.Text() == "" {
			return frame
		}
		frame = append(frame, c.lines.Text())
	}
	return frame
}

func (c *sseClient) wants(parts ...string) {
	c.t.Helper()
	frame := strings.Join(c.next(), "\n")
	for _, p := range parts {
		if !strings.Contains(frame, p) {
			c.t.Fatalf("the frame is %q, want %q in it", frame, parts)
		}
	}
}

func TestAStreamOfServerSentEvents(t *testing.T) {
	l := goLive(t)
	c := l.sse("?namespace=shop")
	for name, want := range map[string]string{"Content-Type": stream.ContentType, "X-Accel-Buffering": "no", "Content-Encoding": "", "Cache-Control": "no-store"} {
		if got := c.resp.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	last, err := l.store.LastChange(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.wants("retry: ", fmt.Sprintf("id: %d", last), "event: ready")
	l.happen("pay")
	e := l.happen("shop")
	c.wants(fmt.Sprintf("id: %d", e.ID), "event: event", `"resourceName":"`+e.Resource.Name+`"`, `"status":"firing"`)

	again := l.sse("", "Last-Event-ID", fmt.Sprint(last))
	again.wants(fmt.Sprintf("id: %d", last), "event: ready")
	again.wants(`"namespace":"pay"`)
	again.wants(`"namespace":"shop"`)
	head, err := http.Head(l.base + streamPath)
	if err != nil || head.StatusCode != http.StatusOK || head.Header.Get("Content-Type") != stream.ContentType {
		t.Fatalf("HEAD: %+v %v", head, err)
	}
	head.Body.Close()
	for path, word := range map[string]string{
		"?after=x": "after", "?after=1&since=2026-01-01T00:00:00Z": "since", "?status=open": "status", "?limit=5": "limit", "?maxRate=5000": "maxRate",
	} {
		if r := l.sse(path); r.resp.StatusCode != http.StatusBadRequest || !strings.Contains(strings.Join(r.next(), ""), word) {
			t.Errorf("%s: %d", path, r.resp.StatusCode)
		}
	}
	if r := l.sse("", "Last-Event-ID", "one"); r.resp.StatusCode != http.StatusBadRequest {
		t.Errorf("Last-Event-ID: %d", r.resp.StatusCode)
	}
	if r := l.sse("", "Accept", "application/json"); r.resp.StatusCode != http.StatusNotAcceptable {
		t.Errorf("Accept: %d", r.resp.StatusCode)
	}
}

func TestStreamsAreBoundedAndClientsAreToldToComeBack(t *testing.T) {
	l := goLive(t, func(c *Config) { c.Limits.Streams, c.Limits.ClientStreams = 3, 2 })
	a, b := l.sse(""), l.sse("")
	a.wants("ready")
	b.wants("ready")
	if r := l.sse(""); r.resp.StatusCode != http.StatusTooManyRequests || r.resp.Header.Get("Retry-After") == "" {
		t.Errorf("a third one of one client: %d", r.resp.StatusCode)
	}
	l.stop()
	a.wants("retry: ", "khook stops, come back")
	if frame := a.next(); frame != nil {
		t.Errorf("after the end: %q", frame)
	}
	b.wants("khook stops")
}

func TestAStreamOverHTTP2IsToldThatKhookStops(t *testing.T) {
	l := goLive(t, func(c *Config) { c.HTTP2Cleartext = true })
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	c := l.sseBy(&http.Client{Transport: transport}, "")
	if c.resp.ProtoMajor != 2 {
		t.Fatalf("it is %s", c.resp.Proto)
	}
	c.wants("ready")
	l.stop()
	c.wants("khook stops, come back")
}

// wsMessage is what a WebSocket carries, as a client reads it.
type wsMessage struct {
	Incident, Delivery      json.RawMessage
	Type, Reason, Namespace string
	MaxRate                 float64
	ID, From, To            int64
	Event                   json.RawMessage
}

// wsClient is a WebSocket that reads messages.
type wsClient struct {
	t    testing.TB
	conn *websocket.Conn
}

func (l *liveFixture) ws(path string, opts *websocket.DialOptions) *wsClient {
	l.t.Helper()
	conn, resp, err := websocket.Dial(l.t.Context(), strings.Replace(l.base, "http", "ws", 1)+streamPath+path, opts)
	if err != nil {
		l.t.Fatalf("%v %+v", err, resp)
	}
	l.t.Cleanup(func() { _ = conn.CloseNow() })
	return &wsClient{l.t, conn}
}

func (c *wsClient) next() (wsMessage, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	_, text, err := c.conn.Read(ctx)
	if err != nil {
		return wsMessage{}, err
	}
	var m wsMessage
	return m, json.Unmarshal(text, &m)
}

func (c *wsClient) wants(kind string) wsMessage {
	c.t.Helper()
	m, err := c.next()
	if err != nil || m.Type != kind {
		c.t.Fatalf("%+v %v, want %s", m, err, kind)
	}
	return m
}

func (c *wsClient) says(text string) {
	c.t.Helper()
	if err := c.conn.Write(c.t.Context(), websocket.MessageText, []byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

func TestAStreamOverAWebSocket(t *testing.T) {
	l := goLive(t)
	c := l.ws("?namespace=shop", &websocket.DialOptions{Subprotocols: []string{stream.Protocol}})
	if c.conn.Subprotocol() != stream.Protocol {
		t.Errorf("subprotocol %q", c.conn.Subprotocol())
	}
	ready := c.wants("ready")
	l.happen("pay")
	e := l.happen("shop")
	m := c.wants("event")
	var record api.Event
	if err := json.Unmarshal(m.Event, &record); err != nil || m.ID != e.ID || record.ResourceName != e.Resource.Name || m.ID <= ready.ID {
		t.Errorf("%+v %v", m, err)
	}
	c.says(`{"type":"filter","namespace":"pay","maxRate":100}`)
	if m := c.wants("filter"); m.Namespace != "pay" || m.MaxRate != 100 {
		t.Errorf("%+v", m)
	}
	l.happen("shop")
	p := l.happen("pay")
	if m := c.wants("event"); m.ID != p.ID {
		t.Errorf("%+v", m)
	}
	for text, word := range map[string]string{
		`{"type":"filter","eventType":"crash"}`: "oom-kill", `{"type":"dance"}`: "filter", `{"typ":1}`: "namespace", `x`: "filter", `{"type":"filter","maxRate":-1}`: "maxRate", `{"type":"filter","id":4}`: "only",
	} {
		c.says(text)
		if m := c.wants("error"); !strings.Contains(m.Reason, word) {
			t.Errorf("%s: %q", text, m.Reason)
		}
	}
	l.stop()
	if _, err := c.next(); websocket.CloseStatus(err) != websocket.StatusServiceRestart || !strings.Contains(err.Error(), "come back in") {
		t.Errorf("at the end: %v", err)
	}
}

func TestAWebSocketThatSaysTooMuchIsClosed(t *testing.T) {
	l := goLive(t)
	c := l.ws("", nil)
	c.wants("ready")
	c.says(`{"type":"filter","namespace":"` + strings.Repeat("x", 4096) + `"}`)
	if _, err := c.next(); websocket.CloseStatus(err) != websocket.StatusMessageTooBig {
		t.Errorf("%v", err)
	}
}

func TestAWebSocketOfAnotherOriginIsRefused(t *testing.T) {
	l := goLive(t)
	_, resp, err := websocket.Dial(t.Context(), strings.Replace(l.base, "http", "ws", 1)+streamPath, &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {"https://evil.example"}}})
	if err == nil || resp == nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("%+v %v", resp, err)
	}
}

// doorman lets one token in, as long as it likes.
type doorman struct{ open atomic.Bool }

type callerNamed string

func (n callerNamed) GetName() string { return string(n) }

func (d *doorman) Authenticate(r *http.Request, address string) (access.Caller, error) {
	if r.Header.Get("Authorization") != "Bearer t0ken" {
		return nil, access.ErrUnknownCaller
	}
	return callerNamed("ann"), nil
}
func (d *doorman) May(_ context.Context, _ access.Caller, r access.Right) (bool, error) {
	return r.Path == "" && d.open.Load(), nil
}

func TestTheTokenOfAWebSocketMayBeASubprotocol(t *testing.T) {
	d := &doorman{}
	d.open.Store(true)
	l := goLive(t, func(c *Config) { c.Access = d })
	c := l.ws("", &websocket.DialOptions{Subprotocols: []string{stream.Protocol, stream.TokenProtocol + "t0ken"}})
	if c.wants("ready"); c.conn.Subprotocol() != stream.Protocol {
		t.Errorf("the token is told again: %q", c.conn.Subprotocol())
	}
	_, resp, err := websocket.Dial(t.Context(), strings.Replace(l.base, "http", "ws", 1)+streamPath, &websocket.DialOptions{Subprotocols: []string{stream.TokenProtocol + "other"}})
	if err == nil || resp == nil || resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("%+v %v", resp, err)
	}
}
