package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// wireClient is the only way to kagent: it says who calls, bounds what comes back, and keeps what the
// SDK throws away, the reasons of failures. Every status other than 200 becomes an error.
type wireClient struct {
	cfg  Config
	base *url.URL
	next http.RoundTripper
	read *reading
}

func newWire(cfg Config, base *url.URL) *wireClient {
	next := cfg.Transport
	if next == nil {
		next = newTransport()
	}
	return &wireClient{cfg: cfg, base: base, next: next, read: newReading(cfg)}
}

// When a connection counts as dead that ends without a word, as when a node or a gateway is lost. Without it all requests to kagent
// would go on to be put on an HTTP/2 connection that is there no more.
const (
	quietFor = 10 * time.Second // without a frame, before it is asked for a sign of life
	pongIn   = 5 * time.Second  // or it is left
	probes   = 2                // times, where it is the kernel that asks: of HTTP/1.1
)

func newTransport() *http.Transport {
	alive := net.KeepAliveConfig{Enable: true, Idle: quietFor, Interval: pongIn, Count: probes}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second, KeepAliveConfig: alive}).DialContext,
		TLSHandshakeTimeout:    10 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConns:           64,
		MaxIdleConnsPerHost:    64,
		IdleConnTimeout:        90 * time.Second,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: quietFor, PingTimeout: pongIn},
	}
}

// sameHost follows redirects of reads on the same host only, so that no other host gets the token.
func sameHost(req *http.Request, via []*http.Request) error {
	first := via[0]
	if first.Method != http.MethodGet || req.URL.Host != first.URL.Host || req.URL.Scheme != first.URL.Scheme || len(via) > 3 {
		return http.ErrUseLastResponse
	}
	return nil
}

// RoundTrip implements http.RoundTripper. A request has the time limit of the settings for its
// complete answer; one for a stream has it for the beginning, and then the stream's own.
func (w *wireClient) RoundTrip(req *http.Request) (*http.Response, error) {
	holdOf(req.Context()).keep(nil) // the answer before this one has been read
	holdOf(req.Context()).drop(dropped{})
	ctx, give := context.WithCancelCause(req.Context())
	limit := time.AfterFunc(w.cfg.Timeout, func() { give(noAnswerError{w.cfg.Timeout}) })
	resp, err := w.exchange(ctx, req)
	if err == nil && streams(req, resp) {
		limit.Stop()
		resp.Body = newGuard(resp.Body, w, ctx, give)
		return resp, nil
	}
	defer give(nil)
	defer limit.Stop()
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if redirects(resp) && req.Method == http.MethodGet {
		shown := *resp
		shown.Body = http.NoBody
		return &shown, nil
	}
	return w.whole(ctx, req, resp)
}

// exchange sends the request and returns the beginning of its answer. What it knows of a failure
// is whether the request can have left: if its connection was never made, it can not.
func (w *wireClient) exchange(ctx context.Context, req *http.Request) (*http.Response, error) {
	if req.Context().Err() != nil {
		closeBody(req)
		return nil, w.broken(ctx, false, req.Context().Err())
	}
	var traced, wrote atomic.Bool
	out := req.Clone(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn:      func(string) { traced.Store(true) },
		WroteHeaders: func() { wrote.Store(true) },
	}))
	may := permitOf(ctx)
	if err := w.sign(out, may.User); err != nil {
		closeBody(req)
		return nil, err
	}
	if may.Precheck != nil {
		if err := may.Precheck(ctx); err != nil {
			closeBody(req)
			return nil, w.broken(ctx, false, err)
		}
	}
	resp, err := w.next.RoundTrip(out)
	if err != nil {
		return nil, w.broken(ctx, (wrote.Load() || !traced.Load()) && !dialing(err), err)
	}
	return resp, nil
}

type permitKey struct{}

// withPermit returns a context whose requests leave only under the permit. It is asked for by the transport and
// not by Send, so that at most the making of a connection comes between its answer and the request. The SDK's client
// lies between the two and hands on nothing but the context: hence a value of it, which only this pair of
// functions knows.
func withPermit(ctx context.Context, may Permit) context.Context {
	return context.WithValue(ctx, permitKey{}, may)
}

// permitOf is under what a request of ctx may leave; one that says nothing if there is none.
func permitOf(ctx context.Context) Permit {
	may, _ := ctx.Value(permitKey{}).(Permit)
	return may
}

func dialing(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// CloseIdleConnections is what http.Client looks for.
func (w *wireClient) CloseIdleConnections() {
	if next, ok := w.next.(interface{ CloseIdleConnections() }); ok {
		next.CloseIdleConnections()
	}
}

// sign says who calls, who must be the user; "" for any.
func (w *wireClient) sign(req *http.Request, user string) error {
	if req.URL.Host != w.base.Host || req.URL.Scheme != w.base.Scheme {
		return fmt.Errorf("refused to send credentials to another host than %s", w.base.Host)
	}
	for name, value := range w.cfg.Headers {
		req.Header.Set(name, value)
	}
	req.Header.Set("X-User-Id", w.cfg.UserID)
	req.Header.Set("User-Agent", "khook")
	token, signer, err := w.cfg.identity()
	switch {
	case err != nil:
		return err
	case user != "" && user != signer:
		return errOtherUser
	case token != "":
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return nil
}

// whole reads a complete answer, and makes an error of it unless it is a result.
func (w *wireClient) whole(ctx context.Context, req *http.Request, resp *http.Response) (*http.Response, error) {
	limit := w.cfg.MaxResponse
	if resp.StatusCode != http.StatusOK {
		limit = min(limit, maxRefusal)
	}
	body, err := w.read.receive(ctx, resp.Body, limit, resp.StatusCode == http.StatusOK)
	if err != nil && resp.StatusCode == http.StatusOK {
		return nil, w.unread(ctx, err)
	}
	if errors.Is(err, errNoRoom) {
		return nil, w.broken(ctx, true, err)
	}
	if int64(len(body)) <= limit {
		if _, err := w.read.read(ctx, body); err != nil {
			return nil, w.unread(ctx, err)
		}
	}
	body = w.redact(resp, body)
	after := retryAfter(resp.Header.Get("Retry-After"), time.Now())
	if rpc := findRPCError(body); rpc != nil && req.Method == http.MethodPost {
		rpc.retryAfter = max(after, rpc.retryAfter)
		return nil, rpc
	}
	if resp.StatusCode != http.StatusOK {
		return nil, &statusError{code: resp.StatusCode, body: excerpt(body), json: isObject(body), failure: restFailure(body), retryAfter: after, location: string(w.redact(resp, []byte(resp.Header.Get("Location"))))}
	}
	if int64(len(body)) > limit {
		return nil, tooLarge(limit)
	}
	if req.Method == http.MethodPost && !json.Valid(body) {
		return nil, &garbledError{reason: "the answer is not JSON: " + excerpt(body)}
	}
	shown := *resp
	shown.Body, shown.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return &shown, nil
}

// minSecret is how long what was sent must be to be taken for a secret: a shorter value may be any word.
const minSecret = 8

// redact takes what khook sent to say who calls out of what comes back: a server that echoes it must not bring it into the history, the
// API or a log, which more people may read than khook's settings.
func (w *wireClient) redact(resp *http.Response, body []byte) []byte {
	secrets := make([]string, 0, 1+len(w.cfg.Headers))
	if resp.Request != nil {
		secrets = append(secrets, strings.TrimPrefix(resp.Request.Header.Get("Authorization"), "Bearer "))
	}
	for _, value := range w.cfg.Headers {
		secrets = append(secrets, value)
	}
	for _, secret := range secrets {
		if len(secret) >= minSecret {
			body = bytes.ReplaceAll(body, []byte(secret), []byte("[redacted]"))
		}
	}
	return body
}

// unread is the error about an answer that came and was not read.
func (w *wireClient) unread(ctx context.Context, err error) error {
	if garbled, ok := errors.AsType[*garbledError](err); ok {
		return garbled
	}
	return w.broken(ctx, true, err)
}

func (w *wireClient) broken(ctx context.Context, sent bool, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return &brokenError{host: w.base.Host, sent: sent, err: err}
}

func redirects(resp *http.Response) bool {
	return resp.StatusCode >= 300 && resp.StatusCode < 400 && resp.Header.Get("Location") != ""
}

const eventStream = "text/event-stream"

func streams(req *http.Request, resp *http.Response) bool {
	got, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return resp.StatusCode == http.StatusOK && req.Header.Get("Accept") == eventStream && got == eventStream
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}
