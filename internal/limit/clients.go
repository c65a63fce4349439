// Package limit decides who may go on now, who waits and who is turned away: a rate for each of many
// clients, and a bounded queue that is fair among them.
package limit

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/utils/lru"
)

// MaxClients bounds how many clients are told apart by a rate; those that asked least lately are
// forgotten, which gives them their whole burst again.
const MaxClients = 10_000

// Clients is a rate limit for each of many clients. It is safe for concurrent use.
type Clients struct {
	rate  rate.Limit
	burst int

	mu      sync.Mutex
	clients *lru.Cache
}

// NewClients returns a limit of so many requests a second of each client, after burst at once.
func NewClients(perSecond rate.Limit, burst int) *Clients {
	return &Clients{rate: perSecond, burst: burst, clients: lru.New(MaxClients)}
}

// Allow says whether a client may ask now, and if not, in how long.
func (c *Clients) Allow(client string) (wait time.Duration, ok bool) {
	r := c.of(client).Reserve()
	if wait = r.Delay(); wait == 0 {
		return 0, true
	}
	r.Cancel()
	return wait, false
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
