// Package review asks Kubernetes about callers, within bounds: what it answers is remembered, who asks
// waits in a queue that is fair, and what could not be asked is never taken for a no.
//
// It does not know what is asked. It remembers a yes and a no for seconds, and a yes longer only while nobody can be
// asked: a right that was taken away ends soon, and an outage of the API server locks nobody out at once.
package review

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/lru"

	"github.com/kagent-dev/khook/internal/limit"
)

// ErrNotAsked is wrapped by the errors that say that Kubernetes could not be asked: it does not answer,
// or not in time, or not this question. They are no answer, least of all a no.
var ErrNotAsked = errors.New("could not ask Kubernetes")

// ErrBusy is wrapped by the errors that say that a question was not asked because too many are.
var ErrBusy = errors.New("too many questions to Kubernetes are waiting")

// The times of asking.
const (
	// StaleFor is for how long a yes still counts while Kubernetes can't be asked again, from when it
	// was given.
	StaleFor = 5 * time.Minute

	turnLimit = 8 * time.Second        // for a turn in the queue
	callLimit = 5 * time.Second        // for one answer
	patience  = 2 * time.Second        // with a new answer, while there is an old yes
	pause     = 5 * time.Second        // before it is asked again what could not be asked
	attempts  = 3                      // of a question that Kubernetes did not take
	backoff   = 200 * time.Millisecond // after the first of them; then twice as long
)

// Config says how Answers remember.
type Config struct {
	Kind    string        // in the metrics, such as token
	Yes, No time.Duration // for how long an answer is taken to be still true
	Size    int           // how many of each are remembered
	Meters  *Meters
}

// Answers are the answers of Kubernetes to questions of one kind, by key: a yes with what it said, or
// a no. A key is asked about once at a time, however many want to know. It is safe for concurrent use.
type Answers[K comparable, V any] struct {
	cfg Config

	mu      sync.Mutex
	yes, no *lru.Cache // *answer[V], and when it was given
	flights map[K]*flight[V]
}

// answer is a yes.
type answer[V any] struct {
	value V
	at    time.Time
	retry time.Time // it is not asked again before, since that failed; zero if it did not
}

// flight is a question that is being asked.
type flight[V any] struct {
	done   chan struct{} // closed when the rest is there
	value  V
	yes    bool
	err    error
	called atomic.Bool // it had its turn

	waiting int  // who waits for it
	keep    bool // it is asked even if nobody waits
	cancel  context.CancelFunc
}

// Question is how a key is asked about, if it must be.
type Question[V any] struct {
	// Before says why the caller may not ask now; nil if it may always. It must not block.
	Before func() error
	// Where is the queue and the place in it. old is the yes that is to be renewed; nil if there is none.
	Where func(old *V) (*limit.Queue, limit.Place)
	// Ask asks once. The error says that there is no answer.
	Ask func(ctx context.Context) (value V, yes bool, err error)
}

// New returns Answers that know nothing.
func New[K comparable, V any](cfg Config) *Answers[K, V] {
	return &Answers[K, V]{cfg: cfg, yes: lru.New(cfg.Size), no: lru.New(cfg.Size), flights: map[K]*flight[V]{}}
}

type firmKey struct{}

// Firm makes a context in which a yes counts only as long as it is fresh: for who minds for how long
// Kubernetes was not asked.
func Firm(ctx context.Context) context.Context { return context.WithValue(ctx, firmKey{}, true) }

func isFirm(ctx context.Context) bool { return ctx.Value(firmKey{}) != nil }

// Get returns the answer about a key, from memory or by asking. The error wraps ErrBusy or ErrNotAsked,
// or is that of Question.Before.
func (a *Answers[K, V]) Get(ctx context.Context, key K, q Question[V]) (value V, yes bool, err error) {
	known, answered := a.look(ctx, key)
	switch {
	case answered && known != nil:
		return known.value, true, nil
	case answered:
		return value, false, nil
	}
	f, err := a.join(ctx, key, known, q)
	if err != nil {
		return value, false, err
	}
	defer a.unwait(f)
	old := known // to fall back to
	if isFirm(ctx) {
		old = nil
	}
	return a.wait(ctx, key, f, old)
}

// wait waits for an answer. If that takes long or fails, an old yes counts.
func (a *Answers[K, V]) wait(ctx context.Context, key K, f *flight[V], old *answer[V]) (value V, yes bool, err error) {
	var tired <-chan time.Time
	if old != nil {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		tired = timer.C
	}
	select {
	case <-f.done:
		if f.err == nil || old == nil {
			return f.value, f.yes, f.err
		}
	case <-tired:
		a.later(key)
	case <-ctx.Done():
		if f.called.Load() {
			return value, false, fmt.Errorf("%w: %w", ErrNotAsked, ctx.Err())
		}
		return value, false, fmt.Errorf("%w: %w", ErrBusy, ctx.Err())
	}
	a.cfg.Meters.stale(a.cfg.Kind)
	return old.value, true, nil
}

// look finds what is known of a key. If that is no answer, then known is the yes that is to be renewed.
func (a *Answers[K, V]) look(ctx context.Context, key K) (known *answer[V], answered bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	known = a.known(key, now)
	switch {
	case known == nil:
		return nil, a.refused(key, now)
	case now.Before(known.at.Add(a.cfg.Yes)):
		return known, true
	case !isFirm(ctx) && now.Before(known.retry):
		a.cfg.Meters.stale(a.cfg.Kind)
		return known, true
	}
	return known, false
}

// join finds the flight that asks about a key, or begins one.
func (a *Answers[K, V]) join(ctx context.Context, key K, known *answer[V], q Question[V]) (*flight[V], error) {
	a.mu.Lock()
	f := a.flights[key]
	if f != nil {
		f.waiting++
	}
	a.mu.Unlock()
	if f != nil {
		return f, nil
	}
	if q.Before != nil {
		if err := q.Before(); err != nil {
			return nil, err
		}
	}
	var old *V
	if known != nil {
		old = &known.value
	}
	queue, place := q.Where(old)
	a.mu.Lock()
	defer a.mu.Unlock()
	if f = a.flights[key]; f == nil {
		f = a.start(ctx, key, known != nil, queue, place, q.Ask)
	}
	f.waiting++
	return f, nil
}

// known is the yes about a key that may still count.
func (a *Answers[K, V]) known(key K, now time.Time) *answer[V] {
	v, ok := a.yes.Get(key)
	if !ok {
		return nil
	}
	yes := v.(*answer[V]) //nolint:forcetypeassert // as it was put there
	if now.Before(yes.at.Add(max(StaleFor, a.cfg.Yes))) {
		return yes
	}
	a.yes.Remove(key)
	return nil
}

func (a *Answers[K, V]) refused(key K, now time.Time) bool {
	at, ok := a.no.Get(key)
	return ok && now.Before(at.(time.Time).Add(a.cfg.No)) //nolint:forcetypeassert // as it was put there
}

// Recall says what is known of a key without asking: that it was answered with a yes within StaleFor, or
// with a no just now.
func (a *Answers[K, V]) Recall(key K) (yes, no bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	return a.known(key, now) != nil, a.refused(key, now)
}

// start begins to ask.
func (a *Answers[K, V]) start(ctx context.Context, key K, keep bool, queue *limit.Queue, place limit.Place, once func(context.Context) (V, bool, error)) *flight[V] {
	// Others may wait for the same answer: it does not end with the request that asked first.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), turnLimit)
	f := &flight[V]{done: make(chan struct{}), cancel: cancel, keep: keep}
	a.flights[key] = f
	go func() {
		defer cancel()
		f.value, f.yes, f.err = a.ask(ctx, f, queue, place, once)
		a.settle(key, f)
	}()
	return f
}

// unwait ends a wait. A question that is still in the queue and that nobody waits for is not asked.
func (a *Answers[K, V]) unwait(f *flight[V]) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if f.waiting--; f.waiting == 0 && !f.keep {
		f.cancel()
	}
}

// later lets an old yes count at once for a while, since asking takes long.
func (a *Answers[K, V]) later(key K) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if known := a.known(key, time.Now()); known != nil {
		known.retry = time.Now().Add(pause)
	}
}

// settle remembers the answer, and ends the flight.
func (a *Answers[K, V]) settle(key K, f *flight[V]) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.flights, key)
	now := time.Now()
	switch {
	case f.err != nil:
		if known := a.known(key, now); known != nil {
			known.retry = now.Add(pause)
		}
	case f.yes:
		a.no.Remove(key)
		a.yes.Add(key, &answer[V]{value: f.value, at: now})
	default:
		a.yes.Remove(key)
		a.no.Add(key, now)
	}
	close(f.done)
}

// ask asks until there is an answer, or until it is of no use.
func (a *Answers[K, V]) ask(ctx context.Context, f *flight[V], queue *limit.Queue, place limit.Place, once func(context.Context) (V, bool, error)) (value V, yes bool, err error) {
	began := time.Now()
	for attempt := range attempts {
		var failed error
		err = queue.Do(ctx, place, func() {
			f.called.Store(true)
			a.cfg.Meters.waited(a.cfg.Kind, time.Since(began))
			call, cancel := context.WithTimeout(context.WithoutCancel(ctx), callLimit)
			defer cancel()
			value, yes, failed = once(call)
		})
		if err != nil {
			a.cfg.Meters.turnedAway(a.cfg.Kind)
			return value, false, fmt.Errorf("%w: %w", ErrBusy, err)
		}
		a.cfg.Meters.asked(a.cfg.Kind, yes, failed)
		if failed == nil {
			return value, yes, nil
		}
		err = fmt.Errorf("%w: %w", ErrNotAsked, failed)
		if attempt+1 == attempts || !again(failed) || !sleep(ctx, between(attempt, failed)) {
			break
		}
	}
	return value, false, err
}

// again says whether a question may be taken the next time.
func again(err error) bool {
	var transport *url.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return false // it has taken its time already
	case errors.As(err, &transport):
		return true
	}
	return apierrors.IsTooManyRequests(err) || apierrors.IsInternalError(err) || apierrors.IsServiceUnavailable(err) || apierrors.IsServerTimeout(err)
}

// between is how long to wait before the next attempt: as long as Kubernetes says, or a while that grows.
func between(attempt int, err error) time.Duration {
	wait := backoff << attempt
	if seconds, ok := apierrors.SuggestsClientDelay(err); ok {
		wait = max(wait, time.Duration(seconds)*time.Second)
	}
	return wait + rand.N(wait/4) //nolint:gosec // only to spread
}

func sleep(ctx context.Context, wait time.Duration) bool {
	if end, ok := ctx.Deadline(); ok && time.Until(end) < wait {
		return false
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
