package server

import (
	"net"
	"net/http"
	"sync/atomic"

	"golang.org/x/net/netutil"
)

// bounded accepts no more than n connections at a time; further ones wait in the system's queue.
func bounded(l net.Listener, n int) net.Listener { return netutil.LimitListener(l, n) }

// connCount counts the open connections.
type connCount struct{ n atomic.Int64 }

func (c *connCount) changed(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		c.n.Add(1)
	case http.StateClosed, http.StateHijacked:
		c.n.Add(-1)
	}
}
