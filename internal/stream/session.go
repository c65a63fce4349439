package stream

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/kagent-dev/khook/internal/capacity"
	"github.com/kagent-dev/khook/internal/feed"
	"github.com/kagent-dev/khook/internal/review"
)

// ContentType is that of server-sent events.
const ContentType = "text/event-stream"

// The times of a stream.
const (
	heartbeat  = 15 * time.Second // at least so often something is sent
	WriteLimit = 20 * time.Second // for one write: who takes longer is disconnected, and comes back
	recheck    = 30 * time.Second // how often it is asked whether the caller may still read
	checkLimit = 2 * time.Second  // for the answer: nothing is sent meanwhile
)

// errStops ends the streams of a khook that stops.
var errStops = errors.New("khook stops")

// errNoRight ends the stream of a caller who may not read any more.
var errNoRight = errors.New("you may not read this any more")

// errNotAsked ends the stream of a caller of whom that could not be found out for review.StaleFor.
var errNotAsked = errors.New("khook could not ask Kubernetes whether you may still read this")

// Caller is who reads a stream, as the server knows it.
type Caller interface {
	// MayRead asks Kubernetes anew, and not from memory, whether the caller may read in a namespace, or in all if it
	// is empty. The error says that it could not be asked.
	MayRead(ctx context.Context, namespace string) (bool, error)
	// Allow returns an error that says what is missing unless the caller may read in a namespace; it may take an
	// answer that is remembered.
	Allow(ctx context.Context, namespace string) error
	// LimitControl counts a message of the client against the caller's limit.
	LimitControl() (wait time.Duration, ok bool)
	// EnterCatchUp waits for room for a batch that is read from the history.
	EnterCatchUp(ctx context.Context) (*capacity.Pass, error)
	// Refuse answers a handshake that came to nothing.
	Refuse(w http.ResponseWriter, code int, detail string)
}

// Session is one stream. Its fields are set before Serve, which is called once.
type Session struct {
	Reader    *feed.Reader
	Namespace string  // that the caller asked for; empty: all
	MaxRate   float64 // messages a second; 0 for no bound
	Caller    Caller
	Metrics   *Metrics

	rate      *pace
	checked   time.Time // when the right was last asked for
	confirmed time.Time // when Kubernetes last said that the caller has it
	out       transport
	control   func(context.Context) error // applies what the client asks for; nil if it can't
	room      *capacity.Pass              // for the batch at hand, if it was read from the history
}

// Serve serves the stream until the client leaves, the right is taken away or life ends, which is that of the server:
// as a WebSocket on upgrade, else as server-sent events. The context of the request must outlive life, or the client is
// cut off rather than told to come back.
func (s *Session) Serve(life context.Context, w http.ResponseWriter, r *http.Request) {
	s.begin()
	defer func() { s.room.Leave() }()
	switch {
	case IsUpgrade(r):
		s.serveWebSocket(life, w, r)
	case r.Method == http.MethodHead:
		w.Header().Set("Content-Type", ContentType) // that is all of it
	default:
		s.serveSSE(life, w, r)
	}
}

func (s *Session) begin() {
	s.rate, s.checked, s.confirmed = newPace(s.MaxRate), time.Now(), time.Now()
}

// transport writes messages in the form of the stream.
type transport interface {
	ready(position int64) error
	events([]*feed.Message) error
	gap(feed.Gap, int64) error
	position(int64) error
}

// loop passes on what the reader gets, until the client leaves or something ends the stream.
func (s *Session) loop(ctx context.Context, interrupted func() (context.Context, context.CancelFunc)) error {
	if err := s.out.ready(s.Reader.Position()); err != nil {
		return err
	}
	for spoke := time.Now(); ; {
		if err := s.mayStill(ctx); err != nil {
			return err
		}
		wait, cancel := interrupted()
		b, err := s.next(wait) //nolint:contextcheck // it is made of ctx
		cancel()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if s.control != nil {
			if err := s.control(ctx); err != nil {
				return err
			}
		}
		if err != nil && wait.Err() == nil {
			return err
		}
		sent, err := s.pass(b)
		if err != nil {
			return err
		}
		switch {
		case sent:
			spoke = time.Now()
		case time.Since(spoke) >= heartbeat && s.rate.empty():
			if err := s.out.position(s.Reader.Position()); err != nil {
				return err
			}
			spoke = time.Now()
		}
	}
}

// next reads, unless so much is held back that reading can wait. What a stream reads from the history
// is memory of its own for as long as its client takes to read it: so it waits for room.
func (s *Session) next(ctx context.Context) (feed.Batch, error) {
	s.room.Leave() // the batch before has been written
	if s.rate.full() {
		<-ctx.Done()
		return feed.Batch{}, nil
	}
	if !s.Reader.Behind() {
		return s.Reader.NextOfTail(ctx) // if the tail leaves it behind meanwhile, it waits for room the next time
	}
	var err error
	if s.room, err = s.Caller.EnterCatchUp(ctx); err != nil {
		<-ctx.Done()
		return feed.Batch{}, ctx.Err()
	}
	return s.Reader.Next(ctx)
}

// pass sends a batch, or what the pace lets through of it and of what was held back before.
func (s *Session) pass(b feed.Batch) (sent bool, err error) {
	if b.Gap != nil {
		s.Metrics.Gaps.Inc()
		if err := s.out.gap(*b.Gap, b.Position); err != nil {
			return false, err
		}
		sent = true
	}
	messages, coalesced := s.rate.pass(b.Messages)
	if reach, ok := s.rate.forget(); ok {
		s.Reader.Rewind(reach)
	}
	s.Metrics.Coalesced.Add(float64(coalesced))
	if len(messages) == 0 {
		return sent, nil
	}
	if err := s.out.events(messages); err != nil {
		return sent, err
	}
	s.Metrics.Messages.Add(float64(len(messages)))
	s.Metrics.Lag.Observe(max(0, time.Since(messages[0].At).Seconds()))
	return true, nil
}

// patience is how long to wait for the next batch.
func (s *Session) patience() time.Duration {
	if s.rate.empty() {
		return heartbeat
	}
	return s.rate.nextIn()
}

// mayStill asks now and then whether the caller may still read. Only a no ends the stream at once; what
// can't be asked ends it after a while.
func (s *Session) mayStill(ctx context.Context) error {
	if time.Since(s.checked) < recheck {
		return nil
	}
	s.checked = time.Now()
	switch may, err := s.askAgain(ctx); {
	case err == nil && !may:
		return errNoRight
	case err == nil:
		s.confirmed = time.Now()
	case time.Since(s.confirmed) >= review.StaleFor:
		return errNotAsked
	}
	return nil
}

// askAgain asks whether the caller may read, and takes no old answers: this is what says how old they are.
func (s *Session) askAgain(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(review.Firm(ctx), checkLimit)
	defer cancel()
	return s.Caller.MayRead(ctx, s.Namespace)
}

// untilStop returns ctx with the further end that life has; context.Cause says then that khook stops.
func untilStop(ctx, life context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(life, func() { cancel(errStops) })
	return ctx, func() { stop(); cancel(nil) }
}

// retryDelay is when a client is to come back, in milliseconds. It has jitter, so that not all come at once.
func retryDelay() int { return 500 + rand.IntN(4500) } //nolint:gosec // only to spread

// IsUpgrade says whether a request asks for a WebSocket.
func IsUpgrade(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}
