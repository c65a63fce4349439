// Package feed fans the changes of events out to many readers, live.
//
// A stream is "all changes after n" on the store's change sequence. Each change is encoded once and
// kept in a bounded tail; a reader that falls behind the tail reads from the store until it has
// caught up. So a slow reader costs no memory, slows nobody and loses nothing while the history is
// kept; after that it is told which range it missed.
//
// It must not drop a change without telling, nor hold anything for a single reader: what readers hold is theirs.
package feed

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sort"
	"strconv"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// History is what the feed reads.
type History interface {
	EventChanges(ctx context.Context, f store.ChangeFilter, after, upTo int64, limit int) ([]store.EventChange, error)
	LastChange(ctx context.Context) (int64, error)
	FirstChange(ctx context.Context) (int64, error)
	ChangeAt(ctx context.Context, t time.Time) (int64, error)
}

// Config holds the settings of a Feed; zero values take the defaults.
type Config struct {
	History History
	// Encode makes the record of an event that readers get, from the event and when the change was made.
	Encode func(*incident.Event, time.Time) ([]byte, error)
	Log    logr.Logger
	// Poll is how often the history is looked at without being woken, for changes of other
	// processes; 1 s.
	Poll time.Duration
	// Tail is how many messages, TailBytes how many bytes of them are kept; 20,000 and 16 MiB.
	Tail, TailBytes int
	// CatchUps is how many readers read from the history at the same time; 4.
	CatchUps int
}

// Message is one change of an event: it was recorded, or its status changed.
type Message struct {
	Seq   int64           // in the change sequence
	At    time.Time       // when the change was made
	Event *incident.Event // with the status that the change gave it; not to be changed
	Frame []byte          // as a server-sent event
	Data  []byte          // the record in JSON; a part of Frame
}

// Feed reads changes once, for all readers.
type Feed struct {
	cfg     Config
	wake    chan struct{}
	catchUp chan struct{} // holds a token for each reader of the history

	mu      sync.Mutex
	tail    []*Message    // in order; all changes of events in (from, head]
	bytes   int           // of the frames in the tail
	from    int64         // the tail begins after it
	head    int64         // the feed has seen the changes up to it
	changed chan struct{} // closed when head moves
	started chan struct{} // closed when head is known
}

// New returns a feed; Run makes it live.
func New(cfg Config) *Feed {
	if cfg.Poll == 0 {
		cfg.Poll = time.Second
	}
	if cfg.Tail == 0 {
		cfg.Tail = 20_000
	}
	if cfg.TailBytes == 0 {
		cfg.TailBytes = 16 << 20
	}
	if cfg.CatchUps == 0 {
		cfg.CatchUps = 4
	}
	return &Feed{
		cfg: cfg, wake: make(chan struct{}, 1), catchUp: make(chan struct{}, cfg.CatchUps),
		changed: make(chan struct{}), started: make(chan struct{}),
	}
}

// Wake says that something was committed. It never blocks.
func (f *Feed) Wake() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// batch is how many changes are read at once.
const batch = 500

// batchDelay is how long the feed waits after it was woken, so that what is committed together is read
// and passed on together.
const batchDelay = 5 * time.Millisecond

// Run reads changes until ctx ends.
func (f *Feed) Run(ctx context.Context) error {
	poll := time.NewTicker(f.cfg.Poll)
	defer poll.Stop()
	for {
		if err := f.advance(ctx); err != nil && ctx.Err() == nil {
			f.cfg.Log.Error(err, "cannot read changes for the streams, will retry")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-poll.C:
		case <-f.wake:
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(batchDelay):
			}
		}
	}
}

// advance reads what is new.
func (f *Feed) advance(ctx context.Context) error {
	last, err := f.cfg.History.LastChange(ctx)
	if err != nil {
		return err
	}
	f.mu.Lock()
	head := f.head
	if !isClosed(f.started) {
		head = last
		f.from, f.head = last, last
		close(f.started)
	}
	f.mu.Unlock()
	for head < last {
		messages, err := f.read(ctx, Filter{}, head, math.MaxInt64)
		if err != nil {
			return err
		}
		head = coveredTo(messages, last)
		f.add(messages, head)
	}
	return nil
}

// coveredTo is the number up to which a batch has everything, if it was read when the sequence had come
// to last at least. A full one may have left something out after its last message.
func coveredTo(messages []*Message, last int64) int64 {
	n := len(messages)
	switch n {
	case 0:
		return last
	case batch:
		return messages[n-1].Seq
	}
	return max(last, messages[n-1].Seq)
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// add appends to the tail, and drops what is too much. The entries that it drops are set to nil, so
// that their memory is free at once: nobody else may hold a part of the tail, see after.
func (f *Feed) add(messages []*Message, head int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tail, f.head = append(f.tail, messages...), head
	for _, m := range messages {
		f.bytes += len(m.Frame)
	}
	drop := 0
	for len(f.tail)-drop > f.cfg.Tail || f.bytes > f.cfg.TailBytes && drop < len(f.tail) {
		f.bytes -= len(f.tail[drop].Frame)
		f.from = f.tail[drop].Seq
		f.tail[drop] = nil
		drop++
	}
	f.tail = f.tail[drop:]
	close(f.changed)
	f.changed = make(chan struct{})
}

// read reads a batch of changes from the history, and encodes those that the filter selects.
func (f *Feed) read(ctx context.Context, filter Filter, after, upTo int64) ([]*Message, error) {
	changes, err := f.cfg.History.EventChanges(ctx, store.ChangeFilter(filter), after, upTo, batch)
	if err != nil {
		return nil, err
	}
	messages := make([]*Message, len(changes))
	for i, c := range changes {
		if messages[i], err = f.encode(c); err != nil {
			return nil, err
		}
	}
	return messages, nil
}

func (f *Feed) encode(c store.EventChange) (*Message, error) {
	data, err := f.cfg.Encode(c.Event, c.At)
	if err != nil {
		return nil, fmt.Errorf("encode event %d: %w", c.Event.ID, err)
	}
	frame := make([]byte, 0, len(data)+48)
	frame = append(frame, "id: "...)
	frame = strconv.AppendInt(frame, c.Seq, 10)
	frame = append(frame, "\nevent: event\ndata: "...)
	at := len(frame)
	frame = append(frame, data...)
	frame = append(frame, "\n\n"...)
	return &Message{Seq: c.Seq, At: c.At, Event: c.Event, Frame: frame, Data: frame[at : at+len(data)]}, nil
}

// Head is the newest number of the change sequence that the feed has seen.
func (f *Feed) Head() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.head
}

// after returns the messages of the tail after a number, at most n of them, and the number that they
// reach to. It is false if the tail begins later than that. The slice is the caller's own: a part of the
// tail would have entries set to nil under a slow reader's hands.
func (f *Feed) after(seq int64, n int) (messages []*Message, to int64, changed chan struct{}, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if seq < f.from {
		return nil, seq, f.changed, false
	}
	i := sort.Search(len(f.tail), func(i int) bool { return f.tail[i].Seq > seq })
	messages = slices.Clone(f.tail[i:min(i+n, len(f.tail))])
	if i+n < len(f.tail) {
		return messages, messages[len(messages)-1].Seq, f.changed, true
	}
	return messages, max(f.head, seq), f.changed, true
}
