//go:build attack

package attack

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// holding is how long the attackers keep what they opened: it is what they do, not a condition.
func (a *assault) holding() time.Duration { return time.Duration(a.size(10, 60)) * time.Second }

// idleConnections shows that connections without a token are bounded below the memory that there is, and
// that valid users are served beside them.
var idleConnections = attack{
	name: "idle connections", tried: "14,000 connections without a token (3,000 in the short form): silent, with slow headers, or idle after an answer",
	run: func(a *assault) {
		var open swarm
		defer open.close()
		var refused, answered atomic.Int64
		n := fits(a.size(3000, 14_000))
		a.each(n, 100, func(i int) {
			conn, err := a.dial()
			if err != nil {
				refused.Add(1)
				return
			}
			open.add(conn)
			switch i % 4 {
			case 0:
				_, _ = io.WriteString(conn, "GET /api/v1/events HTTP/1.1\r\nHost: k\r\nX-Slow: "+strings.Repeat("a", i%16000))
			case 1:
				if _, err := io.WriteString(conn, a.head(http.MethodGet, "/health", "")); err == nil {
					_ = conn.SetReadDeadline(time.Now().Add(time.Second))
					if read, _ := conn.Read(make([]byte, 512)); read > 0 {
						answered.Add(1)
					}
				}
			}
		})
		pause(a.ctx, a.holding())
		a.note("%d connections tried, %d refused, %d still open after %s", n, refused.Load(), stillOpen(open.conns), a.holding())
	},
}

// stillOpen counts the connections that khook has not closed.
func stillOpen(conns []net.Conn) (n int) {
	buffer := make([]byte, 4096)
	for _, c := range conns {
		_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
		_, err := c.Read(buffer)
		if timeout, ok := err.(net.Error); err == nil || ok && timeout.Timeout() { //nolint:errorlint // it is not wrapped
			n++
		}
	}
	return n
}

// slowUploads shows that bodies under way are bounded in bytes: one token without rights can't fill the
// memory with them.
var slowUploads = attack{
	name: "slow uploads", tried: "269 bodies of 1 MiB and 1,000 of 250 KiB (300 in the short form) to /hooks/validate by one token without rights, each all but whole, then a byte a second, then whole at the same time",
	run: func(a *assault) {
		var open swarm
		defer open.close()
		var cut atomic.Int64
		const big = 269
		n := big + a.size(300, 1000)
		a.each(n, n, func(i int) {
			size := 250 << 10
			if i < big {
				size = 1 << 20
			}
			conn, err := a.dial()
			if err != nil {
				cut.Add(1)
				return
			}
			open.add(conn)
			if err := a.upload(conn, size); err != nil {
				cut.Add(1)
			}
		})
		a.note("%d of %d uploads were cut off", cut.Load(), n)
	},
}

// upload sends a manifest of so many bytes, slowly at its end, and waits for the answer.
func (a *assault) upload(conn net.Conn, size int) error {
	const end = 4096
	head := a.head(http.MethodPost, "/hooks/validate", a.nobody, "Content-Type: application/yaml", fmt.Sprintf("Content-Length: %d", size))
	body := "a:\n" + strings.Repeat("- a\n", (size-end)/4-1) // of as many nodes as it can have
	_ = conn.SetWriteDeadline(time.Now().Add(answerLimit))
	_, err := io.WriteString(conn, head+body)
	sent := len(body)
	for second := 0; second < 10 && err == nil; second++ { // well within the time that a body may take
		pause(a.ctx, time.Second)
		sent++
		_, err = io.WriteString(conn, "#")
	}
	if err == nil {
		_, err = io.WriteString(conn, strings.Repeat("#", size-sent))
	}
	if err == nil {
		_ = conn.SetReadDeadline(time.Now().Add(answerLimit))
		_, err = conn.Read(make([]byte, end))
	}
	return err
}

// crowdOfStreams shows that streams are bounded in all and for each, by the memory that there is; half
// of them never read.
var crowdOfStreams = attack{
	name: "a crowd of streams", tried: "10,000 event streams (2,000 in the short form) by 1 and by 100 valid tokens (20 in the short form), half of which never read",
	run: func(a *assault) {
		var open swarm
		defer open.close()
		var got statuses
		tokens := a.readers("stream", a.size(20, 100))
		n := fits(a.size(2000, 10_000))
		a.each(n, 100, func(i int) {
			conn, err := a.dial()
			if err != nil {
				got.add(0)
				return
			}
			open.add(conn)
			token := tokens[0] // every second one is of the first token
			if i%2 == 0 {
				token = tokens[i/2%len(tokens)]
			}
			got.add(openStream(conn, a.head(http.MethodGet, "/events/stream?namespace="+shop+"&after=0", token)))
			if i%4 < 2 {
				_ = conn.SetReadDeadline(time.Time{})
				go io.Copy(io.Discard, conn) //nolint:errcheck // until it is closed
			}
		})
		pause(a.ctx, a.holding())
		a.note("%d tried, answers %s", n, &got)
	},
}

// openStream sends a request and returns the status of the answer; 0 if there is none.
func openStream(conn net.Conn, head string) int {
	_ = conn.SetDeadline(time.Now().Add(answerLimit))
	if _, err := io.WriteString(conn, head); err != nil {
		return 0
	}
	line := make([]byte, 12)
	if _, err := io.ReadFull(conn, line); err != nil {
		return 0
	}
	return int(line[9]-'0')*100 + int(line[10]-'0')*10 + int(line[11]-'0')
}
