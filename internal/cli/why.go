package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/duration"
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
	var around surroundings
	if p.forPeople() {
		around.pauses = pausesNow(ctx, conn)
	}
	var all api.WhyHooks
	var raw json.RawMessage
	if c.Hook != "" {
		var why api.Why
		why, raw, err = client.Fetch[api.Why](ctx, conn, path, q)
		all.Hooks = []api.Why{why}
	} else {
		all, raw, err = client.Fetch[api.WhyHooks](ctx, conn, path, q)
	}
	switch {
	case err != nil:
		return err
	case !p.forPeople():
		return p.raw(raw)
	}
	around.calls = callsOf(ctx, conn, &all)
	return p.whyAll(&all, &around)
}

// surroundings are what a person wants to know before the checklists: whether calls are paused now, and what came of those that were made.
type surroundings struct {
	pauses []api.Pause
	calls  map[string]*api.Delivery // by ID
}

// pausesNow are the pauses that are known to the caller; none if that can't be found out, which then is not said either.
func pausesNow(ctx context.Context, remote *client.Client) []api.Pause {
	found, _, err := client.Fetch[api.Pauses](ctx, remote, "/pauses", nil)
	if err != nil {
		return nil
	}
	return found.Items
}

// callsOf are the calls that answers speak of, as far as they can be read.
func callsOf(ctx context.Context, remote *client.Client, all *api.WhyHooks) map[string]*api.Delivery {
	calls := map[string]*api.Delivery{}
	for i := range all.Hooks {
		for n := range all.Hooks[i].Answers {
			id := all.Hooks[i].Answers[n].DeliveryID
			if id == "" || calls[id] != nil {
				continue
			}
			if d, _, err := client.Fetch[api.DeliveryDetail](ctx, remote, "/deliveries/"+url.PathEscape(id), nil); err == nil {
				calls[id] = &d.Delivery
			}
		}
	}
	return calls
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
func (p *display) whyAll(all *api.WhyHooks, around *surroundings) error {
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
		if err := p.why(&all.Hooks[i], around); err != nil {
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

// why prints the checklists of one Hook: below what stops all its calls now, and below the call that was made already.
func (p *display) why(w *api.Why, around *surroundings) error {
	if first := p.beforehand(w, around); len(first) > 0 {
		for _, sentence := range first {
			fmt.Fprintln(p.out, incident.Clean(sentence, maxCell))
		}
		fmt.Fprintln(p.out)
	}
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

// beforehand are the sentences that come before the checklists of a Hook.
func (p *display) beforehand(w *api.Why, around *surroundings) (all []string) {
	for i := range around.pauses {
		pause := &around.pauses[i]
		if (pause.Namespace == "" || pause.Namespace == w.Hook.Namespace) && (pause.Hook == "" || pause.Hook == w.Hook.Name) {
			all = append(all, fmt.Sprintf("PAUSED: %s; khook resume %s ends that.", pausedSentence(pause), scopeArgs(pause)))
		}
	}
	for i := range w.Answers {
		if d := around.calls[w.Answers[i].DeliveryID]; d != nil {
			if sentence := p.callMade(d); !slices.Contains(all, sentence) {
				all = append(all, sentence)
			}
		}
	}
	return all
}

// callMade says of a call what became of it.
func (p *display) callMade(d *api.Delivery) string {
	agent, id := d.Agent.Namespace+"/"+d.Agent.Name, abbreviated(d.ID)
	switch {
	case d.CalledAt.IsZero() && d.EndedAt.IsZero():
		return fmt.Sprintf("A call to agent %s is due for it (delivery %s, %s, since %s).", agent, id, d.State, clockZone(d.CreatedAt))
	case d.CalledAt.IsZero():
		return fmt.Sprintf("A call to agent %s was due for it, and was not made (delivery %s, %s).", agent, id, cmp.Or(string(d.Skipped), string(d.State)))
	}
	became := fmt.Sprintf("it is %s", stateOf(d))
	if !d.EndedAt.IsZero() {
		became = fmt.Sprintf("it %s %s later", d.State, duration.HumanDuration(d.EndedAt.Sub(d.CalledAt)))
		if d.Outcome != "" {
			became += fmt.Sprintf(", outcome: %s", d.Outcome)
		}
	}
	return fmt.Sprintf("Agent %s WAS called for it at %s, %s ago (delivery %s): %s.", agent, clockZone(d.CalledAt), p.age(d.CalledAt), id, became)
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
	fmt.Fprintln(p.out, incident.Clean(title, maxCell))
	widths := []int{2, len("STEP")}
	for _, step := range a.Steps {
		widths[1] = max(widths[1], len(step.Step))
	}
	indent := widths[0] + widths[1] + 2*columnGap
	if !p.noHeaders {
		fmt.Fprintln(p.out, padded([]string{noHeader, "STEP", "WHY"}, append(widths, indent), columnGap, nil))
	}
	for _, step := range a.Steps {
		ok := "ok"
		if !step.OK {
			ok = "NO"
		}
		for i, line := range p.wrapped(incident.Clean(byTheClock(step.Text), maxCell), indent) {
			if i > 0 {
				fmt.Fprintln(p.out, strings.Repeat(" ", indent)+line)
				continue
			}
			fmt.Fprintln(p.out, p.paint(ok)+padded([]string{"", string(step.Step), line}, []int{0, widths[1], breadth(line)}, columnGap, nil))
		}
	}
	return nil
}
