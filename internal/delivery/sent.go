package delivery

import "time"

// Peer is whom a message reaches: the kagent at a URL, in the dialect that it speaks, as a user of it. What one peer
// knows of a message another one need not: not a newer version of the same kagent, nor the same kagent asked as somebody else.
type Peer struct {
	Dialect string
	User    string
	URL     string

	Once  bool // a message ID that it has seen from this user is the same task again, never a second run
	Lists bool // it can be asked for the tasks of a context that khook chose
}

// Known says whether it was found out at all.
func (p Peer) Known() bool { return p.Dialect != "" }

// Sent is a message that may be with its agent. It is in the row from the commit right before the first byte leaves (write-ahead)
// until an answer says that it certainly had no effect, or two looks that it did not arrive. While it is there nothing is sent
// automatically but the same message to a peer that knows it by its ID.
type Sent struct {
	Dialect string
	User    string // "" in rows of an earlier khook, which did not keep it
	URL     string // the same
	At      time.Time
	Named   bool // its session was named before, as an earlier khook did: then a session without tasks says that it did not arrive
	Again   bool // it was sent more than once: no answer to the newest attempt says that the first had no effect
	Missed  int  // looks in a row that did not find it
	Looks   int  // all looks, also those that failed
}

// SentTo is a message that is about to leave.
func SentTo(p Peer, at time.Time) *Sent {
	return &Sent{Dialect: p.Dialect, User: p.User, URL: p.URL, At: at}
}

// By says whether the peer is the one that the message was sent to. An earlier khook kept neither user nor URL; there, its own rule
// stays: the dialect alone decides.
func (s *Sent) By(p Peer) bool {
	return s.Dialect == p.Dialect && (s.User == "" || s.User == p.User) && (s.URL == "" || s.URL == p.URL)
}

// again is the same message sent once more.
func (s *Sent) again(at time.Time) *Sent {
	next := *s
	next.At, next.Again, next.Missed = at, true, 0
	return &next
}

// Limits are the times that decide about messages.
type Limits struct {
	Request time.Duration // how long a request of khook's own may last, from its first byte on
	Settle  time.Duration // between two looks for one message
	Unclear time.Duration // for how long it is looked for a message that kagent can't tell of
	Cancel  time.Duration // the first pause between two tries to stop an agent; it doubles
}

// LeaveWithin is how soon after its commit a message must leave. One that was held up for longer, in a process that was
// halted, stays here: those who look for it must know when it can't come any more.
func (l Limits) LeaveWithin() time.Duration { return l.Request / 2 }

// settled is from when on the request of a message is certainly over, on khook's side.
func (l Limits) settled(s *Sent) time.Time { return s.At.Add(l.Request + l.LeaveWithin()) }
