package conns

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// served is a server whose callers prove by a header who they are.
type served struct {
	*Listener
	hold  chan struct{} // requests with ?hold wait for it
	count [3]atomic.Int64
}

func serve(t *testing.T, cfg Config) *served {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &served{hold: make(chan struct{})}
	cfg.Closed = func(r Reason) {
		for i, one := range Reasons() {
			if one == r {
				s.count[i].Add(1)
			}
		}
	}
	s.Listener = Bound(l, cfg)
	srv := &http.Server{ConnContext: Context, ReadHeaderTimeout: time.Minute, Handler: Track(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if name := r.Header.Get("Name"); name != "" {
			Known(r.Context(), name)
		}
		if r.URL.Query().Has("hold") {
			<-s.hold
		}
	}))}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(s) }()
	t.Cleanup(func() { close(s.hold); _ = srv.Close(); <-done })
	return s
}

// visit is one connection to the server.
type visit struct {
	net.Conn
	in *bufio.Reader
}

func (s *served) dial(t *testing.T) *visit {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &visit{c, bufio.NewReader(c)}
}

func (v *visit) send(t *testing.T, path, name string) {
	t.Helper()
	if name != "" {
		name = "Name: " + name + "\r\n"
	}
	if _, err := fmt.Fprintf(v, "GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n", path, name); err != nil {
		t.Fatal(err)
	}
}

func (v *visit) get(t *testing.T, path, name string) {
	t.Helper()
	v.send(t, path, name)
	resp, err := http.ReadResponse(v.in, nil)
	if err != nil {
		t.Fatalf("%s was not served: %v", name, err)
	}
	_ = resp.Body.Close()
}

// gone waits until the server has closed the connection.
func (v *visit) gone(t *testing.T) {
	t.Helper()
	_ = v.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := v.in.ReadByte(); err == nil || isTimeout(err) {
		t.Fatalf("the connection is still open: %v", err)
	}
}

func isTimeout(err error) bool {
	n, ok := err.(net.Error) //nolint:errorlint // as the connection gives it
	return ok && n.Timeout()
}

// eventually waits for a condition; a minute is for a machine that does much else.
func eventually(t *testing.T, what string, met func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !met(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain: ", what)
		}
	}
}

func TestThousandsOfSilentConnectionsLockNobodyOut(t *testing.T) {
	s := serve(t, Config{Max: 20})
	known := s.dial(t)
	known.get(t, "/", "anna")
	var first *visit
	for i := range 500 {
		v := s.dial(t)
		if i == 0 {
			first = v
		}
		if i%50 == 0 { // meanwhile, from the attacker's own address
			known.get(t, "/", "anna")
			s.dial(t).get(t, "/", "bert")
		}
	}
	first.gone(t)
	known.get(t, "/", "anna")
	if n := s.Len(); n > 20 {
		t.Errorf("%d connections are open, of at most 20", n)
	}
	if s.count[2].Load() != 0 {
		t.Error("a new connection was refused, though there were idle ones of strangers")
	}
}

func TestAConnectionWithARequestOfAKnownCallerIsNeverClosedForAnother(t *testing.T) {
	s := serve(t, Config{Max: 3})
	var busy []*visit
	for range 3 {
		v := s.dial(t)
		v.send(t, "/?hold", "anna")
		busy = append(busy, v)
	}
	eventually(t, "three requests are under way", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.victim() == nil && len(s.open) == 3
	})
	s.dial(t).gone(t)
	if s.count[2].Load() != 1 {
		t.Error("the refusal was not counted")
	}
	for range busy {
		s.hold <- struct{}{}
	}
	for _, v := range busy {
		resp, err := http.ReadResponse(v.in, nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
}

func TestTheOwnerOfTheMostConnectionsGivesWayFirst(t *testing.T) {
	s := serve(t, Config{Max: 10})
	anna := s.dial(t)
	anna.get(t, "/", "anna")
	for range 30 {
		s.dial(t).get(t, "/", "many")
	}
	anna.get(t, "/", "anna") // she did nothing for longer than all of theirs
}

func TestACrowdOfIdleConnectionsOfOneCallerGivesWayBeforeANewOne(t *testing.T) {
	s := serve(t, Config{Max: 20})
	for range 20 {
		s.dial(t).get(t, "/", "many")
	}
	fresh := s.dial(t) // its request comes late
	s.dial(t)
	s.dial(t)
	fresh.get(t, "/", "anna")
}

func TestAConnectionThatShowsNobodyIsClosedSooner(t *testing.T) {
	s := serve(t, Config{Max: 10, Idle: 50 * time.Millisecond})
	known, unknown := s.dial(t), s.dial(t)
	known.get(t, "/", "anna")
	unknown.get(t, "/", "")
	unknown.gone(t)
	known.get(t, "/", "anna")
}

func TestTheRequestsOfOneConnectionCountEach(t *testing.T) {
	l := Bound(nil, Config{Max: 10})
	conn := func(owner string) *Conn {
		c := &Conn{Conn: noConn{}, of: l, owner: owner}
		if !l.add(c) {
			t.Fatal("there is no room")
		}
		return c
	}
	many := conn("many")
	few := conn("few")
	few.begin(0)
	for range 50 {
		many.begin(0)
	}
	if _, open := l.open[many]; open {
		t.Error("a connection with 50 requests is open, where 10 of both are allowed")
	}
	if _, open := l.open[few]; !open || l.weight != 1 {
		t.Errorf("the other one was closed, or is counted wrongly: %d", l.weight)
	}
	for range 50 {
		many.end(0)
	}
	_ = many.Close()
	few.end(0)
	_ = few.Close()
	if l.weight != 0 || len(l.open) != 0 || l.victim() != nil {
		t.Errorf("after all has ended %d are counted", l.weight)
	}
}

type noConn struct{ net.Conn }

func (noConn) Close() error { return nil }

func TestARequestOutsideOfAListenerIsServed(t *testing.T) {
	Known(context.Background(), "anna")
}

// TestALongHeaderWeighsAsManyConnections sends headers that do not end, of the kind that takes the most memory
// for its bytes: thousands of short lines.
func TestALongHeaderWeighsAsManyConnections(t *testing.T) {
	const room = 100
	s := serve(t, Config{Max: room})
	valid := s.dial(t)
	valid.get(t, "/", "ann")
	header := "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("ab:\n", 8000)
	for range room - 1 {
		_, _ = s.dial(t).Write([]byte(header))
	}
	eventually(t, "those that do not fit are closed", func() bool { return s.Len() <= 1+room/(len(header)/headerShare) })
	if valid.get(t, "/", "ann"); s.Len() < 2 {
		t.Errorf("%d are open", s.Len())
	}
}

func TestALongHeaderGivesWayBeforeOthersOfItsAddress(t *testing.T) {
	const room = 300 // for all of them as long as none is long
	s := serve(t, Config{Max: room})
	stranger := s.dial(t)
	stranger.get(t, "/", "") // so that it is the oldest one
	for range 50 {
		_, _ = s.dial(t).Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("ab:\n", 8000)))
	}
	eventually(t, "those that do not fit are closed", func() bool { return s.Len() <= 12 })
	stranger.get(t, "/", "")
}

func TestAnOrdinaryHeaderDoesNotGiveWayBeforeWhatIsIdleAtItsAddress(t *testing.T) {
	s := serve(t, Config{Max: 20})
	for range 20 {
		s.dial(t).get(t, "/", "")
	}
	caller := s.dial(t)
	_, _ = fmt.Fprintf(caller, "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n", strings.Repeat("x", 1500))
	eventually(t, "there is room for the header", func() bool { return s.Len() <= 19 })
	_, _ = fmt.Fprint(caller, "\r\n")
	if _, err := http.ReadResponse(caller.in, nil); err != nil {
		t.Errorf("it was not served: %v", err)
	}
}

func TestALongHeaderOfAKnownCallerProvesNothingYet(t *testing.T) {
	const room = 50
	s := serve(t, Config{Max: room})
	for range 20 {
		c := s.dial(t)
		c.get(t, "/", "mallory")
		_, _ = c.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("ab:\n", 8000)))
	}
	eventually(t, "those that do not fit are closed", func() bool { return s.Len() <= 3 })
	s.dial(t).get(t, "/", "ann")
}

func TestWhatIsReadAfterARefusedRequestIsNoHeader(t *testing.T) {
	s := serve(t, Config{Max: 100})
	c := s.dial(t)
	body := strings.Repeat("x", 200<<10)
	_, _ = fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\nName: ann\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	c.get(t, "/", "ann")
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%v %v", resp, err)
	}
	eventually(t, "it weighs what a connection weighs", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.weight == 1
	})
}
