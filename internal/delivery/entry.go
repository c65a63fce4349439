package delivery

import "time"

// TookTheMessage is what the entry says of a call that an agent has taken, behind its attempt.
const TookTheMessage = "the agent took the message"

// EntryKind says what an Entry of a delivery's log is.
type EntryKind string

// The kinds of entries.
const (
	EntryCall       EntryKind = "call"        // the message was begun to be sent
	EntryState      EntryKind = "state"       // the task came to a state
	EntryMessage    EntryKind = "message"     // the agent said something
	EntryArtifact   EntryKind = "artifact"    // the agent made something
	EntryToolCall   EntryKind = "tool-call"   // the agent calls a tool, which Name says, with the arguments in Text
	EntryToolAnswer EntryKind = "tool-answer" // the tool answered Text
	EntryQuestion   EntryKind = "question"    // the agent asked something
	EntryReply      EntryKind = "reply"       // a person answered
	EntryPerson     EntryKind = "person"      // a person did something else
	EntryStall      EntryKind = "stall"       // nothing new was seen of the task for long, or something is again
	EntryOutcome    EntryKind = "outcome"     // what became of the incidents
	EntryMore       EntryKind = "more"        // further entries were not kept
)

// Bounds of a delivery's log.
const (
	MaxEntries   = 200      // of a delivery; further ones of agents are not kept, with a mark
	MaxEntryText = 16 << 10 // bytes of Entry.Text
)

// Entry is one thing that happened in a delivery.
type Entry struct {
	DeliveryID string
	N          int    // its number in the delivery, from 1 on; given by the store
	Source     string // what it is of: an entry with a Source that is known replaces the text of the former one
	At         time.Time
	Kind       EntryKind
	State      string // of the task or the delivery, where it is about one
	By         string // the person, or "agent"
	Name       string // of an artifact or a tool
	Text       string // untrusted where it is the agent's
	Truncated  bool   // Text was longer
}
