package cli

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/api/client"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// incidentsCmd is khook incidents: without a subcommand it lists them.
type incidentsCmd struct {
	List incidentsListCmd `cmd:"" default:"withargs" help:"List incidents."`
	Show incidentsShowCmd `cmd:"" aliases:"describe,get" help:"Tell the story of an incident: what happened, what was decided and asked, and how it ended."`
}

// incidentsListCmd is khook incidents list.
type incidentsListCmd struct {
	ID       string `arg:"" optional:"" name:"id" complete:"incidents" help:"Tell the story of this incident, as khook incidents show does."`
	Last     bool   `help:"Tell the story of the newest one."`
	Type     string `help:"Only this kind: ${event_types_prose}." enum:",${event_types}" default:""`
	Status   string `help:"Only firing or resolved ones." enum:",firing,resolved" default:""`
	Resource string `help:"Only about this resource." placeholder:"NAME"`
	Workload string `help:"Only about the resources of this Deployment, StatefulSet and so on." placeholder:"NAME"`
	SortBy   string `aliases:"sort" help:"Order: ${incident_orders_prose}; - for descending." default:"-firstSeen" enum:"${incident_orders}" placeholder:"ORDER"`
	watchFlags
	listFlags
	apiFlags
}

// Run prints incidents, or the story of one.
func (c *incidentsListCmd) Run(ctx context.Context, env Env) error {
	q := c.query(time.Now())
	set(q, "eventType", c.Type)
	set(q, "status", c.Status)
	set(q, "resourceName", c.Resource)
	set(q, "workload", c.Workload)
	remote, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer remote.Close()
	switch {
	case (c.ID != "" || c.Last) && c.Watch:
		return errWatchOne
	case c.ID != "" || c.Last:
		return tellIncident(ctx, remote, c.display(env), c.ID, c.Last, q)
	}
	return showList(ctx, env, remote, c.display(env), incidentShape(), q, &c.listFlags, c.SortBy, &c.watchFlags)
}

// incidentsShowCmd is khook incidents show.
type incidentsShowCmd struct {
	ID string `arg:"" optional:"" name:"id" complete:"incidents" help:"ID of the incident, or its first 6 characters or more; or what it is about, such as deploy/cart: the newest one."`
	storyFlags
	apiFlags
}

// Run prints the story of an incident.
func (c *incidentsShowCmd) Run(ctx context.Context, env Env) error {
	remote, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer remote.Close()
	return tellIncident(ctx, remote, c.display(env), c.ID, c.Last, c.query())
}

func tellIncident(ctx context.Context, remote *client.Client, p *display, name string, last bool, q url.Values) error {
	id, err := findID(ctx, remote, incidentShape(), name, last, q)
	if err != nil {
		return err
	}
	return tellStory(ctx, remote, p, incidentShape(), id, printIncident)
}

// incidentShape is how incidents are shown.
func incidentShape() *shape[api.Incident] {
	return &shape[api.Incident]{plural: "incidents", kind: "incident", name: func(i *api.Incident) string { return i.ID }, owners: ownerKinds, subject: func(i *api.Incident) *api.Subject { return &i.Subject }, orders: []order[api.Incident]{
		{"firstSeen", nil},
		{"lastSeen", func(a, b *api.Incident) int { return a.LastSeen.Compare(b.LastSeen) }},
		{"lasted", func(a, b *api.Incident) int { return cmp.Compare(a.DurationSeconds, b.DurationSeconds) }},
		{"events", func(a, b *api.Incident) int { return cmp.Compare(a.Events, b.Events) }},
		{"eventType", func(a, b *api.Incident) int { return cmp.Compare(a.EventType, b.EventType) }},
		{"namespace", func(a, b *api.Incident) int { return cmp.Compare(a.Namespace, b.Namespace) }},
		{"resourceName", func(a, b *api.Incident) int { return cmp.Compare(a.ResourceName, b.ResourceName) }},
	}, columns: []tableColumn[api.Incident]{
		{"ID", false, func(p *display, i *api.Incident) string { return p.shortID(i.ID) }},
		{"AGE", false, func(p *display, i *api.Incident) string { return p.age(i.FirstSeen) }},
		{"TYPE", false, func(_ *display, i *api.Incident) string { return string(i.EventType) }},
		{"STATUS", false, func(_ *display, i *api.Incident) string { return cmp.Or(string(i.Resolution), i.Status) }},
		{"NAMESPACE", false, func(_ *display, i *api.Incident) string { return i.Namespace }},
		{"RESOURCE", false, func(_ *display, i *api.Incident) string { return i.ResourceName }},
		{"EVENTS", false, func(_ *display, i *api.Incident) string { return fmt.Sprint(i.Events) }},
		{"LASTED", false, func(_ *display, i *api.Incident) string { return seconds(i.DurationSeconds) }},
		{"WORKLOAD", true, func(_ *display, i *api.Incident) string { return incident.Workload(i.Workload).String() }},
		{"NODE", true, func(_ *display, i *api.Incident) string { return i.Node }},
		{"CAUSED BY", true, func(_ *display, i *api.Incident) string { return i.CausedBy }},
		{"MESSAGE", false, func(_ *display, i *api.Incident) string { return i.Message }},
	}}
}

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
	p.field("Status", fmt.Sprintf("%s, %d events in %s, first seen %s ago", status, i.Events, seconds(i.DurationSeconds), p.age(i.FirstSeen)))
	p.field("Caused by", i.CausedBy)
	for _, e := range i.Effects {
		p.field("Effect", fmt.Sprintf("%s %s", e.EventType, e.ID))
	}
	p.timeline(i.Timeline, i.Truncated)
	for _, d := range i.Deliveries {
		p.conversation(d)
	}
}

// timeline prints what happened, in the order of time.
func (p *display) timeline(line []api.TimelineEntry, truncated bool) {
	if len(line) == 0 {
		return
	}
	fmt.Fprintln(p.out, "\nTimeline:")
	for _, e := range line {
		fmt.Fprintln(p.out, p.cut(fmt.Sprintf("  %s  %s", e.At.Local().Format(time.DateTime), incident.Clean(e.Text, maxCell))))
	}
	if truncated {
		fmt.Fprintln(p.out, "  ... and more")
	}
}

func (p *display) conversation(d api.Delivery) {
	if d.TextsWithheld != "" {
		p.block(fmt.Sprintf("The texts of delivery %s are withheld:", d.ID), d.TextsWithheld)
	}
	p.block(fmt.Sprintf("Prompt to %s/%s (delivery %s, %s):", d.Agent.Namespace, d.Agent.Name, d.ID, d.State), d.Prompt)
	p.block("Answer:", d.Answer)
	if d.State != delivery.InputRequired { // a question is no error
		p.block("Error:", d.Error)
	}
	p.outcome(d)
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
		fmt.Fprintf(p.out, "\nOutcome: known after %s\n", d.VerifyUntil.Local().Format(time.DateTime))
	}
}

// phases says when something recovered, in words.
var phases = map[delivery.Phase]string{
	delivery.BeforeCall: "before the agent was called", delivery.DuringTask: "while the agent worked", delivery.AfterTask: "after the agent had ended",
}

// deliveriesCmd is khook deliveries: without a subcommand it lists them.
type deliveriesCmd struct {
	List   deliveriesListCmd   `cmd:"" default:"withargs" help:"List the calls to agents."`
	Show   deliveriesShowCmd   `cmd:"" aliases:"describe,get" help:"Tell the story of a call: what was asked, said and done, and what came of it."`
	Logs   deliveriesLogsCmd   `cmd:"" help:"Print what an agent said and did, in the order of time."`
	Reply  deliveriesReplyCmd  `cmd:"" help:"Answer the question of an agent that waits for a person."`
	Cancel deliveriesCancelCmd `cmd:"" help:"Cancel a call: it is not made, or the agent is told to stop."`
	Retry  deliveriesRetryCmd  `cmd:"" help:"Make a call again that has ended."`
	Resume deliveriesResumeCmd `cmd:"" help:"Let calls through again that the loop guard holds back."`
}

// deliveriesListCmd is khook deliveries list.
type deliveriesListCmd struct {
	ID       string `arg:"" optional:"" name:"id" complete:"deliveries" help:"Tell the story of this delivery, as khook deliveries show does."`
	Last     bool   `help:"Tell the story of the newest one."`
	Hook     string `complete:"hooks" help:"Only of this Hook; a name alone is that of Hooks in all namespaces that are listed." placeholder:"NS/NAME"`
	Agent    string `complete:"agents" help:"Only those to this agent." placeholder:"NS/NAME"`
	State    string `help:"Only in this state: pending, calling, working, input-required, succeeded, failed, rejected, canceled or expired." enum:",pending,calling,working,input-required,succeeded,failed,rejected,canceled,expired" default:""`
	Type     string `help:"Only about this kind: ${event_types_prose}." enum:",${event_types}" default:""`
	Incident string `complete:"incidents" help:"Only those that were scheduled because of this incident." placeholder:"ID"`
	SortBy   string `aliases:"sort" help:"Order: ${delivery_orders_prose}; - for descending." default:"-createdAt" enum:"${delivery_orders}" placeholder:"ORDER"`
	Stalled  bool   `help:"Only those whose task is stalled: nothing new was seen of it for long."`
	watchFlags
	listFlags
	apiFlags
}

// Run prints deliveries, or the story of one.
func (c *deliveriesListCmd) Run(ctx context.Context, env Env) error {
	q, hookPath, err := c.query(time.Now())
	if err != nil {
		return err
	}
	remote, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer remote.Close()
	if c.Incident != "" {
		id, err := findID(ctx, remote, incidentShape(), c.Incident, false, url.Values{})
		if err != nil {
			return fmt.Errorf("--incident: %w", err)
		}
		q.Set("incident", id)
	}
	switch {
	case (c.ID != "" || c.Last) && c.Watch:
		return errWatchOne
	case c.ID != "" || c.Last:
		return tellDelivery(ctx, remote, c.display(env), c.ID, c.Last, q)
	}
	c.mustExist = hookPath
	return showList(ctx, env, remote, c.display(env), deliveryShape(), q, &c.listFlags, c.SortBy, &c.watchFlags)
}

// query is what the flags ask for, and the path of the Hook if it is one only.
func (c *deliveriesListCmd) query(now time.Time) (q url.Values, hookPath string, err error) {
	q = c.listFlags.query(now)
	hook := c.Hook
	if hook != "" && (c.Namespace != "" || strings.Contains(hook, "/")) {
		ns, name, err := hookName(hook, c.Namespace)
		if err != nil {
			return nil, "", err
		}
		hook, hookPath = name, "/hooks/"+ns+"/"+name
		q.Set("namespace", ns)
	}
	for name, value := range map[string]string{"hook": hook, "agent": c.Agent, "state": c.State, "eventType": c.Type} {
		set(q, name, value)
	}
	if c.Stalled {
		q.Set("stalled", "true")
	}
	return q, hookPath, nil
}

func tellDelivery(ctx context.Context, remote *client.Client, p *display, name string, last bool, q url.Values) error {
	id, err := findID(ctx, remote, deliveryShape(), name, last, q)
	if err != nil {
		return err
	}
	return tellStory(ctx, remote, p, deliveryShape(), id, printDelivery)
}

// deliveryShape is how deliveries are shown.
func deliveryShape() *shape[api.Delivery] {
	return &shape[api.Delivery]{plural: "deliveries", kind: "delivery", name: func(d *api.Delivery) string { return d.ID }, orders: []order[api.Delivery]{
		{"createdAt", nil},
		{"endedAt", func(a, b *api.Delivery) int { return a.EndedAt.Compare(b.EndedAt) }},
		{"state", func(a, b *api.Delivery) int { return cmp.Compare(a.State, b.State) }},
		{"eventType", func(a, b *api.Delivery) int { return cmp.Compare(a.EventType, b.EventType) }},
		{"hook", func(a, b *api.Delivery) int {
			return cmp.Or(cmp.Compare(a.Hook.Namespace, b.Hook.Namespace), cmp.Compare(a.Hook.Name, b.Hook.Name))
		}},
		{"agent", func(a, b *api.Delivery) int {
			return cmp.Or(cmp.Compare(a.Agent.Namespace, b.Agent.Namespace), cmp.Compare(a.Agent.Name, b.Agent.Name))
		}},
	}, columns: []tableColumn[api.Delivery]{
		{"ID", false, func(p *display, d *api.Delivery) string { return p.shortID(d.ID) }},
		{"AGE", false, func(p *display, d *api.Delivery) string { return p.age(d.CreatedAt) }},
		{"STATE", false, func(_ *display, d *api.Delivery) string { return stateOf(d) }},
		{"OUTCOME", false, func(_ *display, d *api.Delivery) string { return string(d.Outcome) }},
		{"NAMESPACE", false, func(_ *display, d *api.Delivery) string { return d.Hook.Namespace }},
		{"HOOK", false, func(_ *display, d *api.Delivery) string { return d.Hook.Name }},
		{"TYPE", false, func(_ *display, d *api.Delivery) string { return string(d.EventType) }},
		{"GROUP", false, func(_ *display, d *api.Delivery) string { return d.Group }},
		{"AGENT", false, func(_ *display, d *api.Delivery) string { return d.Agent.Namespace + "/" + d.Agent.Name }},
		{"ATTEMPTS", true, func(_ *display, d *api.Delivery) string { return fmt.Sprint(d.Attempt) }},
		{"TASK", true, func(_ *display, d *api.Delivery) string { return d.TaskID }},
		{"ERROR", true, func(_ *display, d *api.Delivery) string { return d.Error }},
	}}
}

// deliveriesShowCmd is khook deliveries show.
type deliveriesShowCmd struct {
	ID string `arg:"" optional:"" name:"id" complete:"deliveries" help:"ID of the delivery, or its first 6 characters or more."`
	storyFlags
	apiFlags
}

// Run prints the story of a delivery.
func (c *deliveriesShowCmd) Run(ctx context.Context, env Env) error {
	remote, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer remote.Close()
	return tellDelivery(ctx, remote, c.display(env), c.ID, c.Last, c.query())
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
		p.field("Held back", fmt.Sprintf("%d events because the budget was used up, %d by the loop guard, %d while calls were paused, of %s", h.OverBudget, h.LoopGuard, h.Paused, strings.Join(h.Resources, ", ")))
	}
	for _, i := range d.Incidents {
		p.field("Incident", fmt.Sprintf("%s %s/%s %s", i.EventType, i.Namespace, i.ResourceName, i.ID))
	}
	p.timeline(d.Timeline, false)
	p.conversation(d.Delivery)
	if d.RecoverySeconds > 0 {
		fmt.Fprintf(p.out, "It took %s from the call being due to recovery.\n", seconds(d.RecoverySeconds))
	}
	p.question(d)
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
func (p *display) question(d *api.DeliveryDetail) {
	if d.State != delivery.InputRequired {
		return
	}
	heading := "The agent asks:"
	if at := askedAt(d.Log); !at.IsZero() {
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
