// Package conns bounds the open connections of an HTTP server, and decides which of them gives way
// when they are too many.
//
// Anybody can open connections without saying who he is, and hold them open. To accept no more would
// lock out everybody; so a new connection is always accepted, and when there is no room for it an old
// one is closed: first those of which nobody knows whose they are, then those that do nothing, each
// time of the owner who has the most. A connection that serves a request of a known caller is never
// closed for another one.
//
// It must not know who callers are, only that the server knows one.
package conns

import (
	"container/list"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
)

// Config holds the settings of a Listener.
type Config struct {
	// Max is how many connections may be open at the same time. A connection with several requests
	// under way, which HTTP/2 allows, counts as one for each of them, and one on which a long header
	// comes in as one for each headerShare of it.
	Max int
	// Idle is how long a connection may be without a request as long as it is not known whose it
	// is; 0 for no bound but that of the http.Server.
	Idle time.Duration
	// WriteBuffer and ReadBuffer are asked of the system for each connection, in bytes; 0 for as it
	// likes, which is some megabytes for a client that does not read. They are the container's memory.
	WriteBuffer, ReadBuffer int
	// Closed is told of each connection that was closed to make room (Full), because it brought no
	// request (Idle), or because there was no room for it (Refused). May be nil.
	Closed func(Reason)
}

// Reason is why a connection was closed.
type Reason string

// The reasons.
const (
	Full    Reason = "full"
	Idle    Reason = "idle"
	Refused Reason = "refused"
)

// Reasons returns all of them.
func Reasons() []Reason { return []Reason{Full, Idle, Refused} }

// connRank says who gives way first.
type connRank int

const (
	unknownIdle connRank = iota // nobody knows whose it is, and it has no request under way
	unknownBusy
	knownIdle
	ranks
	knownBusy = ranks // never
)

// Listener is a net.Listener whose connections are bounded.
type Listener struct {
	net.Listener
	cfg  Config
	stop chan struct{}
	once sync.Once

	mu     sync.Mutex
	open   map[*Conn]struct{}
	weight int // of all that are open
	lines  [ranks]map[string]*line
}

// line are the connections of one owner that have the same rank, the one first that has had it for
// the longest time.
type line struct {
	conns  list.List
	weight int
}

// Bound returns a listener that takes its connections from l.
func Bound(l net.Listener, cfg Config) *Listener {
	if cfg.Closed == nil {
		cfg.Closed = func(Reason) {}
	}
	b := &Listener{Listener: l, cfg: cfg, stop: make(chan struct{}), open: map[*Conn]struct{}{}}
	for i := range b.lines {
		b.lines[i] = map[string]*line{}
	}
	if cfg.Idle > 0 {
		go b.sweep()
	}
	return b
}

// Len is how many connections are open.
func (l *Listener) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.open)
}

// Close ends the listening; the connections stay.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.stop) })
	return l.Listener.Close()
}

// Accept returns the next connection, which is a *Conn.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		accepted, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		l.buffer(accepted)
		c := &Conn{Conn: accepted, of: l, owner: "address " + hostOf(accepted.RemoteAddr()), since: time.Now()}
		if l.add(c) {
			return c, nil
		}
		l.cfg.Closed(Refused)
		_ = accepted.Close()
	}
}

// buffer bounds what the system keeps of a connection. What it refuses is only a larger buffer.
func (l *Listener) buffer(c net.Conn) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	if n := l.cfg.WriteBuffer; n > 0 {
		_ = tcp.SetWriteBuffer(n)
	}
	if n := l.cfg.ReadBuffer; n > 0 {
		_ = tcp.SetReadBuffer(n)
	}
}

func hostOf(a net.Addr) string {
	if a == nil {
		return ""
	}
	h, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return h
}

// add takes a connection in, in place of another one if need be.
func (l *Listener) add(c *Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.room(1) {
		return false
	}
	l.open[c] = struct{}{}
	l.weight++
	l.enter(c)
	return true
}

// room closes connections until there is room for some more.
func (l *Listener) room(more int) bool {
	for l.weight+more > l.cfg.Max {
		victim := l.victim()
		if victim == nil {
			return false
		}
		l.remove(victim)
		l.cfg.Closed(Full)
		_ = victim.Conn.Close()
	}
	return true
}

// crowd is how many times as many idle connections as any stranger's a known owner may have before it
// gives way first.
const crowd = 4

// victim is the connection that gives way next; nil if none may.
//
// A stranger's connection may be that of a caller whose request has not been read yet. If it gave way to
// a known owner's crowd of idle ones, one token would be enough to keep everybody new out.
func (l *Listener) victim() *Conn {
	var heaviest [ranks]*line
	for r, lines := range l.lines {
		heaviest[r] = most(lines)
	}
	strangers := max(heaviest[unknownIdle].weigh(), heaviest[unknownBusy].weigh())
	if heaviest[knownIdle].weigh() > crowd*strangers {
		return heaviest[knownIdle].heaviest()
	}
	for _, one := range heaviest {
		if one != nil {
			return one.heaviest()
		}
	}
	return nil
}

// most is the line with the most connections; nil if there is none.
func most(lines map[string]*line) (heaviest *line) {
	for _, one := range lines {
		if heaviest == nil || one.weight > heaviest.weight {
			heaviest = one
		}
	}
	return heaviest
}

func (l *line) weigh() int {
	if l == nil {
		return 0
	}
	return l.weight
}

// longHeader is how many shares a header has that is longer than those of most callers.
const longHeader = 4

// heaviest is the connection of a line on which the longest header comes in, if one is long; else the oldest one. So who
// shares an address with somebody who sends long headers does not give way for them.
func (l *line) heaviest() *Conn {
	e := l.conns.Front()
	oldest := e.Value.(*Conn)      //nolint:forcetypeassert // only these are put in
	if l.weight == l.conns.Len() { // all weigh the same
		return oldest
	}
	found, longest := oldest, longHeader
	for ; e != nil; e = e.Next() {
		if c := e.Value.(*Conn); c.weight() > longest { //nolint:forcetypeassert // only these are put in
			found, longest = c, c.weight()
		}
	}
	return found
}

// enter puts a connection into the line that it belongs to now, at its end.
func (l *Listener) enter(c *Conn) {
	c.rank, c.since = c.now(), time.Now()
	if c.rank == knownBusy {
		return
	}
	one := l.lines[c.rank][c.owner]
	if one == nil {
		one = &line{}
		l.lines[c.rank][c.owner] = one
	}
	c.place = one.conns.PushBack(c)
	one.weight += c.weight()
}

// exit takes it out of its line.
func (l *Listener) exit(c *Conn) {
	if c.place == nil {
		return
	}
	one := l.lines[c.rank][c.owner]
	one.conns.Remove(c.place)
	one.weight -= c.weight()
	c.place = nil
	if one.conns.Len() == 0 {
		delete(l.lines[c.rank], c.owner)
	}
}

func (l *Listener) remove(c *Conn) {
	if _, ok := l.open[c]; !ok {
		return
	}
	l.exit(c)
	delete(l.open, c)
	l.weight -= c.weight()
}

// change changes a connection, if it is still open, and its place with it.
func (l *Listener) change(c *Conn, do func()) {
	if _, ok := l.open[c]; !ok {
		do()
		return
	}
	l.exit(c)
	l.weight -= c.weight()
	do()
	l.weight += c.weight()
	l.enter(c)
}

// sweep closes now and then what has been without a request for too long.
func (l *Listener) sweep() {
	tick := time.NewTicker(max(l.cfg.Idle/4, 10*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-l.stop:
			return
		case now := <-tick.C:
			for _, c := range l.idle(now.Add(-l.cfg.Idle)) {
				l.cfg.Closed(Idle)
				_ = c.Conn.Close()
			}
		}
	}
}

// idle takes out the connections of nobody that have had no request since a time.
func (l *Listener) idle(since time.Time) (found []*Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, one := range l.lines[unknownIdle] {
		for e := one.conns.Front(); e != nil; {
			c := e.Value.(*Conn) //nolint:forcetypeassert // only these are put in
			if e = e.Next(); c.since.After(since) {
				break
			}
			l.remove(c)
			found = append(found, c)
		}
	}
	return found
}

// headerShare is how many bytes of a header are taken to cost what a connection does, 24 KiB. Each may become 23 of memory
// (internal/server: TestWhatHeadersCost): a header of lines such as "ab:" is a map of thousands of names, each with a list of values. All of it is
// there before anybody knows who the client is.
const headerShare = 1024

// maxHeader bounds what a connection weighs because of a header. A server reads no longer one; what it reads and
// throws away, such as the body of a request that it refused, costs nothing.
const maxHeader = 36 << 10

// Conn is a connection of a Listener.
type Conn struct {
	net.Conn
	of *Listener

	// What follows is the listener's.
	owner    string
	known    bool
	requests int
	header   int // bytes that came in since the last request ended: the header of the next one
	held     int // shares of the headers of the requests under way
	rank     connRank
	since    time.Time // since when it has had its rank
	place    *list.Element
}

func (c *Conn) weight() int { return max(1, c.requests, shares(c.header)+c.held) }

func shares(bytes int) int { return (bytes + headerShare - 1) / headerShare }

// Read implements net.Conn. What comes while no request is under way is the header of the next one, and weighs.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.received(n)
	}
	return n, err
}

// received notes bytes that came in. A connection keeps its place in its line: a client can't make it
// young by sending another byte.
func (c *Conn) received(n int) {
	l := c.of
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.requests > 0 {
		return // a body, or messages of a WebSocket: they are bounded by those who read them
	}
	add := func() { c.header = min(c.header+n, maxHeader) }
	before, rank := c.weight(), c.rank
	if _, open := l.open[c]; !open {
		return
	}
	if was := c.header; shares(was) <= 1 && shares(was+n) > 1 && rank != unknownIdle {
		l.change(c, add)
	} else {
		add()
		l.weight += c.weight() - before
		if c.place != nil {
			l.lines[rank][c.owner].weight += c.weight() - before
		}
	}
	l.room(0)
}

func (c *Conn) now() connRank {
	switch {
	case c.known && c.requests > 0:
		return knownBusy
	case c.known && shares(c.header) <= 1: // a long header proves nothing yet, whatever the one before it did
		return knownIdle
	case c.requests > 0:
		return unknownBusy
	}
	return unknownIdle
}

// Close closes the connection.
func (c *Conn) Close() error {
	c.of.mu.Lock()
	c.of.remove(c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

type connKey struct{}

// Context is for http.Server.ConnContext: it makes the connection known to its requests.
func Context(ctx context.Context, c net.Conn) context.Context {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	if own, ok := c.(*Conn); ok {
		return context.WithValue(ctx, connKey{}, own)
	}
	return ctx
}

func of(ctx context.Context) *Conn {
	c, _ := ctx.Value(connKey{}).(*Conn)
	return c
}

// Known says whose the connection of a request is. It stays so: a caller who has proven once who he
// is keeps his place also between two requests.
func Known(ctx context.Context, owner string) {
	c := of(ctx)
	if c == nil {
		return
	}
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	if c.known && c.owner == owner {
		return
	}
	c.of.change(c, func() { c.owner, c.known = owner, true })
}

// Track counts the requests under way of each connection.
func Track(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c := of(r.Context()); c != nil {
			header := headerOf(r)
			c.begin(header)
			defer c.end(header)
		}
		next.ServeHTTP(w, r)
	})
}

// begin counts a request whose header takes some bytes.
func (c *Conn) begin(header int) {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	c.of.change(c, func() { c.requests, c.header, c.held = c.requests+1, 0, c.held+shares(header) })
	c.of.room(0)
}

func (c *Conn) end(header int) {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	c.of.change(c, func() { c.requests, c.header, c.held = c.requests-1, 0, c.held-shares(header) })
}

// headerOf is what the header of a request takes while it is under way, in the bytes of which headerShare is a
// number: two bytes of memory for each of its bytes, and a hundred for each field.
func headerOf(r *http.Request) int {
	size, fields := len(r.RequestURI), 0
	for name, values := range r.Header {
		fields += len(values)
		for _, v := range values {
			size += len(name) + len(v)
		}
	}
	return size/12 + 4*fields
}
