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
)

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
	Selector string `short:"l" hidden:""`
	Stalled  bool   `help:"Only those whose task is stalled: nothing new was seen of it for long."`
	watchFlags
	listFlags
	apiFlags
}

// Run prints deliveries, or the story of one.
func (c *deliveriesListCmd) Run(ctx context.Context, env Env) error {
	if c.Selector != "" {
		return wrongUsage("calls have no labels: khook incidents -l %s has the incidents, and khook deliveries --incident ID the calls for one", shellWord(c.Selector))
	}
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
	return &shape[api.Delivery]{plural: "deliveries", kind: "delivery", cluster: func(d *api.Delivery) string { return d.Cluster }, name: func(d *api.Delivery) string { return d.ID }, orders: []order[api.Delivery]{
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
	}, spare: []string{"TYPE", namespaceColumn, "HOOK", "AGE"}, columns: []tableColumn[api.Delivery]{
		{"ID", false, func(p *display, d *api.Delivery) string { return p.shortID(d.ID) }},
		{"AGE", false, func(p *display, d *api.Delivery) string { return p.age(d.CreatedAt) }},
		{"STATE", false, func(_ *display, d *api.Delivery) string { return stateOf(d) }},
		{"OUTCOME", false, func(_ *display, d *api.Delivery) string { return string(d.Outcome) }},
		{clusterColumn, false, func(_ *display, d *api.Delivery) string { return d.Cluster }},
		{namespaceColumn, false, func(_ *display, d *api.Delivery) string { return d.Hook.Namespace }},
		{"HOOK", false, func(_ *display, d *api.Delivery) string { return d.Hook.Name }},
		{"TYPE", false, func(_ *display, d *api.Delivery) string { return string(d.EventType) }},
		{"AGENT", false, func(_ *display, d *api.Delivery) string { return d.Agent.Namespace + "/" + d.Agent.Name }},
		{"GROUP", false, func(p *display, d *api.Delivery) string { return p.group(d.Group) }},
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
	return c.tell(ctx, env, &c.apiFlags, c.ID, tellDelivery)
}
