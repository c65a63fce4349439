package main

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync"
)

// The node's network: a bridge, on which the machine is hostAddress.
const (
	bridgeName  = "khook0"
	subnet      = "10.244.77.0/24"
	hostAddress = "10.244.77.1"
)

// The network of Services. Nobody plays kube-proxy's part but for the Service of the API server,
// which Pods with a service account need; it always has the first address.
const (
	serviceRange   = "10.244.78.0/24"
	apiServerIP    = "10.244.78.1"
	clusterDNS     = "10.244.78.10" // nobody answers there
	hostVariable   = "KHOOK_E2E_HOST"
	apiServicePort = "443"
)

// serveAPI makes the API server reachable for Pods at its Service's address, which the machine has.
func (c *cluster) serveAPI() error {
	l, err := net.Listen("tcp", net.JoinHostPort(apiServerIP, apiServicePort)) //nolint:noctx // returns at once
	if err != nil {
		return err
	}
	c.service = l
	go forward(l, strings.TrimPrefix(c.server, "https://"))
	return nil
}

// forward passes connections on, until the listener is closed.
func forward(l net.Listener, to string) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			up, err := net.Dial("tcp", to) //nolint:noctx // on this machine
			if err != nil {
				return
			}
			defer up.Close()
			var both sync.WaitGroup
			both.Go(func() { pass(up, conn) })
			both.Go(func() { pass(conn, up) })
			both.Wait()
		}()
	}
}

// pass copies what comes from one side to the other, and its end.
func pass(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if t, ok := to.(*net.TCPConn); ok {
		_ = t.CloseWrite()
	}
}

func (c *cluster) stopAPI() error {
	if c.service == nil {
		return nil
	}
	if err := c.service.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
