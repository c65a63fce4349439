//go:build attack

package attack

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// The resources that khook asks about callers.
const (
	tokenReviews  = "/tokenreviews"
	accessReviews = "/subjectaccessreviews"
)

// silent is the log of proxies whose clients go when they like.
var silent = log.New(io.Discard, "", 0)

// gateway stands between khook and the API server, counts what khook asks, and can be slow.
type gateway struct {
	*httptest.Server
	delay atomic.Int64 // of token reviews, in nanoseconds

	mu     sync.Mutex
	counts []*count
}

// count counts the requests to a path whose body has a text.
type count struct {
	path, text string
	n          atomic.Int64
}

// newGateway passes on to the API server with the rights of a user.
func newGateway(t *testing.T, user *rest.Config) *gateway {
	transport, err := rest.TransportFor(user)
	if err != nil {
		t.Fatal(err)
	}
	to, err := url.Parse(user.Host)
	if err != nil {
		t.Fatal(err)
	}
	if to.Scheme == "" {
		to = &url.URL{Scheme: "https", Host: user.Host}
	}
	g := &gateway{}
	proxy := &httputil.ReverseProxy{Transport: transport, FlushInterval: -1, ErrorLog: silent, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.look(r)
		if delay := time.Duration(g.delay.Load()); delay > 0 && strings.HasSuffix(r.URL.Path, tokenReviews) {
			select {
			case <-time.After(delay):
			case <-r.Context().Done():
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(g.CloseClientConnections)
	return g
}

// look counts a request.
func (g *gateway) look(r *http.Request) {
	if r.Method != http.MethodPost {
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.counts {
		if strings.HasSuffix(r.URL.Path, c.path) && bytes.Contains(body, []byte(c.text)) {
			c.n.Add(1)
		}
	}
}

// count begins to count the requests to a path whose body has a text; "" is in all.
func (g *gateway) count(path, text string) *count {
	c := &count{path: path, text: text}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.counts = append(g.counts, c)
	return c
}
