package delivery

import (
	"strconv"
	"time"

	"github.com/kagent-dev/khook/internal/incident"
)

// Reply is what a person answers to an agent's question.
type Reply struct {
	N          int       `json:"n"`                  // its number, from 1 on
	Text       string    `json:"text,omitempty"`     //
	Decision   Verdict   `json:"decision,omitempty"` // where the agent asks for an approval
	By         string    `json:"by"`
	At         time.Time `json:"at"`
	QuestionID string    `json:"questionId,omitempty"` // what it answers
	SentAt     time.Time `json:"sentAt,omitzero"`      // when an earlier khook first began to send it
	Sent       *Sent     `json:"sent,omitempty"`       // it may be with the agent
}

// RefusedError is why what a person wants can't be done with a delivery, and what to do instead.
type RefusedError struct{ Reason string }

// Error is the reason.
func (r *RefusedError) Error() string { return r.Reason }

// Verdict is how a person decides on an approval.
type Verdict string

// The verdicts.
const (
	Approve Verdict = "approve"
	Reject  Verdict = "reject"
)

// ReplyID is the A2A message ID of the delivery's reply: the same at each attempt.
func (d *Delivery) ReplyID() string { return incident.DeriveID("reply", d.ID, strconv.Itoa(d.Reply.N)) }

// Asked is what a look at the task of a delivery shows of a reply that is on its way.
type Asked struct {
	Limits Limits
	Heard  bool // the task has the reply
	Asks   bool // it still asks what the reply answers
	Peer   Peer // whom the reply would reach now; only its Once and its identity count
}

// ReplyStep is what is done next about a reply.
type ReplyStep string

// What can be done about a reply.
const (
	ReplySend    ReplyStep = "send"      // record the row, then send it
	ReplyWait    ReplyStep = "wait"      // look again later
	ReplyHas     ReplyStep = "has"       // the agent has it
	ReplyMoved   ReplyStep = "moved"     // the question is over: it was answered, by this reply or by somebody else
	ReplyUnasked ReplyStep = "unasked"   // it was not sent, and the question is over
	ReplyAgain   ReplyStep = "ask-again" // nobody knows whether it arrived: the person is asked instead of the agent
)

// DecideReply is the machine of a reply. It is sent once. After a lost answer its task tells whether it arrived, once its request can't
// be under way any more. A kagent before 1.0 checks no question's ID: there, what looks like the same question may be the next one,
// which a second approval would answer unseen. So the person is asked. kagent 1.x refuses a reply that fits no open question.
func DecideReply(row Delivery, o Asked, now time.Time) (Delivery, ReplyStep) {
	r := *row.Reply
	row.Reply = &r
	if r.Sent == nil && !r.SentAt.IsZero() {
		r.Sent = &Sent{Dialect: row.Dialect, At: r.SentAt} // of an earlier khook
	}
	switch {
	case o.Heard:
		return row, ReplyHas
	case !o.Asks && r.Sent == nil:
		return row, ReplyUnasked
	case !o.Asks:
		return row, ReplyMoved
	case r.Sent == nil:
		r.Sent = SentTo(o.Peer, now)
		return row, ReplySend
	case now.Before(o.Limits.settled(r.Sent)):
		return row, ReplyWait
	}
	s := *r.Sent
	r.Sent = &s
	switch s.Missed++; {
	case s.Missed < looksNeeded:
		return row, ReplyWait
	case o.Peer.Once && s.By(o.Peer):
		r.Sent = s.again(now)
		return row, ReplySend
	}
	return row, ReplyAgain
}

// ReplyFailed is the row after a reply that was not answered: one that certainly had no effect was not sent.
func ReplyFailed(row Delivery, f Fault, harmless bool) Delivery {
	r := *row.Reply
	row.Reply = &r
	if (harmless || f.Rule().Effect == NoEffect) && r.Sent != nil && !r.Sent.Again {
		r.Sent, r.SentAt = nil, time.Time{}
	}
	return row
}
