package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/api/client"
	"github.com/kagent-dev/khook/internal/incident"
)

// eventsCmd is khook events.
type eventsCmd struct {
	Type     string `help:"Only this kind: ${event_types_prose}." enum:",${event_types}" default:""`
	Status   string `help:"Only firing, duplicate or resolved ones." enum:",firing,duplicate,resolved" default:""`
	Resource string `help:"Only about this resource." placeholder:"NAME"`
	Workload string `help:"Only about the resources of this Deployment, StatefulSet and so on." placeholder:"NAME"`
	Hook     string `complete:"hooks" help:"Only those that this Hook decided about, with why it called its agent or not." placeholder:"NS/NAME"`
	Selector string `short:"l" hidden:""`
	Follow   bool   `short:"f" help:"Show events as they happen, until Ctrl-C; with --since also those from then on."`
	SortBy   string `aliases:"sort" help:"Order: ${event_orders_prose}; - for descending." default:"-timestamp" enum:"${event_orders}" placeholder:"ORDER"`
	watchFlags
	listFlags
	apiFlags
}

// Run prints events.
func (c *eventsCmd) Run(ctx context.Context, env Env) error {
	if c.Selector != "" {
		return wrongUsage("events have no labels, the incidents that they make up have: khook incidents -l %s; khook events --workload NAME has the events of a Deployment", shellWord(c.Selector))
	}
	q := c.query(time.Now())
	set(q, "eventType", c.Type)
	set(q, "status", c.Status)
	set(q, "resourceName", c.Resource)
	set(q, "workload", c.Workload)
	s := eventShape(c.Hook != "")
	if c.Hook != "" {
		ns, name, err := hookName(c.Hook, c.Namespace)
		if err != nil {
			return err
		}
		q.Del("namespace")
		c.mustExist = "/hooks/" + ns + "/" + name
		s.listed = c.mustExist + "/events"
	}
	remote, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer remote.Close()
	if c.Follow {
		if c.Hook != "" {
			return wrongUsage("--follow shows the events of a namespace or of all: it can't be used with --hook; --watch can")
		}
		return c.follow(ctx, env, remote, q)
	}
	return showList(ctx, env, remote, c.display(env), s, q, &c.listFlags, c.SortBy, &c.watchFlags)
}

// eventShape is how events are shown: with what a Hook decided about them, if it is asked.
func eventShape(ofHook bool) *shape[api.Event] {
	columns := []tableColumn[api.Event]{
		{"ID", false, func(_ *display, e *api.Event) string { return fmt.Sprint(e.ID) }},
		{"AGE", false, func(p *display, e *api.Event) string { return p.age(e.Timestamp) }},
		{"TYPE", false, func(_ *display, e *api.Event) string { return string(e.EventType) }},
		{"STATUS", false, func(_ *display, e *api.Event) string { return string(e.Status) }},
		{clusterColumn, false, func(_ *display, e *api.Event) string { return e.Cluster }},
		{namespaceColumn, false, func(_ *display, e *api.Event) string { return e.Namespace }},
		{"RESOURCE", false, func(_ *display, e *api.Event) string { return e.ResourceName }},
		{"CONTAINER", false, func(_ *display, e *api.Event) string { return e.Container }},
		{"WORKLOAD", true, func(_ *display, e *api.Event) string { return incident.Workload(e.Workload).String() }},
		{"NODE", true, func(_ *display, e *api.Event) string { return e.Node }},
		{"INCIDENT", true, func(p *display, e *api.Event) string { return p.shortID(e.IncidentID) }},
	}
	if ofHook {
		columns = append(columns, tableColumn[api.Event]{"DISPOSITION", false, func(_ *display, e *api.Event) string { return dispositions(e.Dispositions) }})
	}
	return &shape[api.Event]{spare: []string{"CONTAINER", namespaceColumn, "AGE"}, plural: "events", kind: "event", cluster: func(e *api.Event) string { return e.Cluster }, name: func(e *api.Event) string { return fmt.Sprint(e.ID) }, orders: []order[api.Event]{{"timestamp", nil}, {"eventType", nil}, {"resourceName", nil}}, columns: append(columns,
		tableColumn[api.Event]{"MESSAGE", false, func(_ *display, e *api.Event) string { return e.Message }})}
}

func dispositions(all []api.Decision) string {
	words := make([]string, len(all))
	for i, d := range all {
		words[i] = string(d.Disposition)
	}
	return strings.Join(words, ",")
}

// mustExist returns an error if there is nothing to be told of a Hook because there is no such Hook: a list that is empty by a slip of
// the finger looks like all being well.
func mustExist(ctx context.Context, remote *client.Client, path string) error {
	_, err := remote.Get(ctx, path, nil)
	var refused *client.StatusError
	if errors.As(err, &refused) && refused.Status() != http.StatusNotFound {
		return nil // it can't be found out now, and the list was answered
	}
	return err
}

// hookName reads NAMESPACE/NAME, or NAME in a namespace.
func hookName(text, namespace string) (ns, name string, err error) {
	text = strings.TrimPrefix(text, "hook/") // as -o name prints it
	ns, name, ok := strings.Cut(text, "/")
	if !ok {
		ns, name = namespace, text
	}
	if len(validation.IsDNS1123Label(ns)) > 0 || len(validation.IsDNS1123Subdomain(name)) > 0 {
		return "", "", wrongUsage("%q names no Hook: write NAMESPACE/NAME", text)
	}
	return ns, name, nil
}
