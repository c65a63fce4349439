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
	SentAt     time.Time `json:"sentAt,omitzero"`      // when it was first begun to be sent
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
