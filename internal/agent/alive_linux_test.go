package agent

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"syscall"
	"testing"
	"time"
)

// The kernel asks a quiet connection for a sign of life and ends it: what it does then can't be had in fake time, but what it was told.
func TestTheKernelIsToldToLeaveAConnectionThatDied(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer s.Close()
	transport := newTransport()
	defer transport.CloseIdleConnections()
	var used net.Conn
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { used = i.Conn }})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	raw, err := used.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	seconds := func(d time.Duration) int { return int(d / time.Second) }
	for _, o := range []struct {
		name                string
		level, option, want int
	}{
		{"it asks at all", syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
		{"after so many quiet seconds", syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, seconds(quietFor)},
		{"again after so many", syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, seconds(pongIn)},
		{"so often", syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, probes},
	} {
		var got int
		var optErr error
		if err := raw.Control(func(fd uintptr) { got, optErr = syscall.GetsockoptInt(int(fd), o.level, o.option) }); err != nil || optErr != nil {
			t.Fatal(err, optErr)
		}
		if got != o.want {
			t.Errorf("%s: %d, want %d", o.name, got, o.want)
		}
	}
}
