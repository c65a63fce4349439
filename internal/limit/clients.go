// Package limit decides who may go on now, who waits and who is turned away: a rate for each of many
// clients, and a bounded queue that is fair among them.
//
// It knows clients by names that it is given, and forgets those that were not seen for long: what it remembers is
// bounded, whoever makes up names.
package limit

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/utils/lru"
)

// Clients is a rate limit for each of many clients. It is safe for concurrent use.
type Clients struct {
	rate  rate.Limit
	burst int

	mu      sync.Mutex
	clients *lru.Cache
}

// NewClients returns a limit of so many requests a second of each client, after burst at once. It tells
// size clients apart: those that asked least lately are forgotten, which gives them their whole burst again.
func NewClients(perSecond rate.Limit, burst, size int) *Clients {
	return &Clients{rate: perSecond, burst: burst, clients: lru.New(size)}
}

// Allow says whether a client may ask now, and if not, in how long.
func (c *Clients) Allow(client string) (wait time.Duration, ok bool) {
	return allow(c.of(client))
}

func allow(l *rate.Limiter) (wait time.Duration, ok bool) {
	r := l.Reserve()
	if wait = r.Delay(); wait == 0 {
		return 0, true
	}
	r.Cancel()
	return wait, false
}

// Budget is what a client has left of a rate limit.
type Budget struct {
	Limit     int           // requests at once, when nothing is used up
	Remaining int           // requests at once, now
	Reset     time.Duration // until nothing is used up
}

// Take is Allow, and says what the client has left then.
func (c *Clients) Take(client string) (left Budget, wait time.Duration, ok bool) {
	l := c.of(client)
	wait, ok = allow(l)
	tokens := max(0, l.Tokens())
	missing := max(0, float64(c.burst)-tokens)
	return Budget{Limit: c.burst, Remaining: int(tokens), Reset: time.Duration(missing / float64(c.rate) * float64(time.Second))}, wait, ok
}

// Spent says whether a client has used up what it may ask now. It takes nothing.
func (c *Clients) Spent(client string) bool { return c.of(client).Tokens() < 1 }

func (c *Clients) of(client string) *rate.Limiter {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known, ok := c.clients.Get(client); ok {
		return known.(*rate.Limiter) //nolint:forcetypeassert // only limiters are added
	}
	l := rate.NewLimiter(c.rate, c.burst)
	c.clients.Add(client, l)
	return l
}
