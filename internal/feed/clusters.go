package feed

import (
	"context"
	"errors"
	"sync"
)

// ErrTooManyClusters is why no further cluster is followed.
var ErrTooManyClusters = errors.New("too many clusters are followed at the same time")

// Clusters are feeds of further clusters, each live for as long as somebody reads it: the history of a cluster that nobody follows here is
// not looked at.
type Clusters struct {
	// New returns a feed of a cluster's history; Clusters lets it live.
	New func(History) *Feed
	// Most is how many there are at the same time.
	Most int

	mu   sync.Mutex
	live map[int64]*followed
}

// followed is a feed that somebody reads.
type followed struct {
	feed    *Feed
	readers int
	stop    context.CancelFunc
	done    chan struct{}
}

// Enter returns the feed of a cluster, which has a number. It lives until all who entered have left.
func (c *Clusters) Enter(no int64, history History) (f *Feed, leave func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.live[no]
	if one == nil {
		if len(c.live) >= c.Most {
			return nil, nil, ErrTooManyClusters
		}
		ctx, stop := context.WithCancel(context.Background()) // it is of all its readers, and not of the first one
		one = &followed{feed: c.New(history), stop: stop, done: make(chan struct{})}
		go func() {
			defer close(one.done)
			_ = one.feed.Run(ctx)
		}()
		if c.live == nil {
			c.live = map[int64]*followed{}
		}
		c.live[no] = one
	}
	one.readers++
	return one.feed, sync.OnceFunc(func() { c.leave(no, one) }), nil
}

func (c *Clusters) leave(no int64, one *followed) {
	c.mu.Lock()
	if one.readers--; one.readers > 0 {
		c.mu.Unlock()
		return
	}
	delete(c.live, no)
	c.mu.Unlock()
	one.stop()
	<-one.done
}
