// Package source is what a source of signals is: something that watches a part of the world and turns
// what it sees into signals (incident.Signal). Kubernetes is one (internal/kube); webhooks and schedules fit
// beside it. The process runs a List of them and need not know which they are.
//
// It must not know any source, nor what happens to a signal after its Sink.
package source

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kagent-dev/khook/internal/incident"
)

// Sink records signals, in order, and says how many of the first ones are settled. After an error it is
// given the others again: a source drops none. It is called by one goroutine of a source at a time;
// several sources may call it at once.
type Sink func(ctx context.Context, signals []incident.Signal) (settled int, err error)

// Source is a source of signals. All methods but Run are quick, and safe for concurrent use; they may
// be called before Run.
type Source interface {
	// Run gives signals to the sink until ctx ends. open are the incidents that are open in the history,
	// those of other sources included: it must tell of its own ones when they end. It is called once.
	Run(ctx context.Context, open []*incident.Incident) error
	// WatchedSince is since when the source has seen all there was to see, without a break; false if it
	// does not now. Only from then on does silence mean that a problem is not seen any more.
	WatchedSince() (time.Time, bool)
	// Synced says whether what was there before the start has been seen.
	Synced() bool
	// Check returns what keeps the source from doing its work for so long that khook is not ready; nil
	// if nothing does.
	Check() error
	// Health tells how each of its streams does, in a fixed order.
	Health() []StreamHealth
}

// StreamHealth is how one stream of a source does, such as the watch of the Pods.
type StreamHealth struct {
	Source      string // such as kubernetes
	Stream      string // such as pods
	Namespace   string // "" for all
	Up          bool
	Since       time.Time // since when it is up, or down
	LastContact time.Time // when the other side last said something; heartbeats count
	LastEvent   time.Time // when the newest change came
	Restarts    int64     // how often it had to be opened again
	Error       string    // the newest one; "" while it is up

	Lag     time.Duration // how long the newest change had waited to be looked at
	Waiting int           // signals of the source, of all its streams, that wait for the sink
}

// List is several sources as one. An empty one watches nothing, and does so without a break.
type List []Source

var _ Source = List(nil)

// Run runs all sources; the first one that fails ends the others.
func (l List) Run(ctx context.Context, open []*incident.Incident) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range l {
		group.Go(func() error { return s.Run(ctx, open) })
	}
	return group.Wait()
}

// WatchedSince is the latest time of all sources: before it, one of them may have missed something.
func (l List) WatchedSince() (time.Time, bool) {
	var latest time.Time
	for _, s := range l {
		since, watched := s.WatchedSince()
		if !watched {
			return time.Time{}, false
		}
		if since.After(latest) {
			latest = since
		}
	}
	return latest, true
}

// Synced says whether all sources are.
func (l List) Synced() bool {
	for _, s := range l {
		if !s.Synced() {
			return false
		}
	}
	return true
}

// Check joins what the sources say.
func (l List) Check() error {
	var errs []error
	for _, s := range l {
		errs = append(errs, s.Check())
	}
	return errors.Join(errs...)
}

// Health tells the streams of all sources.
func (l List) Health() []StreamHealth {
	var streams []StreamHealth
	for _, s := range l {
		streams = append(streams, s.Health()...)
	}
	return streams
}
