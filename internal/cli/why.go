package cli

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/api/client"
	"github.com/kagent-dev/khook/internal/incident"
)

// whyCmd is khook why.
type whyCmd struct {
	About     string `arg:"" optional:"" name:"what" complete:"incidents" help:"A Pod (POD, with --namespace, or NAMESPACE/POD), the ID of an incident or its first 6 characters or more, what owns the Pod (deploy/cart), or the ID of an event."`
	Last      bool   `help:"About the newest incident."`
	Hook      string `complete:"hooks" help:"Only this Hook; else all of the namespace." placeholder:"NS/NAME"`
	Namespace string `short:"n" complete:"namespaces" help:"Namespace of the Pod; that of the Hook if empty." placeholder:"NS"`
	apiFlags
}

// Help is shown below the flags.
func (whyCmd) Help() string {
	return `Goes the way from a failure to the agent, step by step, up to the first no: was it seen, is it of the Hook's event type, do selector and match expression fit, is a cause called for instead, does a recent call stand for it, and do loop guard and budget let the call through. What was decided about an event is read from the history; what would be decided now is said to be so. If nothing fits, the Hook that came nearest is shown, and what kept it.`
}

// Run prints why.
func (c *whyCmd) Run(ctx context.Context, env Env) error {
	namespace, err := c.namespace()
	if err != nil {
		return err
	}
	conn, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	path, q, err := c.query(ctx, conn, namespace)
	if err != nil {
		return err
	}
	p := c.display(env)
	if c.Hook != "" {
		why, raw, err := client.Fetch[api.Why](ctx, conn, path, q)
		if err != nil {
			return err
		}
		if !p.forPeople() {
			return p.raw(raw)
		}
		return p.why(&why)
	}
	all, raw, err := client.Fetch[api.WhyHooks](ctx, conn, path, q)
	if err != nil {
		return err
	}
	if !p.forPeople() {
		return p.raw(raw)
	}
	return p.whyAll(&all)
}

// namespace is where the failure is, as far as the flags say.
func (c *whyCmd) namespace() (string, error) {
	if c.Hook == "" {
		return c.Namespace, nil
	}
	ns, name, err := hookName(c.Hook, c.Namespace)
	if err != nil {
		return "", err
	}
	if c.Namespace != "" && c.Namespace != ns {
		return "", wrongUsage("a Hook watches its own namespace only: %s/%s is never about what fails in %s", ns, name, c.Namespace)
	}
	c.Hook = ns + "/" + name
	return ns, nil
}

// query is what is asked, and where.
func (c *whyCmd) query(ctx context.Context, remote *client.Client, namespace string) (path string, q url.Values, err error) {
	path, q = "/why", url.Values{}
	if c.Hook != "" {
		path = "/hooks/" + c.Hook + "/why"
	}
	kind, name, _ := strings.Cut(c.About, "/")
	switch event := strings.TrimPrefix(c.About, "event/"); {
	case event != "" && strings.Trim(event, "0123456789") == "":
		q.Set("event", event)
	case c.Last || c.About == "" || isIDPrefix(c.About) || name != "" && (kind == "incident" || ownerKinds[kind] != ""):
		in := url.Values{}
		set(in, "namespace", namespace)
		id, err := findID(ctx, remote, incidentShape(), c.About, c.Last, in)
		if err != nil {
			return "", nil, err
		}
		q.Set("incident", id)
	default:
		if namespace, err = c.pod(namespace, q); err != nil {
			return "", nil, err
		}
		if id := newestOfWorkload(ctx, remote, namespace, q.Get("pod")); id != "" {
			q.Del("pod")
			q.Set("incident", id)
		}
	}
	if c.Hook == "" {
		set(q, "namespace", namespace)
	}
	return path, q, nil
}

// newestOfWorkload is the newest incident of a workload with a name; empty if there is none, or the name is a Pod's own. People
// name the Deployment as often as its Pods.
func newestOfWorkload(ctx context.Context, remote *client.Client, namespace, name string) string {
	found, _, err := client.Fetch[api.Page[api.Incident]](ctx, remote, "/incidents", url.Values{"namespace": {namespace}, "workload": {name}, "limit": {"1"}})
	if err != nil || len(found.Items) == 0 || found.Items[0].ResourceName == name {
		return "" // then it is asked for as a Pod, which tells of an error as well
	}
	return found.Items[0].ID
}

// pod reads POD or NAMESPACE/POD.
func (c *whyCmd) pod(namespace string, q url.Values) (string, error) {
	ns, name, qualified := strings.Cut(c.About, "/")
	if !qualified {
		ns, name = namespace, c.About
	}
	switch {
	case ns == "":
		return "", wrongUsage("which namespace is Pod %q in? Write NAMESPACE/POD, or -n NAMESPACE", name)
	case len(validation.IsDNS1123Label(ns)) > 0 || len(validation.IsDNS1123Subdomain(name)) > 0:
		return "", wrongUsage("%q is no Pod, and no ID: write NAMESPACE/POD, or an ID as khook incidents has it", c.About)
	case namespace != "" && namespace != ns:
		return "", wrongUsage("the Pod is in namespace %s, and what is asked for is in %s: a Hook watches its own namespace only", ns, namespace)
	}
	q.Set("pod", name)
	return ns, nil
}

// whyAll prints the Hooks that fit or, if none does, the nearest.
func (p *display) whyAll(all *api.WhyHooks) error {
	if len(all.Hooks) == 0 {
		_, err := fmt.Fprintln(p.out, "There is no Hook in the namespace that could call an agent.")
		return err
	}
	shown := 0
	for i := range all.Hooks {
		if i > 0 && !all.Hooks[i].Fits {
			break
		}
		if i > 0 {
			fmt.Fprintln(p.out)
		}
		if err := p.why(&all.Hooks[i]); err != nil {
			return err
		}
		shown++
	}
	if rest := len(all.Hooks) - shown; rest > 0 {
		fmt.Fprintf(p.out, "\n%s more in the namespace: --hook NS/NAME shows what keeps one from it.\n", plural(int64(rest), "Hook"))
	}
	if all.Truncated {
		fmt.Fprintln(p.out, "There are more Hooks than were asked: --hook NS/NAME asks one of them.")
	}
	return nil
}

// why prints the checklists of one Hook.
func (p *display) why(w *api.Why) error {
	for i := range w.Answers {
		if i > 0 {
			fmt.Fprintln(p.out)
		}
		if err := p.checklist(w, &w.Answers[i]); err != nil {
			return err
		}
	}
	return nil
}

func (p *display) checklist(w *api.Why, a *api.WhyAnswer) error {
	title := "Hook " + w.Hook.Namespace + "/" + w.Hook.Name
	if a.Config != "" {
		title += ", configuration " + a.Config
	}
	switch {
	case a.Basis == "recorded":
		title += fmt.Sprintf(": decided %s ago about event %d", p.age(a.DecidedAt), w.EventID)
	case w.IncidentID == "":
	case !w.Fits:
		title += ": no configuration fits, and this came nearest"
	default:
		title += ": as it would be decided now"
	}
	rows := make([][]string, len(a.Steps))
	for i, s := range a.Steps {
		ok := "ok"
		if !s.OK {
			ok = "NO"
		}
		rows[i] = []string{ok, string(s.Step), s.Text}
	}
	fmt.Fprintln(p.out, incident.Clean(title, maxCell))
	return p.table([]string{noHeader, "STEP", "WHY"}, rows)
}
