package pgtest

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// Proxy is between a client and a server, and can break their connections at a chosen moment.
type Proxy struct {
	listener net.Listener
	server   string

	// What to do when a client sends COMMIT: nothing, or to break the connection, before the server gets it or right after.
	onCommit atomic.Int32

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// What Proxy.OnCommit may do.
const (
	Pass       = iota
	LoseCommit // the server never gets it
	LoseAnswer // the server commits, and the client is not told
)

// NewProxy listens before a server.
func NewProxy(t testing.TB, s *Server) *Proxy {
	t.Helper()
	return NewProxyOn(t, s, "127.0.0.1:0")
}

// NewProxyOn listens before a server on an address, such as one that Pods reach.
func NewProxyOn(t testing.TB, s *Server, address string) *Proxy {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: l, server: s.Address(), conns: map[net.Conn]bool{}}
	go p.accept()
	t.Cleanup(func() { _ = l.Close(); p.Break() })
	return p
}

// Address is where the proxy listens.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// OnCommit says what to do at the next COMMIT, once.
func (p *Proxy) OnCommit(do int32) { p.onCommit.Store(do) }

// Break breaks all connections.
func (p *Proxy) Break() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
	clear(p.conns)
}

func (p *Proxy) keep(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		p.conns[c] = true
	}
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", p.server)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.keep(client, server)
		go func() { _, _ = io.Copy(client, server); _ = client.Close() }()
		go p.send(client, server)
	}
}

// commit is how a client sends it: as a message of its own.
var commit = []byte("COMMIT\x00")

func (p *Proxy) send(client, server net.Conn) {
	defer client.Close()
	defer server.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		do := int32(Pass)
		if bytes.Contains(buf[:n], commit) {
			do = p.onCommit.Swap(Pass)
		}
		if do == LoseCommit {
			return
		}
		if do == LoseAnswer {
			_ = client.Close() // it is not told; the server gets what was sent before it sees the end
		}
		if _, err := server.Write(buf[:n]); err != nil || do == LoseAnswer {
			return
		}
	}
}
