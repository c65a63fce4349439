package api

import "time"

// InboxKind is what a person is wanted for.
type InboxKind string

// The kinds.
const (
	InboxQuestion  InboxKind = "question"   // an agent waits for an answer
	InboxApproval  InboxKind = "approval"   // an agent waits for an approval
	InboxStalled   InboxKind = "stalled"    // nothing new is seen of an agent's task
	InboxLoopGuard InboxKind = "loop-guard" // a failure came back after each call: only a person lets the next one through
)

// Inbox is what waits for a person.
type Inbox struct {
	Items     []InboxItem `json:"data" nullable:"false" doc:"The one that waits for longest first."`
	Truncated bool        `json:"truncated,omitempty" doc:"There is more: ask for one namespace, or answer these first."`
}

// InboxItem is one thing that waits for a person.
type InboxItem struct {
	Kind          InboxKind `json:"kind" enum:"question,approval,stalled,loop-guard"`
	Since         time.Time `json:"since" doc:"Since when it waits."`
	Cluster       string    `json:"cluster,omitempty" doc:"Name of the cluster, whose own khook acts on it."`
	Hook          Name      `json:"hook"`
	Config        string    `json:"config" doc:"The Hook's configuration."`
	Group         string    `json:"group" doc:"What it is about."`
	Agent         *Name     `json:"agent,omitempty"`
	DeliveryID    string    `json:"deliveryId,omitempty" doc:"The delivery that waits, or of a loop guard the newest one of the group."`
	QuestionID    string    `json:"questionId,omitempty" doc:"A decision must name it."`
	Text          string    `json:"text,omitempty" doc:"The question, with the tool and the arguments that an approval is about; or why calls are held back. Untrusted."`
	TextsWithheld string    `json:"textsWithheld,omitempty" doc:"What to ask for to read the question."`
}
