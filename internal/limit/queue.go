package limit

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// ErrTurnedAway is returned to who can't wait, because too many do already.
var ErrTurnedAway = errors.New("too many wait already")

// QueueConfig bounds a Queue.
type QueueConfig struct {
	Rate    rate.Limit // turns a second, after Burst at once
	Burst   int
	Running int // turns that are under way at the same time
	Waiting int // who may wait
	// Order lists the classes in the order in which they get turns: 0 0 1 gives class 0 two turns of
	// three while both want some, and all of them while class 1 wants none.
	Order []int
}

// Place is where somebody waits: in a class, and there with those of the same first word, and among
// them with those of the same second word, and so on. Each word gets as many turns as any other beside
// it, however many wait under it. There is at least one.
type Place struct {
	Class int
	Path  []string
}

// Queue gives turns at a bounded rate, and is fair among those that wait. If too many wait, it turns
// away one of the first word under which most wait in all classes, there of the last class, and there who
// has waited longest: so a crowd displaces itself, and nobody of another word. Among those of the same place the newest goes
// first, since under overload the oldest have given up, or soon will. It is safe for concurrent use.
type Queue struct {
	cfg  QueueConfig
	rate *rate.Limiter

	mu      sync.Mutex
	classes []*crowd
	words   map[string]int // how many wait under a first word
	at      int            // in Order
	waiting int
	running int
	alarm   *time.Timer // for the next turn; nil if none is due by time
}

// NewQueue returns a queue in which nobody waits.
func NewQueue(cfg QueueConfig) *Queue {
	q := &Queue{cfg: cfg, rate: rate.NewLimiter(cfg.Rate, cfg.Burst), words: map[string]int{}}
	for _, class := range cfg.Order {
		for len(q.classes) <= class {
			q.classes = append(q.classes, newCrowd(nil, ""))
		}
	}
	return q
}

// Do waits for a turn and does the work. It returns an error if there was no turn: ErrTurnedAway, or
// that of ctx, which is about the waiting only.
func (q *Queue) Do(ctx context.Context, p Place, work func()) error {
	w := &waiter{word: p.Path[0], settled: make(chan struct{})}
	q.join(p, w)
	select {
	case <-w.settled:
	case <-ctx.Done():
		if q.leave(w) {
			return ctx.Err()
		}
	}
	if w.turnedAway {
		return ErrTurnedAway
	}
	defer q.finish()
	work()
	return nil
}

// Waiting is how many wait now.
func (q *Queue) Waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting
}

// waiter is one that waits. Who reads turnedAway has seen settled closed, or has asked leave.
type waiter struct {
	word       string        // the first of its path
	settled    chan struct{} // closed at the turn, or when it is turned away
	turnedAway bool
	place
}

func (q *Queue) join(p Place, w *waiter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.classes[p.Class].add(p.Path, w)
	q.words[w.word]++
	q.waiting++
	q.serve()
	if q.waiting > q.cfg.Waiting {
		q.turnAway()
	}
}

// leave takes a waiter out, unless it is settled already.
func (q *Queue) leave(w *waiter) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !w.isWaiting() {
		return false
	}
	q.takeOut(w)
	return true
}

func (q *Queue) takeOut(w *waiter) {
	w.remove()
	q.waiting--
	if q.words[w.word]--; q.words[w.word] == 0 {
		delete(q.words, w.word)
	}
}

func (q *Queue) finish() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.running--
	q.serve()
}

// serve gives the turns that are due.
func (q *Queue) serve() {
	for q.waiting > 0 && q.running < q.cfg.Running {
		now := time.Now()
		due := q.rate.ReserveN(now, 1)
		if wait := due.DelayFrom(now); wait > 0 {
			due.CancelAt(now)
			q.serveIn(wait)
			return
		}
		w := q.next()
		q.takeOut(w)
		q.running++
		close(w.settled)
	}
}

func (q *Queue) serveIn(wait time.Duration) {
	if q.alarm != nil {
		return
	}
	q.alarm = time.AfterFunc(wait, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.alarm = nil
		q.serve()
	})
}

// next is whose turn it is; somebody waits.
func (q *Queue) next() *waiter {
	for {
		class := q.classes[q.cfg.Order[q.at]]
		q.at = (q.at + 1) % len(q.cfg.Order)
		if class.size > 0 {
			return class.next()
		}
	}
}

func (q *Queue) turnAway() {
	crowded := ""
	for word, n := range q.words {
		if n > q.words[crowded] {
			crowded = word
		}
	}
	for _, v := range slices.Backward(q.classes) {
		if part := v.parts[crowded]; part != nil {
			w := part.inLargest()
			q.takeOut(w)
			w.turnedAway = true
			close(w.settled)
			return
		}
	}
}
