package server

import (
	"fmt"
	"net/http"
	"sync"

	"github.com/kagent-dev/khook/internal/incident"
)

// streamCount bounds the streams, of all clients and of each.
type streamCount struct {
	most, mostEach int

	mu       sync.Mutex
	all      int
	byClient map[string]int
	changed  func(all int)
}

func (c *streamCount) enter(client string) (leave func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	free := c.most - c.all
	switch own := c.byClient[client]; {
	case own >= c.mostEach:
		return nil, tooManyStreams(http.StatusTooManyRequests, fmt.Sprintf("you have %s open, which is the most: close one, or use one with a wider filter", incident.Counted(c.mostEach, "stream")))
	case c.all >= c.most:
		return nil, tooManyStreams(http.StatusServiceUnavailable, "too many streams are open: come back later")
	case own > 0 && own >= free: // whoever has streams leaves room for others, as at a capacity.Gate
		return nil, tooManyStreams(http.StatusTooManyRequests, fmt.Sprintf("you have %s open, and there is room for %d more of all clients: close one, or use one with a wider filter", incident.Counted(own, "stream"), free))
	}
	c.all++
	c.byClient[client]++
	c.changed(c.all)
	return func() { c.leave(client) }, nil
}

func (c *streamCount) leave(client string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all--
	if c.byClient[client]--; c.byClient[client] == 0 {
		delete(c.byClient, client)
	}
	c.changed(c.all)
}

func (c *streamCount) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all
}
