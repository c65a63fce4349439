package cli

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

func printIncident(p *display, i *api.IncidentDetail) {
	p.field("Incident", i.ID)
	p.field("What", fmt.Sprintf("%s of %s/%s %s", i.EventType, i.Namespace, i.ResourceName, i.Container))
	p.field("Workload", incident.Workload(i.Workload).String())
	p.field("Node", i.Node)
	p.field("Message", i.Message)
	status := i.Status
	switch {
	case i.Resolution == "" && !i.UnheardSince.IsZero():
		status += " (nothing is heard of its node)"
	case i.Resolution == "" && i.Reopenings > 0:
		status += " (again)"
	case i.Resolution != "":
		status += " (" + string(i.Resolution) + ")"
	}
	p.field("Status", fmt.Sprintf("%s, %s in %s, first seen %s ago", status, plural(i.Events, "event"), seconds(i.DurationSeconds), p.age(i.FirstSeen)))
	p.field("Caused by", i.CausedBy)
	for _, e := range i.Effects {
		p.field("Effect", fmt.Sprintf("%s %s", e.EventType, e.ID))
	}
	for n := range i.Deliveries {
		d := &api.DeliveryDetail{Delivery: i.Deliveries[n]}
		p.result(d, fmt.Sprintf(" of %s/%s (delivery %s, %s)", d.Agent.Namespace, d.Agent.Name, d.ID, d.State))
	}
	p.timeline(incidentMoments(i), i.Truncated)
	for n := range i.Deliveries {
		p.prompt(&i.Deliveries[n])
	}
}

// result prints what a reader wants first: what the agent asks or answered, or why it did not, and what came of it.
func (p *display) result(d *api.DeliveryDetail, of string) {
	p.question(d, of)
	if d.TextsWithheld != "" {
		p.block(fmt.Sprintf("The texts of delivery %s are withheld:", d.ID), d.TextsWithheld)
	}
	p.block("Answer"+of+":", d.Answer)
	if d.State != delivery.InputRequired { // a question is no error
		p.block("Error"+of+":", d.Error)
	}
	p.outcome(d.Delivery)
	if d.RecoverySeconds > 0 {
		fmt.Fprintf(p.out, "It took %s from the call being due to recovery.\n", seconds(d.RecoverySeconds))
	}
}

// prompt prints what the agent was asked.
func (p *display) prompt(d *api.Delivery) {
	p.block(fmt.Sprintf("Prompt to %s/%s (delivery %s, %s):", d.Agent.Namespace, d.Agent.Name, d.ID, d.State), d.Prompt)
}

// outcome says what came of a call, or when that will be known.
func (p *display) outcome(d api.Delivery) {
	switch {
	case d.Outcome == delivery.OutcomeRelapsed:
		fmt.Fprintf(p.out, "\nOutcome: relapsed, it failed again %s after it had recovered\n", seconds(d.RelapseSeconds))
	case d.RecoveredIn != "":
		fmt.Fprintf(p.out, "\nOutcome: %s %s\n", incident.Clean(string(d.Outcome), maxCell), cmp.Or(phases[d.RecoveredIn], incident.Clean(string(d.RecoveredIn), maxCell)))
	case d.Outcome != "":
		fmt.Fprintf(p.out, "\nOutcome: %s\n", incident.Clean(string(d.Outcome), maxCell))
	case d.VerifyUntil.IsZero():
	case time.Since(d.VerifyUntil) > delivery.MaxDown:
		fmt.Fprintln(p.out, "\nOutcome: not known, khook was down at the end of the window and long after")
	default:
		fmt.Fprintf(p.out, "\nOutcome: known after %s\n", clockZone(d.VerifyUntil))
	}
}

// phases says when something recovered, in words.
var phases = map[delivery.Phase]string{
	delivery.BeforeCall: "before the agent was called", delivery.DuringTask: "while the agent worked", delivery.AfterTask: "after the agent had ended",
}

func printDelivery(p *display, d *api.DeliveryDetail) {
	p.field("Delivery", d.ID)
	p.field("Hook", fmt.Sprintf("%s/%s (%s)", d.Hook.Namespace, d.Hook.Name, d.Config))
	p.field("Agent", d.Agent.Namespace+"/"+d.Agent.Name)
	p.field("About", fmt.Sprintf("%s of %s", d.EventType, d.Group))
	p.field("State", fmt.Sprintf("%s, attempt %d, scheduled %s ago", d.State, d.Attempt, p.age(d.CreatedAt)))
	p.field("Task", strings.TrimSpace(d.TaskID+" "+d.TaskState))
	p.field("Stalled", stalled(p, &d.Delivery))
	p.field("Tokens", tokensOf(d.Tokens, d.CalledAt))
	p.field("Not called", string(d.Skipped))
	p.field("Repeats", strings.TrimSpace(d.RetryOf+" "+by(d.RequestedBy)))
	p.field("To be canceled", by(d.CancelRequestedBy))
	if h := d.HeldBack; h != nil {
		p.field("Held back", fmt.Sprintf("%s because the budget was used up, %d by the loop guard, %d while calls were paused, of %s", plural(h.OverBudget, "event"), h.LoopGuard, h.Paused, strings.Join(h.Resources, ", ")))
	}
	for _, i := range d.Incidents {
		p.field("Incident", fmt.Sprintf("%s %s/%s %s", i.EventType, i.Namespace, i.ResourceName, i.ID))
	}
	p.result(d, "")
	p.timeline(deliveryMoments(d), false)
	p.prompt(&d.Delivery)
}

// stateOf is a delivery's state for people, who are also told that its task is stalled.
func stateOf(d *api.Delivery) string {
	if d.StalledSince.IsZero() {
		return string(d.State)
	}
	return string(d.State) + " (stalled)"
}

// stalled says for how long nothing new was seen of a delivery's task, and what is done about it; "" if it is not stalled.
func stalled(p *display, d *api.Delivery) string {
	if d.StalledSince.IsZero() {
		return ""
	}
	next := "cancel it, or wait for its end"
	switch d.Stop {
	case delivery.StopAsking, delivery.StopAsked:
		next = "its agent is asked to stop"
	case delivery.StopInVain:
		next = "it can't be stopped: look at its agent"
	}
	return fmt.Sprintf("nothing new of the task for %s; %s", p.age(d.StalledSince), next)
}

func by(person string) string {
	if person == "" {
		return ""
	}
	return "by " + person
}

// shellWord is a text as one word of a shell: it is the agent's, and may be meant to be more.
func shellWord(text string) string {
	return "'" + strings.ReplaceAll(incident.Clean(text, maxCell), "'", `'\''`) + "'"
}

// askedAt is when the agent put its newest question.
func askedAt(log []api.LogEntry) (at time.Time) {
	for _, e := range log {
		if e.Kind == delivery.EntryQuestion {
			at = e.At
		}
	}
	return at
}

// question prints what the agent waits for, and how to answer.
func (p *display) question(d *api.DeliveryDetail, of string) {
	if d.State != delivery.InputRequired {
		return
	}
	heading := "Question" + of + ":"
	switch at := askedAt(d.Log); {
	case of == "" && at.IsZero():
		heading = "The agent asks:"
	case of == "":
		heading = fmt.Sprintf("The agent asks, and has waited for %s:", p.age(at))
	}
	p.block(heading, d.Question)
	switch {
	case d.TextsWithheld != "":
		fmt.Fprintln(p.out, "\nThe agent waits for a person who may read what it asks.")
	case d.Reply != nil:
		fmt.Fprintf(p.out, "\n%s has answered; the answer is on its way.\n", incident.Clean(d.Reply.By, maxCell))
	case d.NeedsApproval:
		fmt.Fprintf(p.out, "\nDecide: khook deliveries reply %s --question %s --approve (or --reject)\n", d.ID, shellWord(d.QuestionID))
	default:
		fmt.Fprintf(p.out, "\nAnswer: khook deliveries reply %s --question %s \"...\"\n", d.ID, shellWord(d.QuestionID))
	}
}
