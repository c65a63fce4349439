package notify

import (
	"fmt"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/notice"
)

// Bounds of a message.
const (
	maxItems = 10        // told in words; of more their number is
	maxText  = 2_400     // bytes of an Item's Text
	maxTitle = 300       // bytes of an Item's Title
	maxBody  = 128 << 10 // bytes of what is sent
)

// Message is what a notifier is told at once. Its JSON is what the shape json sends, and what a template is given.
type Message struct {
	ID       string `json:"id"` // the same at each attempt: a receiver that gets it twice knows it by that
	Notifier string `json:"notifier"`
	Cluster  string `json:"cluster,omitempty"`
	Version  string `json:"version"`
	Items    []Item `json:"items"`
	More     int    `json:"more,omitempty"` // how many there are beside Items
}

// Item is one thing that people are told. Title and Text hold what the cluster, an agent or a person said: they are untrusted.
type Item struct {
	ID         string             `json:"id"`
	Kind       notice.Kind        `json:"kind"`
	About      string             `json:"about"`
	At         time.Time          `json:"at"`                   // since when it is so
	Title      string             `json:"title"`                // a sentence
	Text       string             `json:"text,omitempty"`       // the question, the exact tool and its arguments, the error
	Command    string             `json:"command,omitempty"`    // that answers it, or shows more
	Link       string             `json:"link,omitempty"`       // to khook, if it was told its own address
	Namespace  string             `json:"namespace,omitempty"`  // of what failed
	Hook       string             `json:"hook,omitempty"`       // as namespace/name
	Agent      string             `json:"agent,omitempty"`      // as namespace/name
	EventType  incident.EventType `json:"eventType,omitempty"`  // of the incident
	Group      string             `json:"group,omitempty"`      // what the call is about, such as Deployment/cart
	DeliveryID string             `json:"deliveryId,omitempty"` // of the call
	IncidentID string             `json:"incidentId,omitempty"`
	QuestionID string             `json:"questionId,omitempty"` // which an answer must name
}

// shortID is how much of an ID is shown; khook's commands take that.
const shortID = 8

func short(id string) string { return id[:min(len(id), shortID)] }

// itemOf is a notice in words.
func itemOf(n *notice.Notice) Item {
	i := Item{
		ID: n.ID, Kind: n.Kind, About: n.About, At: n.At.UTC(), Namespace: n.Namespace, EventType: n.Type, Group: n.Group, DeliveryID: n.DeliveryID, IncidentID: n.IncidentID,
	}
	if n.Hook.Name != "" {
		i.Hook = n.Hook.String()
	}
	return i
}

// ofDelivery tells a delivery's notice.
func ofDelivery(n *notice.Notice, d *delivery.Delivery) Item {
	i := itemOf(n)
	i.Agent, i.Command = d.Agent.String(), "khook deliveries show "+d.ID
	what := fmt.Sprintf("%s of %s (Hook %s)", d.EventType, d.Group, d.Hook)
	switch n.About {
	case notice.AboutApproval:
		i.QuestionID, i.Text = d.QuestionID, d.Question
		i.Title = fmt.Sprintf("Agent %s wants an approval: %s", d.Agent, what)
		i.Command = fmt.Sprintf("khook approve -n %s %s, or khook reject -n %[1]s %[2]s", d.Hook.Namespace, short(d.QuestionID))
	case notice.AboutQuestion:
		i.QuestionID, i.Text = d.QuestionID, d.Question
		i.Title = fmt.Sprintf("Agent %s asks: %s", d.Agent, what)
		i.Command = fmt.Sprintf("khook reply -n %s %s 'ANSWER'", d.Hook.Namespace, short(d.QuestionID))
	case notice.AboutStalled:
		i.Title = fmt.Sprintf("Nothing new is seen of the task of agent %s since %s: %s", d.Agent, d.StalledSince.UTC().Format(time.RFC3339), what)
		i.Text = stuck(d)
		i.Command = "khook deliveries cancel " + d.ID
	default:
		i.Title, i.Text = ended(n, d, what)
	}
	return bounded(i)
}

func stuck(d *delivery.Delivery) string {
	if d.Stop == delivery.StopInVain {
		return "The agent was asked to stop, and did not: its task can't be stopped by khook."
	}
	return ""
}

// ended tells how a delivery ended, or what came of it.
func ended(n *notice.Notice, d *delivery.Delivery, what string) (title, text string) {
	if n.Kind == notice.AgentFailed {
		return fmt.Sprintf("The call to agent %s ended as %s: %s", d.Agent, d.State, what), d.Error
	}
	switch d.Outcome {
	case delivery.OutcomeRecovered:
		return fmt.Sprintf("Recovered%s: %s", map[delivery.Phase]string{
			delivery.BeforeCall: " before the agent was called", delivery.DuringTask: " while agent " + d.Agent.String() + " worked", delivery.AfterTask: " after agent " + d.Agent.String() + " had ended",
		}[d.RecoveredIn()], what), d.Answer
	case delivery.OutcomeRelapsed:
		return fmt.Sprintf("It failed again %s after it had recovered: %s; agent %s had been called", d.RelapsedAfter().Round(time.Second), what, d.Agent), d.Answer
	case delivery.OutcomePersisting:
		return fmt.Sprintf("It goes on, though agent %s has ended: %s", d.Agent, what), d.Answer
	}
	return fmt.Sprintf("It is not known whether it recovered: %s; agent %s had been called", what, d.Agent), d.Answer
}

// ofGroup tells that a group is held back.
func ofGroup(n *notice.Notice, why string) Item {
	i := itemOf(n)
	i.Title = fmt.Sprintf("No more calls for %s (Hook %s) until a person lets them through", n.Group, n.Hook)
	i.Text = why
	if n.DeliveryID != "" {
		i.Command = "khook deliveries resume " + n.DeliveryID
	}
	return bounded(i)
}

// ofIncident tells that nobody is called.
func ofIncident(n *notice.Notice, inc *incident.Incident) Item {
	i := itemOf(n)
	i.Title = fmt.Sprintf("%s goes on since %s, and no agent was called for it", inc.Subject(), inc.FirstSeen.UTC().Format(time.RFC3339))
	i.Text, i.Command = inc.Message, "khook why "+inc.ID
	return bounded(i)
}

// ofPart tells how a part of khook does.
func ofPart(n *notice.Notice, part, why string, now time.Time) Item {
	i := itemOf(n)
	i.Command = "khook health"
	if why == "" {
		i.Title = fmt.Sprintf("khook is well again: %s", part)
		return bounded(i)
	}
	i.Title = fmt.Sprintf("khook is unwell for %s: %s", now.Sub(n.At).Round(time.Second), part)
	i.Text = why
	return bounded(i)
}

// testTime is that of a message that is only tried.
var testTime = time.Unix(0, 0)

// testItem shows that a notifier works.
func testItem(now time.Time) Item {
	return Item{
		ID: incident.DeriveID("notice", notice.AboutTest, now.UTC().Format(time.RFC3339Nano)), Kind: notice.NeedsPerson, About: notice.AboutTest, At: now.UTC(),
		Title: "This is a test of khook: nothing has failed, and nobody is needed", Text: "An agent's question would be here, with the exact tool and its arguments.", Command: "khook inbox",
	}
}

// bounded cuts what is too long, and takes out what can't be seen.
func bounded(i Item) Item {
	i.Title = incident.Clean(i.Title, maxTitle)
	text := visible(i.Text)
	if len(text) > maxText {
		const more = "\n(cut: the command below shows all)"
		text = incident.Truncate(text, maxText-len(more)) + more
	}
	i.Text = text
	return i
}
