package stream

import (
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/kagent-dev/khook/internal/feed"
)

// What a pace holds back at most, in messages and in bytes. Beyond the half of it nothing more is read,
// which costs nothing: the feed has it.
const (
	maxHeld      = 2000
	maxHeldBytes = 16 << 10
)

// pace bounds the rate of messages. What is above it waits, and the changes of one event, incident or delivery are put
// together meanwhile: the last one wins.
type pace struct {
	limiter *rate.Limiter // nil for no bound
	held    []*feed.Message
	bytes   int // of what is held
}

func newPace(perSecond float64) *pace {
	if perSecond <= 0 {
		return &pace{}
	}
	return &pace{limiter: rate.NewLimiter(rate.Limit(perSecond), max(1, int(perSecond/4)))}
}

func (p *pace) empty() bool { return len(p.held) == 0 }
func (p *pace) full() bool  { return len(p.held) >= maxHeld/2 || p.bytes >= maxHeldBytes/2 }

// nextIn is in how long the next message may be sent.
func (p *pace) nextIn() time.Duration {
	r := p.limiter.Reserve()
	defer r.Cancel()
	return min(max(r.Delay(), 5*time.Millisecond), time.Second)
}

// pass returns what may be sent now, in order, and how many messages were made one with a later one.
// A message is left out only for a later one about the same: so a client that leaves at any moment
// and comes back with the last ID misses nothing.
func (p *pace) pass(messages []*feed.Message) (now []*feed.Message, coalesced int) {
	if p.limiter == nil && len(p.held) == 0 {
		return messages, 0
	}
	p.held = append(p.held, messages...)
	before := len(p.held)
	p.held = lastOfEach(p.held)
	coalesced = before - len(p.held)
	n := 0
	for n < len(p.held) && (p.limiter == nil || p.limiter.Allow()) {
		n++
	}
	now, p.held = p.held[:n:n], slices.Clone(p.held[n:]) // what is sent is not kept by what is held
	return now, coalesced
}

// forget drops the newest of what is too much to be held, and returns the number up to which the rest
// reaches; ok says that there was something to drop. It must be read again from there.
func (p *pace) forget() (reach int64, ok bool) {
	p.bytes = 0
	for i, m := range p.held {
		if p.bytes += len(m.Frame); i > 0 && (p.bytes > maxHeldBytes || i >= maxHeld) {
			p.bytes -= len(m.Frame)
			clear(p.held[i:])
			p.held = p.held[:i:i]
			return p.held[i-1].Seq, true
		}
	}
	return 0, false
}

func lastOfEach(messages []*feed.Message) []*feed.Message {
	last := make(map[feed.Subject]int64, len(messages))
	for _, m := range messages {
		last[m.Subject()] = m.Seq
	}
	if len(last) == len(messages) {
		return messages
	}
	kept := make([]*feed.Message, 0, len(last))
	for _, m := range messages {
		if last[m.Subject()] == m.Seq {
			kept = append(kept, m)
		}
	}
	return kept
}
