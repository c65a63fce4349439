package kagenttest

import (
	"context"
	"sync"

	"github.com/a2aproject/a2a-go/v2/a2a"
	"github.com/a2aproject/a2a-go/v2/a2asrv/eventqueue"
)

// queues carry the events of tasks to those who subscribed. The SDK's own leave a goroutine behind
// when somebody subscribes just as a task ends, and race at their end; these need no goroutine.
type queues struct {
	mu      sync.Mutex
	readers map[a2a.TaskID]map[*queue]bool
}

func newQueues() *queues { return &queues{readers: map[a2a.TaskID]map[*queue]bool{}} }

// CreateReader implements eventqueue.Manager.
func (q *queues) CreateReader(_ context.Context, id a2a.TaskID) (eventqueue.Reader, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	reader := &queue{all: q, id: id, news: make(chan struct{}, 1)}
	if q.readers[id] == nil {
		q.readers[id] = map[*queue]bool{}
	}
	q.readers[id][reader] = true
	return reader, nil
}

// CreateWriter implements eventqueue.Manager.
func (q *queues) CreateWriter(_ context.Context, id a2a.TaskID) (eventqueue.Writer, error) {
	return &queue{all: q, id: id}, nil
}

// Destroy implements eventqueue.Manager: readers get what was written, and then the end.
func (q *queues) Destroy(_ context.Context, id a2a.TaskID) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for reader := range q.readers[id] {
		reader.closed = true
		reader.wake()
	}
	delete(q.readers, id)
	return nil
}

// maxQueued bounds the events that a slow reader may be behind; it is closed then.
const maxQueued = 10_000

// queue is one end; its fields are guarded by the lock of all.
type queue struct {
	all    *queues
	id     a2a.TaskID
	news   chan struct{} // has a value when there may be something to read
	events []*eventqueue.Message
	closed bool
}

func (q *queue) wake() {
	select {
	case q.news <- struct{}{}:
	default:
	}
}

// Write implements eventqueue.Writer.
func (q *queue) Write(_ context.Context, m *eventqueue.Message) error {
	q.all.mu.Lock()
	defer q.all.mu.Unlock()
	for reader := range q.all.readers[q.id] {
		if len(reader.events) >= maxQueued {
			reader.closed = true
		}
		if !reader.closed {
			reader.events = append(reader.events, m)
		}
		reader.wake()
	}
	return nil
}

// Read implements eventqueue.Reader.
func (q *queue) Read(ctx context.Context) (*eventqueue.Message, error) {
	for {
		if m, err := q.next(); m != nil || err != nil {
			return m, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-q.news:
		}
	}
}

func (q *queue) next() (*eventqueue.Message, error) {
	q.all.mu.Lock()
	defer q.all.mu.Unlock()
	switch {
	case len(q.events) > 0:
		m := q.events[0]
		q.events = q.events[1:]
		return m, nil
	case q.closed:
		return nil, eventqueue.ErrQueueClosed
	}
	return nil, nil
}

// Close implements eventqueue.Reader.
func (q *queue) Close() error {
	q.all.mu.Lock()
	defer q.all.mu.Unlock()
	q.closed = true
	delete(q.all.readers[q.id], q)
	if len(q.all.readers[q.id]) == 0 {
		delete(q.all.readers, q.id)
	}
	return nil
}
