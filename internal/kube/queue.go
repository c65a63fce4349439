package kube

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/kagent-dev/khook/internal/incident"
)

// queue is the signals that wait for the sink, in order. It is bounded: put waits when it is full.
//
// Invariant: a signal leaves the queue only when the sink has said that it is settled. So one that is lost
// is lost with the process only, and the next start finds it again.
type queue struct {
	limit int

	mu      sync.Mutex
	signals []incident.Signal
	err     error         // of the sink, while it fails
	more    chan struct{} // has a value when there may be signals
	room    chan struct{} // has a value when there may be room
}

func newQueue(limit int) *queue {
	return &queue{limit: limit, more: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// poke leaves a value in a channel with room for one: who waits for it looks again.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// put adds signals, and waits for room first. What one look brings is kept together.
func (q *queue) put(ctx context.Context, signals []incident.Signal) {
	if len(signals) == 0 {
		return
	}
	for {
		q.mu.Lock()
		if len(q.signals) < q.limit {
			q.signals = append(q.signals, signals...)
			q.mu.Unlock()
			poke(q.more)
			return
		}
		q.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-q.room:
		}
	}
}

// peek returns the first signals, at most n, and waits for one; nil when ctx ends.
func (q *queue) peek(ctx context.Context, n int) []incident.Signal {
	for {
		q.mu.Lock()
		if len(q.signals) > 0 {
			batch := q.signals[:min(n, len(q.signals)):min(n, len(q.signals))]
			q.mu.Unlock()
			return batch
		}
		q.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil
		case <-q.more:
		}
	}
}

// drop removes the first n signals.
func (q *queue) drop(n int) {
	q.mu.Lock()
	if q.signals = q.signals[n:]; len(q.signals) == 0 {
		q.signals = nil // let go of the memory of a storm
	}
	q.mu.Unlock()
	poke(q.room)
}

// depth is how many signals wait.
func (q *queue) depth() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.signals)
}

// setFailure notes how the newest attempt to record went; nil if it went well.
func (q *queue) setFailure(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.err = err
}

// failure is the error of the newest attempt to record; nil if it went well.
func (q *queue) failure() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

// deliver gives the sink what waits, as soon as it waits. What is not settled when ctx ends is not lost:
// the next start finds it again.
func (s *Source) deliver(ctx context.Context) {
	for pause := retryFirst; ; {
		batch := s.queue.peek(ctx, maxBatch)
		if batch == nil || ctx.Err() != nil {
			return
		}
		settled, err := s.cfg.Sink(ctx, batch)
		s.queue.drop(settled)
		s.queue.setFailure(err)
		if err == nil || ctx.Err() != nil {
			pause = retryFirst
			continue
		}
		if settled > 0 {
			pause = retryFirst
		}
		s.metrics.retries.Inc()
		s.cfg.Log.Error(err, "signals can't be recorded: they are kept, will retry", "signals", len(batch)-settled, "in", pause)
		select {
		case <-ctx.Done():
		case <-s.cfg.Clock.After(wait.Jitter(pause, 0.2)):
		}
		pause = min(2*pause, retryMost)
	}
}
