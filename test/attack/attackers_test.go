//go:build attack

package attack

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"
)

// attacker returns a client at the attackers' address.
func attacker() *http.Client { return from(attackersAddress, true) }

// each calls a function for 0 to n-1, so many at once, until the attack ends or khook has.
func (a *assault) each(n, atOnce int, do func(i int)) {
	work := make(chan int)
	var wait sync.WaitGroup
	for range min(n, atOnce) {
		wait.Go(func() {
			for i := range work {
				do(i)
			}
		})
	}
	for i := 0; i < n && a.ctx.Err() == nil && a.khook.alive(); i++ {
		work <- i
	}
	close(work)
	wait.Wait()
}

// address is that of the API that is attacked.
func (a *assault) address() string {
	return strings.TrimSuffix(strings.TrimPrefix(a.base(), "http://"), "/api/v1")
}

// dial opens a connection to the API from the attackers' address. It ends with the attack.
func (a *assault) dial() (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(attackersAddress)}, Timeout: 10 * time.Second}
	conn, err := d.DialContext(a.ctx, "tcp", a.address())
	if err == nil {
		context.AfterFunc(a.ctx, func() { conn.Close() })
	}
	return conn, err
}

// head is the beginning of a request with a token.
func (a *assault) head(method, path, token string, more ...string) string {
	lines := append([]string{method + " /api/v1" + path + " HTTP/1.1", "Host: " + a.address(), "X-Forwarded-For: " + attackersAddress}, more...)
	if token != "" {
		lines = append(lines, "Authorization: Bearer "+token)
	}
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// swarm are open connections.
type swarm struct {
	mu    sync.Mutex
	conns []net.Conn
}

func (s *swarm) add(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns = append(s.conns, c)
}

func (s *swarm) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.Close()
	}
}

// fits returns how many of n files this process may open, beside those of the tests.
func fits(n int) int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return min(n, 500)
	}
	return max(100, min(n, int(limit.Max)-3000))
}

// statuses counts answers by their status.
type statuses struct {
	mu sync.Mutex
	by map[int]int
}

func (s *statuses) add(code int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by == nil {
		s.by = map[int]int{}
	}
	s.by[code]++
}

// String is such as "200: 3, 429: 97"; 0 is no answer.
func (s *statuses) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Trim(strings.ReplaceAll(strings.TrimPrefix(fmt.Sprint(s.by), "map"), " ", ", "), "[]")
}
