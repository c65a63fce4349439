package client

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
)

// Tunnel is a way to khook that lasts: it carries requests of others to khook with the caller's own credentials, and connects
// again when the Pod at its other end goes away, or the token is not taken any more. It implements http.RoundTripper.
type Tunnel struct {
	options Options

	connecting sync.Mutex // held while a way is looked for: by one, and the others wait
	mu         sync.Mutex
	current    *Client // nil if there is none
}

// NewTunnel connects. The tunnel is to be closed.
func NewTunnel(ctx context.Context, o Options) (*Tunnel, error) {
	t := &Tunnel{options: o}
	_, err := t.client(ctx, nil)
	return t, err
}

// Close ends the way.
func (t *Tunnel) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current != nil {
		t.current.Close()
		t.current = nil
	}
}

// maxCarried bounds the body of a request, in bytes: it is kept until khook has answered.
const maxCarried = 1 << 20

// RoundTrip implements http.RoundTripper. Only what was certainly not done is asked for again: what changes something is sent a
// second time after khook refused to know the caller, and never because an answer did not come.
func (t *Tunnel) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		body, err = io.ReadAll(io.LimitReader(r.Body, maxCarried+1))
		_ = r.Body.Close()
		if err == nil && len(body) > maxCarried {
			err = fmt.Errorf("the body is larger than %d bytes", maxCarried)
		}
		if err != nil {
			return nil, err
		}
	}
	c, err := t.client(r.Context(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.carry(r, body)
	switch {
	case err != nil && r.Context().Err() != nil:
		return nil, err
	case err != nil:
		fresh, failed := t.client(r.Context(), c)
		if failed != nil {
			return nil, failed
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			return nil, shownError{withoutURL(err)}
		}
		return fresh.carry(r, body)
	case resp.StatusCode == http.StatusUnauthorized:
		renewed, failed := t.client(r.Context(), c)
		if failed != nil || renewed.token == c.token {
			return resp, nil //nolint:nilerr // what khook said is what there is to say
		}
		_ = resp.Body.Close()
		return renewed.carry(r, body)
	}
	return resp, nil
}

// client is the one that there is, or a new one: if there is none, or it is the one that failed. The old one's way is
// closed, and with it whatever still goes over it.
func (t *Tunnel) client(ctx context.Context, failed *Client) (*Client, error) {
	if c := t.present(); c != nil && c != failed {
		return c, nil
	}
	t.connecting.Lock()
	defer t.connecting.Unlock()
	if c := t.present(); c != nil && c != failed {
		return c, nil
	}
	fresh, err := Connect(ctx, t.options)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current != nil {
		t.current.Close()
	}
	t.current = fresh
	return fresh, nil
}

func (t *Tunnel) present() *Client {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.current
}

// carry sends a request of somebody else as the caller's own.
func (c *Client) carry(r *http.Request, body []byte) (*http.Response, error) {
	base, err := url.Parse(c.base)
	if err != nil {
		return nil, err
	}
	own := r.Clone(r.Context())
	own.URL.Scheme, own.URL.Host, own.Host = base.Scheme, base.Host, ""
	if base.Path != "" {
		own.URL.Path, own.URL.RawPath = strings.TrimSuffix(base.Path, "/")+r.URL.Path, ""
	}
	own.Header.Del("Authorization")
	if c.token != "" {
		own.Header.Set("Authorization", "Bearer "+c.token)
	}
	own.Body = http.NoBody
	if len(body) > 0 {
		own.Body = io.NopCloser(bytes.NewReader(body))
	}
	own.ContentLength = int64(len(body))
	return c.http.Transport.RoundTrip(own)
}
