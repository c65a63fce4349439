package agent

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
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

func TestAConnectionThatDiedSilentlyIsLeftWithinSeconds(t *testing.T) {
	certified := httptest.NewTLSServer(nil) // for its certificate
	certified.Close()
	synctest.Test(t, func(t *testing.T) {
		network := pipes{make(chan net.Conn), make(chan struct{})}
		streaming := make(chan struct{}, 1)
		server := &http.Server{ReadHeaderTimeout: time.Hour, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", eventStream)
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			streaming <- struct{}{}
			<-r.Context().Done()
		})}
		go func() {
			settings := &tls.Config{Certificates: certified.TLS.Certificates, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12}
			_ = server.Serve(tls.NewListener(network, settings))
		}()
		gone := &atomic.Bool{}
		transport := newTransport()
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}
		transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
			here, there := net.Pipe()
			network.accepted <- there
			return silenced{here, gone}, nil
		}
		c := clientOf(t, Kagent10, transport, func(cfg *Config) { cfg.BaseURL = "https://kagent" })
		at := time.Now()
		over := make(chan error, 1)
		go func() {
			p := peer{ref: delivery.AgentRef{Namespace: "kagent", Name: "k8s-agent"}, dialect: dialects[Kagent10], streaming: true}
			over <- c.stream(t.Context(), p, Task{ID: "t", State: Working}, func(Task) {})
		}()
		<-streaming
		gone.Store(true)
		err := <-over
		if took := time.Since(at); err == nil || took > 20*time.Second {
			t.Errorf("after %s: %v", took, err)
		}
		_ = server.Close()
		transport.CloseIdleConnections()
		time.Sleep(time.Minute)
	})
}
