package server

import (
	"math"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/utils/lru"
)

// maxClients bounds how many clients are told apart by a rate limit; those that asked least lately
// are forgotten.
const maxClients = 10_000

// limiters hold back clients that ask too often: by their address before anybody is asked who they
// are, and by their name after that.
type limiters struct{ byAddress, byName *limiter }

// An address can stand for many people, such as those behind one proxy.
const perAddress = 4

func newLimiters(l Limits) *limiters {
	return &limiters{
		byAddress: newLimiter(rate.Limit(perAddress*l.Rate), perAddress*l.Burst),
		byName:    newLimiter(rate.Limit(l.Rate), l.Burst),
	}
}

// limiter is a rate limit for each of many clients.
type limiter struct {
	rate  rate.Limit
	burst int

	mu      sync.Mutex
	clients *lru.Cache
}

func newLimiter(r rate.Limit, burst int) *limiter {
	return &limiter{rate: r, burst: burst, clients: lru.New(maxClients)}
}

// allow says whether a client may ask now, and if not, in how long.
func (l *limiter) allow(client string) (wait time.Duration, ok bool) {
	l.mu.Lock()
	of, known := l.clients.Get(client)
	if !known {
		of = rate.NewLimiter(l.rate, l.burst)
		l.clients.Add(client, of)
	}
	l.mu.Unlock()
	r := of.(*rate.Limiter).Reserve() //nolint:forcetypeassert // only limiters are added
	if wait = r.Delay(); wait == 0 {
		return 0, true
	}
	r.Cancel()
	return wait, false
}

func tooMany(w http.ResponseWriter, wait time.Duration) {
	seconds := int(math.Ceil(wait.Seconds()))
	w.Header().Set("Retry-After", strconv.Itoa(max(1, seconds)))
	writeProblem(w, http.StatusTooManyRequests, "too many requests: wait as long as Retry-After says, or ask for more with each request (limit is at most 1000)")
}

// address is the client's, without its port. What proxies say of it is not trusted.
func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
