package capacity

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Errors of Gate.Enter. Both mean: later.
var (
	// ErrClientBusy is returned when what the client itself has under way is why it must come back.
	ErrClientBusy = errors.New("too much of this client is under way")
	// ErrBusy is returned when others have so much under way that there was no room in time.
	ErrBusy = errors.New("too much is under way")
)

// GateConfig holds the settings of a Gate.
type GateConfig struct {
	Size       int64         // of everything that is inside at the same time, such as bytes
	Lines      int           // entries that wait, of all clients; further ones are refused at once; 256
	ClientLine int           // entries that wait, of one client; 16
	Wait       time.Duration // how long an entry waits at most; 10 s
}

// Gate is a weighted semaphore that many clients share fairly: whatever one of them does, there is
// room for another.
//
// A client that has something inside already may take more only up to what stays free (a dynamic
// threshold, as switches have for their shared buffers): alone it gets half of the gate, and n
// greedy ones leave the (n+1)th of it to a newcomer. Whoever waits is let in by what it has inside,
// the least first, then by who was let in least lately; so a long line of one client is no obstacle
// to the first entry of another. A client with nothing inside can take anything that fits.
type Gate struct {
	cfg GateConfig

	mu      sync.Mutex
	used    int64
	waiting int
	entries uint64              // counts those that were let in
	clients map[string]*visitor // that have something inside or wait
}

// visitor is one client of a gate.
type visitor struct {
	used int64
	last uint64 // the entry that it was let in with; 0: none yet
	line []*waiter
}

type waiter struct {
	cost  int64
	since uint64
	in    chan struct{} // closed when it is let in
}

// NewGate returns a gate with nothing inside.
func NewGate(cfg GateConfig) *Gate {
	if cfg.Lines == 0 {
		cfg.Lines = 256
	}
	if cfg.ClientLine == 0 {
		cfg.ClientLine = 16
	}
	if cfg.Wait == 0 {
		cfg.Wait = 10 * time.Second
	}
	return &Gate{cfg: cfg, clients: map[string]*visitor{}}
}

// Size is what fits into the gate.
func (g *Gate) Size() int64 { return g.cfg.Size }

// Used is what is inside, and how many entries wait.
func (g *Gate) Used() (used int64, waiting int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.used, g.waiting
}

// Pass is what an entry has taken of a Gate. It is for one goroutine.
type Pass struct {
	gate   *Gate
	client string
	cost   int64
}

// Leave gives it back. It may be called more than once, and on a Pass that is nil.
func (p *Pass) Leave() { p.Keep(0) }

// Keep gives back what is more than a cost.
func (p *Pass) Keep(cost int64) {
	if p == nil || cost >= p.cost {
		return
	}
	p.gate.leave(p.client, p.cost-cost)
	p.cost = cost
}

// Enter waits until a cost fits, and takes it until the Pass is left. What costs more than the whole
// gate is let in alone. The error is ErrClientBusy or ErrBusy, or that of ctx.
func (g *Gate) Enter(ctx context.Context, client string, cost int64) (*Pass, error) {
	w, err := g.queue(client, min(cost, g.cfg.Size))
	if err != nil {
		return nil, err
	}
	pass := &Pass{g, client, w.cost}
	select {
	case <-w.in:
		return pass, nil
	default:
	}
	limit := time.NewTimer(g.cfg.Wait)
	defer limit.Stop()
	select {
	case <-w.in:
		return pass, nil
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-limit.C:
		err = ErrBusy
	}
	if g.giveUp(client, w, &err) {
		return nil, err
	}
	return pass, nil // it was let in at the same moment
}

// queue puts an entry into the client's line, and lets in who can be.
func (g *Gate) queue(client string, cost int64) (*waiter, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	v := g.clients[client]
	if v == nil {
		v = &visitor{}
		g.clients[client] = v
	}
	g.entries++
	w := &waiter{cost: cost, since: g.entries, in: make(chan struct{})}
	v.line = append(v.line, w)
	g.waiting++
	g.admit()
	select {
	case <-w.in:
		return w, nil
	default:
	}
	if len(v.line) <= g.cfg.ClientLine && g.waiting <= g.cfg.Lines {
		return w, nil
	}
	err := fmt.Errorf("%w: %d wait", ErrBusy, g.waiting-1)
	if len(v.line) > g.cfg.ClientLine {
		err = fmt.Errorf("%w: %d wait", ErrClientBusy, len(v.line)-1)
	}
	v.line = v.line[:len(v.line)-1]
	g.waiting--
	g.forget(client, v)
	return nil, err
}

// giveUp takes an entry out of the line; false if it was let in meanwhile. An entry whose client
// has others inside waited for itself.
func (g *Gate) giveUp(client string, w *waiter, err *error) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	v := g.clients[client]
	for i, one := range v.line {
		if one == w {
			v.line = append(v.line[:i:i], v.line[i+1:]...)
			g.waiting--
			if errors.Is(*err, ErrBusy) && v.used > 0 {
				*err = ErrClientBusy
			}
			g.forget(client, v)
			g.admit() // a smaller one behind it may fit
			return true
		}
	}
	return false
}

func (g *Gate) leave(client string, cost int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	v := g.clients[client]
	v.used -= cost
	g.used -= cost
	g.forget(client, v)
	g.admit()
}

func (g *Gate) forget(client string, v *visitor) {
	if v.used == 0 && len(v.line) == 0 {
		delete(g.clients, client)
	}
}

// admit lets in whoever is next, as long as there is room.
func (g *Gate) admit() {
	for g.waiting > 0 {
		v := g.next()
		if v == nil {
			return
		}
		w := v.line[0]
		v.line = v.line[1:]
		g.entries++
		v.used, v.last = v.used+w.cost, g.entries
		g.used += w.cost
		g.waiting--
		close(w.in)
	}
}

// next is the client whose first entry is let in now; nil if none is.
//
// The one that is next in turn and does not fit stops those behind it that would fit: else small
// entries kept a large one waiting for ever. One that has its share already stops nobody.
func (g *Gate) next() *visitor {
	var best *visitor
	free := g.cfg.Size - g.used
	for _, v := range g.clients {
		if len(v.line) == 0 || v.used > 0 && v.used+v.line[0].cost > free {
			continue
		}
		if best == nil || goesBefore(v, best) {
			best = v
		}
	}
	if best == nil || best.line[0].cost > free {
		return nil
	}
	return best
}

func goesBefore(a, b *visitor) bool {
	if a.used != b.used {
		return a.used < b.used
	}
	if a.last != b.last {
		return a.last < b.last
	}
	return a.line[0].since < b.line[0].since
}
