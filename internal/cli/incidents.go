package cli

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/api/client"
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
	Status   string `help:"Only firing or resolved ones; open and ended are the same." enum:",firing,resolved,open,ended" default:""`
	Resource string `help:"Only about this resource." placeholder:"NAME"`
	Workload string `help:"Only about the resources of this Deployment, StatefulSet and so on." placeholder:"NAME"`
	Selector string `short:"l" help:"Only of Pods that had these labels when the incident opened, such as app=cart,tier!=db." placeholder:"SELECTOR"`
	SortBy   string `aliases:"sort" help:"Order: ${incident_orders_prose}; - for descending." default:"-firstSeen" enum:"${incident_orders}" placeholder:"ORDER"`
	watchFlags
	listFlags
	apiFlags
}

// statusWords are other words for an incident's status.
var statusWords = map[string]string{"open": string(incident.Firing), "ended": string(incident.Resolved)}

// Run prints incidents, or the story of one.
func (c *incidentsListCmd) Run(ctx context.Context, env Env) error {
	selector, err := labels.Parse(c.Selector)
	if err != nil {
		return wrongUsage("--selector: %v", err)
	}
	q := c.query(time.Now())
	set(q, "eventType", c.Type)
	set(q, "status", cmp.Or(statusWords[c.Status], c.Status))
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
	s := incidentShape()
	s.keep = func(i *api.Incident) bool { return selector.Matches(labels.Set(i.Labels)) }
	return showList(ctx, env, remote, c.display(env), s, q, &c.listFlags, c.SortBy, &c.watchFlags)
}

// incidentsShowCmd is khook incidents show.
type incidentsShowCmd struct {
	ID string `arg:"" optional:"" name:"id" complete:"incidents" help:"ID of the incident, or its first 6 characters or more; or what it is about, such as deploy/cart: the newest one."`
	storyFlags
	apiFlags
}

// Run prints the story of an incident.
func (c *incidentsShowCmd) Run(ctx context.Context, env Env) error {
	return c.tell(ctx, env, &c.apiFlags, c.ID, tellIncident)
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
	return &shape[api.Incident]{plural: "incidents", kind: "incident", cluster: func(i *api.Incident) string { return i.Cluster }, name: func(i *api.Incident) string { return i.ID }, owners: ownerKinds, subject: func(i *api.Incident) *api.Subject { return &i.Subject }, orders: []order[api.Incident]{
		{"firstSeen", nil},
		{"lastSeen", func(a, b *api.Incident) int { return a.LastSeen.Compare(b.LastSeen) }},
		{"lasted", func(a, b *api.Incident) int { return cmp.Compare(a.DurationSeconds, b.DurationSeconds) }},
		{"events", func(a, b *api.Incident) int { return cmp.Compare(a.Events, b.Events) }},
		{"eventType", func(a, b *api.Incident) int { return cmp.Compare(a.EventType, b.EventType) }},
		{"namespace", func(a, b *api.Incident) int { return cmp.Compare(a.Namespace, b.Namespace) }},
		{"resourceName", func(a, b *api.Incident) int { return cmp.Compare(a.ResourceName, b.ResourceName) }},
	}, spare: []string{"LASTED", "EVENTS", namespaceColumn, "AGE"}, columns: []tableColumn[api.Incident]{
		{"ID", false, func(p *display, i *api.Incident) string { return p.shortID(i.ID) }},
		{"AGE", false, func(p *display, i *api.Incident) string { return p.age(i.FirstSeen) }},
		{"TYPE", false, func(_ *display, i *api.Incident) string { return string(i.EventType) }},
		{"STATUS", false, func(_ *display, i *api.Incident) string { return cmp.Or(string(i.Resolution), i.Status) }},
		{clusterColumn, false, func(_ *display, i *api.Incident) string { return i.Cluster }},
		{namespaceColumn, false, func(_ *display, i *api.Incident) string { return i.Namespace }},
		{"RESOURCE", false, func(_ *display, i *api.Incident) string { return i.ResourceName }},
		{"EVENTS", false, func(_ *display, i *api.Incident) string { return fmt.Sprint(i.Events) }},
		{"LASTED", false, func(_ *display, i *api.Incident) string { return seconds(i.DurationSeconds) }},
		{"WORKLOAD", true, func(_ *display, i *api.Incident) string { return incident.Workload(i.Workload).String() }},
		{"NODE", true, func(_ *display, i *api.Incident) string { return i.Node }},
		{"CAUSED BY", true, func(_ *display, i *api.Incident) string { return i.CausedBy }},
		{"MESSAGE", false, func(_ *display, i *api.Incident) string { return i.Message }},
	}}
}
