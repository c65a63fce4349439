// Package feed fans the changes of events, incidents and deliveries out to many readers, live.
//
// A stream is "all changes after n" on the store's change sequence. Each change is encoded once and
// kept in a bounded tail; a reader that falls behind the tail reads from the store until it has
// caught up. So a slow reader costs no memory, slows nobody and loses nothing while the history is
// kept; after that it is told which range it missed.
//
// It must not drop a change without telling, nor hold anything for a single reader: what readers hold is theirs.
package feed

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// History is what the feed reads.
type History interface {
	EventChanges(ctx context.Context, f store.ChangeFilter, after, upTo int64, limit int) ([]store.EventChange, error)
	StoryChanges(ctx context.Context, kinds store.StoryKinds, after, upTo int64, limit int) ([]store.StoryChange, int64, error)
	LastChange(ctx context.Context) (int64, error)
	FirstChange(ctx context.Context) (int64, error)
	ChangeAt(ctx context.Context, t time.Time) (int64, error)
	Skipped(ctx context.Context, position int64) (from, to int64, skipped bool, err error)
}

// Config holds the settings of a Feed; zero values take the defaults.
type Config struct {
	History History
	// Encode makes the record of an event that readers get, from the event and when the change was made.
	Encode func(*incident.Event, time.Time) ([]byte, error)
	// EncodeIncident and EncodeDelivery make those of incidents and deliveries; nil: their changes are not read.
	EncodeIncident func(*incident.Incident) ([]byte, error)
	EncodeDelivery func(*delivery.Delivery) ([]byte, error)
	Log            logr.Logger
	// Poll is how often the history is looked at without being woken, for changes of other
	// processes; 1 s.
	Poll time.Duration
	// Tail is how many messages, TailBytes how many bytes of them are kept; 20,000 and 16 MiB.
	Tail, TailBytes int
	// CatchUps is how many readers read from the history at the same time; 4.
	CatchUps int
}

// Message is one change: something was recorded, or changed.
type Message struct {
	Seq   int64     // in the change sequence
	At    time.Time // when the change was made
	Kind  Kind
	Event *incident.Event // with the status that the change gave it; not to be changed; nil for another kind
	Frame []byte          // as a server-sent event
	Data  []byte          // the record in JSON; a part of Frame

	of facts // what the filters go by, of another kind
}

// facts are what is known of an incident or a delivery to filter it by.
type facts struct {
	id, namespace  string
	eventType      incident.EventType
	status         incident.Status // empty for a delivery, as are the others
	name, workload string
}

// Subject is what a message is about: a later one about the same takes its place.
type Subject struct {
	kind  Kind
	event int64
	id    string
}

// Subject returns what the message is about.
func (m *Message) Subject() Subject {
	if m.Event != nil {
		return Subject{event: m.Event.ID}
	}
	return Subject{kind: m.Kind, id: m.of.id}
}

// Feed reads changes once, for all readers.
type Feed struct {
	cfg     Config
	wake    chan struct{}
	catchUp chan struct{} // holds a token for each reader of the history

	mu      sync.Mutex
	tail    []*Message    // in order; all changes in (from, head]
	bytes   int           // of the frames in the tail
	from    int64         // the tail begins after it
	head    int64         // the feed has seen the changes up to it
	current time.Time     // when it last had seen all that there was
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

// tellEvery is how often an error that lasts is logged.
const tellEvery = 10 * time.Second

// Run reads changes until ctx ends.
func (f *Feed) Run(ctx context.Context) error {
	poll := time.NewTicker(f.cfg.Poll)
	defer poll.Stop()
	var told time.Time // of an error: the history is asked often
	for {
		if err := f.advance(ctx); err != nil && ctx.Err() == nil && time.Since(told) >= tellEvery {
			told = time.Now()
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
	if head < last {
		if head, err = f.overSkipped(ctx, head); err != nil {
			return err
		}
	}
	for head < last {
		messages, reach, err := f.read(ctx, Filter{Kinds: Events | Incidents | Deliveries}, head, last)
		if err != nil {
			return err
		}
		head = reach
		f.add(messages, head)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.head == last {
		f.current = time.Now()
	}
	return nil
}

// overSkipped lets the feed go on after what a new term left out. If the feed has read beyond what there was when the term began, the database has lost
// it since: then the tail begins anew, and each reader is told of the gap.
func (f *Feed) overSkipped(ctx context.Context, head int64) (int64, error) {
	from, to, skipped, err := f.cfg.History.Skipped(ctx, head)
	if err != nil || !skipped {
		return head, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if head > from {
		f.tail, f.bytes, f.from = nil, 0, to
	}
	f.head = to
	close(f.changed)
	f.changed = make(chan struct{})
	return to, nil
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

// read reads a batch of changes from the history, up to a number that is committed, and encodes those that the filter selects.
// It has everything up to reach.
func (f *Feed) read(ctx context.Context, filter Filter, after, upTo int64) (messages []*Message, reach int64, err error) {
	reach = upTo
	if filter.Kinds.of(KindEvent) {
		changes, err := f.cfg.History.EventChanges(ctx, filter.changes(), after, upTo, batch)
		if err != nil {
			return nil, after, err
		}
		if len(changes) == batch { // something may have been left out after the last one
			reach = changes[batch-1].Seq
		}
		messages = make([]*Message, 0, len(changes))
		for _, c := range changes {
			m, err := f.encode(c)
			if err != nil {
				return nil, after, err
			}
			messages = append(messages, m)
		}
	}
	kinds := store.StoryKinds{Incidents: f.cfg.EncodeIncident != nil && filter.Kinds.of(KindIncident), Deliveries: f.cfg.EncodeDelivery != nil && filter.Kinds.of(KindDelivery)}
	if kinds == (store.StoryKinds{}) {
		return messages, reach, nil
	}
	stories, told, err := f.readStories(ctx, filter, kinds, after, reach)
	if err != nil {
		return nil, after, err
	}
	if told < reach { // the events after it come with the next batch
		reach = told
		messages = slices.DeleteFunc(messages, func(m *Message) bool { return m.Seq > reach })
	}
	if len(stories) > 0 {
		messages = append(messages, stories...)
		slices.SortFunc(messages, func(a, b *Message) int { return cmp.Compare(a.Seq, b.Seq) })
	}
	return messages, reach, nil
}

// readStories reads the changes of incidents and deliveries.
func (f *Feed) readStories(ctx context.Context, filter Filter, kinds store.StoryKinds, after, upTo int64) ([]*Message, int64, error) {
	changes, reach, err := f.cfg.History.StoryChanges(ctx, kinds, after, upTo, batch)
	if err != nil {
		return nil, after, err
	}
	messages := make([]*Message, 0, len(changes))
	for i := range changes {
		m := about(&changes[i])
		if !filter.Selects(m) {
			continue
		}
		if err := f.encodeStory(m, &changes[i]); err != nil {
			return nil, after, err
		}
		messages = append(messages, m)
	}
	return messages, reach, nil
}

// about is the message about a change of an incident or of a delivery, without its record.
func about(c *store.StoryChange) *Message {
	if d := c.Delivery; d != nil {
		return &Message{Seq: c.Seq, At: c.At, Kind: KindDelivery, of: facts{id: d.ID, namespace: d.Hook.Namespace, eventType: d.EventType}}
	}
	i := c.Incident
	status := incident.Resolved
	if i.Open() {
		status = incident.Firing
	}
	return &Message{Seq: c.Seq, At: c.At, Kind: KindIncident, of: facts{
		id: i.ID, namespace: i.Resource.Namespace, eventType: i.Type, status: status, name: i.Resource.Name, workload: i.Workload.Name,
	}}
}

func (f *Feed) encodeStory(m *Message, c *store.StoryChange) (err error) {
	var data []byte
	if c.Delivery != nil {
		data, err = f.cfg.EncodeDelivery(c.Delivery)
	} else {
		data, err = f.cfg.EncodeIncident(c.Incident)
	}
	if err != nil {
		return fmt.Errorf("encode %s %s: %w", m.Kind, m.of.id, err)
	}
	m.frame(data)
	return nil
}

func (f *Feed) encode(c store.EventChange) (*Message, error) {
	data, err := f.cfg.Encode(c.Event, c.At)
	if err != nil {
		return nil, fmt.Errorf("encode event %d: %w", c.Event.ID, err)
	}
	m := &Message{Seq: c.Seq, At: c.At, Kind: KindEvent, Event: c.Event}
	m.frame(data)
	return m, nil
}

// frame puts the record into a server-sent event.
func (m *Message) frame(data []byte) {
	frame := make([]byte, 0, len(data)+56)
	frame = append(frame, "id: "...)
	frame = strconv.AppendInt(frame, m.Seq, 10)
	frame = append(frame, "\nevent: "...)
	frame = append(frame, m.Kind...)
	frame = append(frame, "\ndata: "...)
	at := len(frame)
	frame = append(frame, data...)
	frame = append(frame, "\n\n"...)
	m.Frame = frame
	m.Data = m.Frame[at : at+len(data)]
}

// Head is the newest number of the change sequence that the feed has seen.
func (f *Feed) Head() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.head
}

// Current is when the feed last had seen all that there was; zero if it never had.
func (f *Feed) Current() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.current
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
