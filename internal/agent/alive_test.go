package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
)

// silenced is a connection whose other side is gone without a word: what is written is lost, and nothing comes.
type silenced struct {
	net.Conn
	gone *atomic.Bool
}

// Read implements net.Conn. It says what the kernel says of a connection that it has given up.
func (s silenced) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ETIMEDOUT}
	}
	return n, err
}

// Write implements net.Conn.
func (s silenced) Write(p []byte) (int, error) {
	if s.gone.Load() {
		return len(p), nil
	}
	return s.Conn.Write(p)
}

// pipes are a network of one server: whoever dials gets a pipe, and the server its other end.
type pipes struct {
	accepted chan net.Conn
	done     chan struct{}
}

// Accept implements net.Listener.
func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.accepted:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p pipes) Close() error { close(p.done); return nil }

// Addr implements net.Listener.
func (pipes) Addr() net.Addr { return &net.TCPAddr{} }

// frail is a network of one server to which connections die silently.
type frail struct {
	pipes
	transport *http.Transport

	mu    sync.Mutex
	conns []silenced
}

// newFrail serves the handler in a protocol, "h2" or "http/1.1", and returns a transport of the client's own to it.
func newFrail(t *testing.T, protocol string, cert []tls.Certificate, h http.HandlerFunc) *frail {
	f := &frail{pipes: pipes{make(chan net.Conn), make(chan struct{})}, transport: newTransport()}
	server := &http.Server{ReadHeaderTimeout: time.Hour, Handler: h}
	settings := &tls.Config{Certificates: cert, NextProtos: []string{protocol}, MinVersion: tls.VersionTLS12}
	go func() { _ = server.Serve(tls.NewListener(f.pipes, settings)) }()
	f.transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}}
	f.transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		f.accepted <- there
		f.mu.Lock()
		defer f.mu.Unlock()
		f.conns = append(f.conns, silenced{here, &atomic.Bool{}})
		return f.conns[len(f.conns)-1], nil
	}
	t.Cleanup(func() {
		_ = server.Close()
		f.transport.CloseIdleConnections()
		time.Sleep(time.Minute) // in fake time
	})
	return f
}

// die lets all connections die silently. The kernel gives them up when it was told to, if it is told of at all: HTTP/2 asks by itself.
func (f *frail) die(kernel bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.conns {
		c.gone.Store(true)
		if kernel {
			time.AfterFunc(quietFor+probes*pongIn, func() { _ = c.SetReadDeadline(time.Now()) })
		}
	}
}

func (f *frail) dialed() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.conns)
}

func certificates() []tls.Certificate {
	certified := httptest.NewTLSServer(nil) // for its certificate
	defer certified.Close()
	return certified.TLS.Certificates
}

func TestAStreamThatDiedSilentlyIsLeftWithinSeconds(t *testing.T) {
	cert := certificates()
	for _, protocol := range []string{"h2", "http/1.1"} {
		t.Run(protocol, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				streaming := make(chan struct{}, 1)
				f := newFrail(t, protocol, cert, func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", eventStream)
					w.WriteHeader(http.StatusOK)
					_ = http.NewResponseController(w).Flush()
					streaming <- struct{}{}
					<-r.Context().Done()
				})
				c := clientOf(t, Kagent10, f.transport, func(cfg *Config) { cfg.BaseURL = "https://kagent" })
				at := time.Now()
				over := make(chan error, 1)
				go func() {
					p := peer{ref: delivery.AgentRef{Namespace: "kagent", Name: "k8s-agent"}, dialect: dialects[Kagent10], streaming: true}
					over <- c.stream(t.Context(), p, Task{ID: "t", State: Working}, func(Task) {})
				}()
				<-streaming
				f.die(protocol != "h2")
				err := <-over
				if took := time.Since(at); err == nil || took > 20*time.Second {
					t.Errorf("after %s: %v", took, err)
				}
			})
		})
	}
}

// A message that is put on a connection that is there no more counts as one that may have arrived, and is looked for: a pause between two
// calls must not lead to that.
func TestAnIdleConnectionThatDiedSilentlyIsNotUsedAgain(t *testing.T) {
	cert := certificates()
	for _, protocol := range []string{"h2", "http/1.1"} {
		t.Run(protocol, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var served atomic.Int32
				f := newFrail(t, protocol, cert, func(w http.ResponseWriter, _ *http.Request) {
					served.Add(1)
					_, _ = w.Write([]byte("{}"))
				})
				c := clientOf(t, Kagent10, f.transport, func(cfg *Config) { cfg.BaseURL = "https://kagent" })
				for i := range 3 {
					at := time.Now()
					if err := c.Health(t.Context()); err != nil || time.Since(at) > quietFor {
						t.Fatalf("request %d: %v, after %s", i, err, time.Since(at))
					}
					f.die(protocol != "h2")
					time.Sleep(quietFor + probes*pongIn + time.Second)
				}
				if served.Load() != 3 || f.dialed() != 3 {
					t.Errorf("%d requests were served over %d connections", served.Load(), f.dialed())
				}
			})
		})
	}
}
