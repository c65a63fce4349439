package dispatch

import (
	"context"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// network is the way from khook to kagent, inside the bubble of a test: pipes instead of sockets, so
// that an hour of an outage takes no hour. On both ends are net/http's own client and server.
type network struct {
	conns chan net.Conn
	over  chan struct{}
	once  sync.Once
	delay time.Duration // of each request

	mu     sync.Mutex
	open   []*conn
	dial   error // what dialing gives instead of a connection
	cut    int   // after that many bytes each answer is cut by a reset; 0 for never
	tried  []networkAttempt
	flying int
	most   int // requests under way at the same time
}

// networkAttempt is one request, whether or not it got anywhere.
type networkAttempt struct {
	at   time.Time
	path string
	post bool
}

// usualDelay is how long a request takes while all is well.
const usualDelay = 20 * time.Millisecond

func newNetwork() *network {
	return &network{conns: make(chan net.Conn), over: make(chan struct{}), delay: usualDelay}
}

var errNoListener = &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}

var errNameless = &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "kagent.test", IsNotFound: true}}

// fails lets no connection come about, for this reason, and breaks those that there are.
func (n *network) fails(why error) {
	n.mu.Lock()
	n.dial = why
	open := n.open
	n.open = nil
	n.mu.Unlock()
	for _, c := range open {
		_ = c.Close()
	}
}

// resets cuts each answer after so many bytes.
func (n *network) resets(after int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = after
}

func (n *network) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dial, n.cut, n.delay = nil, 0, usualDelay
}

// attempts are the requests that were tried from one moment on, up to another.
func (n *network) attempts(from, to time.Time) []networkAttempt {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(n.tried), func(a networkAttempt) bool { return a.at.Before(from) || !a.at.Before(to) })
}

// transport is the client's side.
func (n *network) transport() http.RoundTripper {
	return &counted{n, &http.Transport{DialContext: n.connect, MaxIdleConns: 64, MaxIdleConnsPerHost: 64, IdleConnTimeout: 90 * time.Second}}
}

func (n *network) connect(ctx context.Context, _, _ string) (net.Conn, error) {
	n.mu.Lock()
	why := n.dial
	n.mu.Unlock()
	if why != nil {
		return nil, why
	}
	mine, theirs := net.Pipe()
	select {
	case n.conns <- theirs:
	case <-n.over:
		return nil, errNoListener
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c := &conn{Conn: mine, network: n}
	n.mu.Lock()
	n.open = append(n.open, c)
	n.mu.Unlock()
	return c, nil
}

// Accept implements net.Listener.
func (n *network) Accept() (net.Conn, error) {
	select {
	case c := <-n.conns:
		return c, nil
	case <-n.over:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (n *network) Close() error {
	n.once.Do(func() { close(n.over) })
	return nil
}

// Addr implements net.Listener.
func (n *network) Addr() net.Addr { return address{} }

type address struct{}

func (address) Network() string { return "pipe" }
func (address) String() string  { return "kagent.test" }

// conn is the client's end of a connection.
type conn struct {
	net.Conn
	network *network
	read    int // bytes since the last request was written
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	c.network.mu.Lock()
	c.read = 0
	c.network.mu.Unlock()
	return c.Conn.Write(p)
}

// Read implements net.Conn. A reset comes when the answer has begun.
func (c *conn) Read(p []byte) (int, error) {
	count, err := c.Conn.Read(p)
	c.network.mu.Lock()
	cut := c.network.cut
	c.read += count
	over := cut > 0 && c.read > cut
	c.network.mu.Unlock()
	if over && err == nil {
		_ = c.Close()
		return max(0, count-1), &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	}
	return count, err
}

// counted notes the requests on their way.
type counted struct {
	network *network
	*http.Transport
}

// RoundTrip implements http.RoundTripper.
func (c *counted) RoundTrip(req *http.Request) (*http.Response, error) {
	n := c.network
	n.mu.Lock()
	n.tried = append(n.tried, networkAttempt{time.Now(), req.URL.Path, req.Method == http.MethodPost && !strings.HasPrefix(req.URL.Path, "/api/sessions")})
	n.flying++
	n.most = max(n.most, n.flying)
	delay := n.delay
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		n.flying--
		n.mu.Unlock()
	}()
	select {
	case <-time.After(delay):
	case <-req.Context().Done():
	}
	return c.Transport.RoundTrip(req)
}

// setDelay makes each request take that long.
func (n *network) setDelay(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.delay = d
}
