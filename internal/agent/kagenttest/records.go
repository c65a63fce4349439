package kagenttest

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
)

// Request is one HTTP request that the server got.
type Request struct {
	Kind    string // such as Send or Card
	Method  string
	Path    string
	Header  http.Header
	At      time.Time
	Dialect string // that the server spoke
}

// Message is one message that an agent really received: one execution.
type Message struct {
	Agent        delivery.AgentRef
	ID           string
	ContextID    string
	TaskID       string
	Text         string
	Data         json.RawMessage // the data part; nil if there was none
	DataMetadata map[string]any
	Reply        bool // it continues a task
	// Response is what a reply answers by kagent 1.x's extension for people in the loop, in a
	// message that names the extension as it must; nil if it does not.
	Response      json.RawMessage
	User          string
	ClientContext bool // the client chose the context
	At            time.Time
	Dialect       string
}

// records keeps the newest of what happened.
type records struct {
	mu       sync.Mutex
	limit    int
	requests []Request
	messages []Message
	total    int           // of messages
	news     chan struct{} // closed at the next message
}

func newRecords(limit int) *records {
	return &records{limit: limit, news: make(chan struct{})}
}

func (r *records) request(q Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = keep(r.requests, q, r.limit)
}

func (r *records) message(m Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messages = keep(r.messages, m, r.limit)
	r.total++
	close(r.news)
	r.news = make(chan struct{})
}

func keep[T any](all []T, next T, limit int) []T {
	if len(all) >= limit {
		all = slices.Delete(all, 0, len(all)-limit+1)
	}
	return append(all, next)
}

// Requests returns the newest requests, of the given kinds or of all, the oldest first.
func (s *Server) Requests(kinds ...string) []Request {
	s.records.mu.Lock()
	defer s.records.mu.Unlock()
	var found []Request
	for _, q := range s.records.requests {
		if len(kinds) == 0 || slices.Contains(kinds, q.Kind) {
			found = append(found, q)
		}
	}
	return found
}

// Messages returns the newest messages that agents received, the oldest first.
func (s *Server) Messages() []Message {
	s.records.mu.Lock()
	defer s.records.mu.Unlock()
	return slices.Clone(s.records.messages)
}

// Executions is how often an agent ran the message, as far as is recorded.
func (s *Server) Executions(messageID string) int {
	n := 0
	for _, m := range s.Messages() {
		if m.ID == messageID {
			n++
		}
	}
	return n
}

// Await returns the messages as soon as agents have received n since the start, or ctx's error.
func (s *Server) Await(ctx context.Context, n int) ([]Message, error) {
	for {
		s.records.mu.Lock()
		total, news := s.records.total, s.records.news
		s.records.mu.Unlock()
		if total >= n {
			return s.Messages(), nil
		}
		select {
		case <-ctx.Done():
			return s.Messages(), ctx.Err()
		case <-news:
		}
	}
}
