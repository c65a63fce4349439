// Package boundedlog keeps lines that many can cause from filling the log. It leaves lines out only above a rate for each
// message, and tells how many; errors that nobody outside can cause should not go through it.
package boundedlog

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
)

// Of each message so many lines are written, at once and in a second.
const (
	Burst = 20
	Rate  = 1
)

// maxMessages bounds how many messages are told apart; further ones share their lines.
const maxMessages = 128

// notLogged is the key with which a line tells how many with its message were left out before it.
const notLogged = "notLogged"

// New returns a log that writes a bounded number of lines with each message. The next line that is
// written with it tells how many were left out.
func New(log logr.Logger) logr.Logger {
	sink := log.GetSink()
	if sink == nil {
		return log
	}
	return log.WithSink(&bounded{sink, &messages{now: time.Now, known: map[string]*message{}}})
}

// bounded is a logr.LogSink. Those that are made of it by WithName and WithValues share its bounds.
type bounded struct {
	logr.LogSink
	messages *messages
}

// Info implements logr.LogSink.
func (b *bounded) Info(level int, text string, keysAndValues ...any) {
	if left, ok := b.messages.allow(text); ok {
		b.LogSink.Info(level, text, with(left, keysAndValues)...)
	}
}

// Error implements logr.LogSink.
func (b *bounded) Error(err error, text string, keysAndValues ...any) {
	if left, ok := b.messages.allow(text); ok {
		b.LogSink.Error(err, text, with(left, keysAndValues)...)
	}
}

// WithValues implements logr.LogSink.
func (b *bounded) WithValues(keysAndValues ...any) logr.LogSink {
	return &bounded{b.LogSink.WithValues(keysAndValues...), b.messages}
}

// WithName implements logr.LogSink.
func (b *bounded) WithName(name string) logr.LogSink {
	return &bounded{b.LogSink.WithName(name), b.messages}
}

func with(left int64, keysAndValues []any) []any {
	if left == 0 {
		return keysAndValues
	}
	return append(slices.Clip(keysAndValues), notLogged, left)
}

type messages struct {
	now func() time.Time

	mu    sync.Mutex
	known map[string]*message
}

type message struct {
	limit *rate.Limiter
	left  int64
}

// allow says whether a line may be written, and how many with its message were left out before.
func (m *messages) allow(text string) (left int64, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := keyOf(text)
	one := m.known[key]
	if one == nil && len(m.known) >= maxMessages {
		key = ""
		one = m.known[key]
	}
	if one == nil {
		one = &message{limit: rate.NewLimiter(Rate, Burst)}
		m.known[key] = one
	}
	if !one.limit.AllowN(m.now(), 1) {
		one.left++
		return 0, false
	}
	left, one.left = one.left, 0
	return left, true
}

// keyOf is the part of a message that is the same each time: net/http writes addresses into its own.
func keyOf(text string) string {
	if i := strings.IndexAny(text, "0123456789["); i > 0 {
		text = text[:i]
	}
	return text[:min(len(text), 60)]
}
