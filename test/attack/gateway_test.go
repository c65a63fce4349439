//go:build attack

package attack

import (
	"bytes"
	"errors"
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

	inFlight atomic.Int64 // reviews
	starved  atomic.Int64 // reviews that took longer than slowReview though there were few

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
		g.measure(r, func() { proxy.ServeHTTP(w, r) })
	}))
	t.Cleanup(g.CloseClientConnections)
	return g
}

// A review is slow when khook may give it up, and few are so few that they can't be why.
const slowReview, fewReviews = 3 * time.Second, 20

// measure notes reviews that the API server was slow to answer for a reason that is not khook's: the
// attackers, the API server and khook share the processors of one machine here.
func (g *gateway) measure(r *http.Request, serve func()) {
	if !strings.HasSuffix(r.URL.Path, tokenReviews) && !strings.HasSuffix(r.URL.Path, accessReviews) {
		serve()
		return
	}
	few := g.inFlight.Add(1) <= fewReviews
	defer g.inFlight.Add(-1)
	began := time.Now()
	serve()
	if few && time.Since(began) > slowReview {
		g.starved.Add(1)
	}
}

// starvedSince says whether a review was slow, or still is, since starved had a value. khook may have given
// up a moment before the review counts.
func (g *gateway) starvedSince(before int64) bool {
	return poll(2*time.Second, func() error {
		if g.starved.Load() == before {
			return errNotStarved
		}
		return nil
	}) == nil
}

var errNotStarved = errors.New("no review was slow")

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
