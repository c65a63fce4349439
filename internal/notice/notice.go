// Package notice says what people are told of outside of khook, and when that is still so. It is pure: it reads nothing, sends
// nothing, and knows no notifier. It must not tell of a thing that people can't do anything about any more.
package notice

import (
	"strconv"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// Kind is what a notice is about.
type Kind string

// The kinds.
const (
	NeedsPerson Kind = "needs-person" // something waits for a person, see Notice.About
	AgentFailed Kind = "agent-failed" // a call or an agent's task ended without an answer
	Outcome     Kind = "outcome"      // what became of the incidents after the agent's end is known
	Uncalled    Kind = "uncalled"     // an incident goes on, and no agent was called for it
	Unwell      Kind = "unwell"       // khook itself can't do its work, or can again
)

// Kinds lists all kinds.
func Kinds() []Kind { return []Kind{NeedsPerson, AgentFailed, Outcome, Uncalled, Unwell} }

// What waits for a person: Notice.About of NeedsPerson.
const (
	AboutQuestion  = "question"
	AboutApproval  = "approval"
	AboutStalled   = "stalled"
	AboutLoopGuard = "loop-guard"
)

// AboutTest is Notice.About of a message that only shows that a notifier works.
const AboutTest = "test"

// Notice is one thing that people are told. What it says in words is read when it is sent, from what is so then.
type Notice struct {
	ID         string // a UUID derived from what it is about: the same thing, the same ID, after each restart
	Kind       Kind
	About      string // more exactly: one of the constants above, the final state, the outcome
	Subject    string // what makes it another one than the next of its kind: the ID of the question, or a time
	Hook       delivery.HookRef
	Type       incident.EventType
	Namespace  string // of what failed; the Hook's
	Config     string // with Group, which group's calls are held back
	Group      string
	DeliveryID string
	IncidentID string
	At         time.Time // since when it is so
}

// identified gives the notice its ID.
func (n Notice) identified() Notice {
	n.ID = incident.DeriveID("notice", string(n.Kind), n.About, n.Hook.String(), n.Config, n.Group, n.DeliveryID, n.IncidentID, n.Subject)
	return n
}

// OfDelivery returns what people are to be told of a delivery as it is now.
func OfDelivery(d *delivery.Delivery) []Notice {
	n := Notice{
		Hook: d.Hook, Type: d.EventType, Namespace: d.Hook.Namespace, Config: d.Config, Group: d.Group, DeliveryID: d.ID, IncidentID: d.IncidentID,
	}
	var all []Notice
	add := func(kind Kind, about, subject string, at time.Time) {
		one := n
		one.Kind, one.About, one.Subject, one.At = kind, about, subject, at
		all = append(all, one.identified())
	}
	if about := WaitsFor(d); about == AboutStalled {
		add(NeedsPerson, about, strconv.FormatInt(d.StalledSince.UnixMicro(), 10), d.StalledSince)
	} else if about != "" {
		add(NeedsPerson, about, d.QuestionID, askedAt(d))
	}
	if failed(d) {
		add(AgentFailed, string(d.State), "", d.EndedAt)
	}
	if d.Outcome != "" {
		add(Outcome, string(d.Outcome), "", d.OutcomeAt)
	}
	return all
}

// WaitsFor is what a delivery needs a person for; empty if for nothing. Who was answered, or is to stop, waits for nobody; and a stalled task
// that khook stops by itself waits for khook.
func WaitsFor(d *delivery.Delivery) string {
	switch {
	case d.State.Ended() || d.CancelRequestedBy != "":
		return ""
	case d.State == delivery.InputRequired && d.Reply != nil:
		return ""
	case d.State == delivery.InputRequired && d.NeedsApproval:
		return AboutApproval
	case d.State == delivery.InputRequired:
		return AboutQuestion
	case !d.StalledSince.IsZero() && d.Stop != delivery.StopAsking && d.Stop != delivery.StopAsked:
		return AboutStalled
	}
	return ""
}

// askedAt is since when a question waits.
func askedAt(d *delivery.Delivery) time.Time {
	if d.HeardAt.IsZero() {
		return d.CreatedAt
	}
	return d.HeardAt
}

// failed says whether a delivery ended without its agent's answer though nobody wanted that: what was skipped or canceled is no failure.
func failed(d *delivery.Delivery) bool {
	if d.Skipped != "" {
		return false
	}
	return d.State == delivery.Failed || d.State == delivery.Rejected || d.State == delivery.Expired
}

// OfGroup returns that a group's calls are held back until a person lets them through again; since is when its newest call was made due.
func OfGroup(g *delivery.GroupState, newestDelivery string, since time.Time) Notice {
	return Notice{
		Kind: NeedsPerson, About: AboutLoopGuard, Subject: strconv.FormatInt(since.UnixMicro(), 10), Hook: g.Hook, Namespace: g.Hook.Namespace,
		Config: g.Config, Group: g.Group, DeliveryID: newestDelivery, At: since,
	}.identified()
}

// OfIncident returns that an incident goes on for which no agent was called.
func OfIncident(inc *incident.Incident) Notice {
	return Notice{
		Kind: Uncalled, About: string(inc.Type), Subject: strconv.FormatInt(inc.Reopenings, 10), Type: inc.Type, Namespace: inc.Resource.Namespace,
		IncidentID: inc.ID, At: inc.FirstSeen,
	}.identified()
}

// OfPart returns that a part of khook is unwell since a time, or that it is well again.
func OfPart(part string, since time.Time, well bool) Notice {
	about := "unwell"
	if well {
		about = "well"
	}
	return Notice{Kind: Unwell, About: about, Subject: part + " " + strconv.FormatInt(since.UnixMicro(), 10), At: since}.identified()
}

// StillSo says whether a delivery's notice is still so: a question that was answered, or replaced, is told to nobody any more.
func (n *Notice) StillSo(d *delivery.Delivery) bool {
	for _, now := range OfDelivery(d) {
		if now.ID == n.ID {
			return true
		}
	}
	return false
}

// State is how far a notice has come to one notifier.
type State string

// The states. All but the first are final.
const (
	Waiting  State = "waiting"  // it is to be sent, or tried again
	Sent     State = "sent"     // the receiver has taken it
	Failed   State = "failed"   // the receiver refused it, or did not take it within MaxWait
	Outdated State = "outdated" // it was not so any more before it could be sent
)

// MaxWait is how long is tried to tell a notifier of something.
const MaxWait = 24 * time.Hour

// TooLate says whether it is of no use any more to tell of it: what ended more than MaxWait ago. What still waits for a person, or goes
// on, is told however late.
func (n *Notice) TooLate(now time.Time) bool {
	return (n.Kind == AgentFailed || n.Kind == Outcome) && now.Sub(n.At) > MaxWait
}

// Line is a notice on its way to one notifier, as it is stored.
type Line struct {
	Notice
	Notifier string
	State    State
	Message  string // the ID of the message that it is sent in, the same at each attempt; empty before the first
	Attempt  int
	DueAt    time.Time // when it is sent, or tried again
	EndedAt  time.Time // when it came to a final state
	Error    string    // why the last attempt failed, without secrets
}
