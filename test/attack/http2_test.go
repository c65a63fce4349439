//go:build attack

package attack

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// http2WithoutTLS shows that nobody can make khook speak HTTP/2 without TLS, in which Go had faults that
// end a process, and which gives one connection many requests at once.
var http2WithoutTLS = attack{
	name: "HTTP/2 without TLS", tried: "its preface, an upgrade to it, and thousands of streams that are reset, without a token",
	run: func(a *assault) {
		if a.answers("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", "\x04\x00\x00\x00\x00") {
			a.Error("khook speaks HTTP/2 without TLS")
		}
		if a.answers(a.head(http.MethodGet, "/health", "", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"), " 101 ") {
			a.Error("khook upgrades to HTTP/2")
		}
		a.each(a.size(10, 40), 10, func(int) { a.resetStreams() })
	},
}

// answers says whether what khook answers to some bytes within a moment has a text.
func (a *assault) answers(send, text string) bool {
	conn, err := a.dial()
	if err != nil {
		a.Errorf("connect: %v", err)
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(conn, send)
	got := make([]byte, 4096)
	n, _ := conn.Read(got)
	return strings.Contains(string(got[:n]), text)
}

// resetStreams sends requests over one HTTP/2 connection, and gives most of them up.
func (a *assault) resetStreams() {
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	c := &http.Client{Transport: tr}
	defer tr.CloseIdleConnections()
	a.each(a.size(300, 1000), 50, func(int) {
		ctx, cancel := context.WithTimeout(a.ctx, time.Duration(rand.IntN(3000))*time.Microsecond)
		defer cancel()
		ask(ctx, c, http.MethodGet, a.base()+"/health", "", "")
	})
}
