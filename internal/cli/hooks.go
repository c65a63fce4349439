package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/api/client"
)

// hooksCmd is khook hooks.
type hooksCmd struct {
	Hook string `arg:"" optional:"" name:"hook" complete:"hooks" help:"Show this Hook: NAMESPACE/NAME. With -o yaml: the manifest that kubectl apply takes."`
	namespaceFlags
	namedItems
	Limit  int    `help:"How many to show." default:"500"`
	All    bool   `help:"Show all, up to --max."`
	Max    int    `help:"How many --all shows at most." default:"10000"`
	SortBy string `aliases:"sort" help:"Order: ${hook_orders_prose}; - for descending. By namespace and name if empty." enum:",${hook_orders}" default:"" placeholder:"ORDER"`
	apiFlags
}

// Validate checks what kong can't.
func (c *hooksCmd) Validate() error {
	return errors.Join(c.namespaceFlags.Validate(), checkLimits(c.Limit, c.Max))
}

// Run prints Hooks with their status and how they did, or their manifests.
func (c *hooksCmd) Run(ctx context.Context, env Env) error {
	path, q := "/hooks", url.Values{}
	bare := c.Hook != "" && c.Namespace == "" && !strings.Contains(c.Hook, "/")
	if c.Hook != "" && !bare {
		ns, name, err := hookName(c.Hook, c.Namespace)
		if err != nil {
			return err
		}
		path += "/" + ns + "/" + name
	} else {
		set(q, "namespace", c.Namespace)
	}
	client, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	if bare {
		if c.Hook, err = hookAnywhere(ctx, client, c.Hook); err != nil {
			return err
		}
		path += "/" + c.Hook
	}
	p := c.display(env)
	switch {
	case c.Output == "yaml":
		q.Set("format", "yaml")
		text, err := client.Get(ctx, path, q)
		if err != nil {
			return err
		}
		return p.yaml(text)
	case c.Hook != "" && c.Output == nameForm:
		if _, err := client.Get(ctx, path, q); err != nil { // that it is there
			return err
		}
		return p.name("hook", strings.TrimPrefix(path, "/hooks/"))
	case c.Hook != "":
		return showHook(ctx, client, p, path)
	}
	return showList(ctx, env, client, p, hookShape(), q, &listFlags{Limit: c.Limit, All: c.All, Max: c.Max}, c.SortBy, &watchFlags{})
}

// hookAnywhere is the one Hook with a name, whatever its namespace.
func hookAnywhere(ctx context.Context, remote *client.Client, name string) (string, error) {
	all, err := hooksOf(ctx, remote, "")
	if err != nil {
		return "", err
	}
	var found []string
	for i := range all {
		if all[i].Name == name {
			found = append(found, all[i].Namespace+"/"+name)
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("there is no Hook %s in any namespace: khook hooks lists them", shellWord(name))
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("several Hooks are called so: %s", strings.Join(found, ", "))
}

// hookShape is how Hooks are shown.
func hookShape() *shape[api.Hook] {
	return &shape[api.Hook]{plural: "Hooks", kind: "hook", name: func(h *api.Hook) string { return h.Namespace + "/" + h.Name }, listed: "/hooks", selected: "the first by name", orders: []order[api.Hook]{
		{"name", func(a, b *api.Hook) int { return cmp.Compare(a.Name, b.Name) }},
		{"namespace", func(a, b *api.Hook) int { return cmp.Compare(a.Namespace, b.Namespace) }},
		{"active", func(a, b *api.Hook) int {
			return cmp.Compare(a.Statistics.ActiveIncidents, b.Statistics.ActiveIncidents)
		}},
		{"events", func(a, b *api.Hook) int { return cmp.Compare(a.Statistics.Events, b.Statistics.Events) }},
		{"calls", func(a, b *api.Hook) int { return cmp.Compare(a.Statistics.Deliveries, b.Statistics.Deliveries) }},
		{"lastFired", func(a, b *api.Hook) int { return a.Statistics.LastFired.Compare(b.Statistics.LastFired) }},
		{"createdAt", func(a, b *api.Hook) int { return a.CreatedAt.Compare(b.CreatedAt) }},
	}, spare: []string{"AGE", "TOKENS 24H", "SUCCEEDED", "EVENTS 24H", "RECOVERED", "LAST FIRED"}, columns: []tableColumn[api.Hook]{
		{namespaceColumn, false, func(_ *display, h *api.Hook) string { return h.Namespace }},
		{"NAME", false, func(_ *display, h *api.Hook) string { return h.Name }},
		{"READY", false, func(_ *display, h *api.Hook) string { return readiness(*h) }},
		{"ACTIVE", false, func(_ *display, h *api.Hook) string { return fmt.Sprint(h.Statistics.ActiveIncidents) }},
		{"CALLS", false, func(_ *display, h *api.Hook) string { return fmt.Sprint(h.Statistics.Deliveries) }},
		{"BUDGET", false, func(_ *display, h *api.Hook) string { return budgetOf(h) }},
		{"LAST FIRED", false, func(p *display, h *api.Hook) string { return p.age(h.Statistics.LastFired) }},
		{"RECOVERED", false, func(_ *display, h *api.Hook) string { return fmt.Sprint(h.Statistics.Recovered) }},
		{"EVENTS 24H", false, func(_ *display, h *api.Hook) string { return fmt.Sprint(h.Statistics.Events) }},
		{"SUCCEEDED", false, func(_ *display, h *api.Hook) string { return fmt.Sprint(h.Statistics.Succeeded) }},
		{"TOKENS 24H", false, func(_ *display, h *api.Hook) string { return tokensUsed(h) }},
		{"AGE", false, func(p *display, h *api.Hook) string { return p.age(h.CreatedAt) }},
		{"NOT CALLED", true, func(_ *display, h *api.Hook) string { return fmt.Sprint(h.Statistics.Skipped) }},
		{"TYPES", true, func(_ *display, h *api.Hook) string { return strings.Join(h.Events, ",") }},
		{"AGENTS", true, func(_ *display, h *api.Hook) string { return strings.Join(h.Agents, ",") }},
		{"MESSAGE", true, func(_ *display, h *api.Hook) string { return h.Message }},
	}}
}

// budgetOf is how much of a Hook's calls of an hour is used up; empty if there is no limit.
func budgetOf(h *api.Hook) string {
	if h.Spec.MaxCallsPerHour == nil {
		return ""
	}
	return fmt.Sprintf("%d of %d/h", h.Statistics.CallsLastHour, *h.Spec.MaxCallsPerHour)
}

// budgetSentence is what a Hook may use, and how much of it is used up.
func budgetSentence(h *api.Hook) string {
	parts := []string{"no limit of calls per hour"}
	if most := h.Spec.MaxCallsPerHour; most != nil {
		parts[0] = fmt.Sprintf("%d of %s this hour", h.Statistics.CallsLastHour, plural(int64(*most), "call"))
	}
	if most := h.Spec.MaxTokensPerDay; most != nil {
		parts = append(parts, fmt.Sprintf("%d of %s in 24 hours", h.Statistics.Tokens, plural(*most, "token")))
	}
	return strings.Join(parts, ", ")
}

// tokensUsed is how many tokens a Hook's tasks took, of how many if there is a limit.
func tokensUsed(h *api.Hook) string {
	if h.Spec.MaxTokensPerDay == nil {
		return tokenSum(h.Statistics.Tokens, "")
	}
	return fmt.Sprintf("%d of %d", h.Statistics.Tokens, *h.Spec.MaxTokensPerDay)
}

func readiness(h api.Hook) string {
	if h.Paused != nil {
		return "Paused"
	}
	if h.Suspended {
		return "Suspended"
	}
	return h.Ready
}

func showHook(ctx context.Context, c *client.Client, p *display, path string) error {
	h, raw, err := client.Fetch[api.Hook](ctx, c, path, nil)
	if err != nil {
		return err
	}
	if !p.forPeople() {
		return p.raw(raw)
	}
	p.field("Hook", h.Namespace+"/"+h.Name)
	p.field("Ready", strings.TrimSpace(fmt.Sprintf("%s %s: %s", readiness(h), h.Reason, h.Message)))
	if h.Paused != nil {
		p.field("Paused", pausedSentence(h.Paused))
	}
	p.field("Types", strings.Join(h.Events, ", "))
	p.field("Agents", strings.Join(h.Agents, ", "))
	s := h.Statistics
	p.field("Last 24 hours", fmt.Sprintf("%s, %s: %d succeeded, %d failed%s, %d recovered; %s reported", plural(s.Events, "event"), plural(s.Deliveries, "call"), s.Succeeded, s.Failed, andCount(s.Skipped, "without a call"), s.Recovered, plural(s.Tokens, "token")))
	p.field("Budget", budgetSentence(&h))
	p.field("Last fired", p.age(s.LastFired))
	fmt.Fprintf(p.out, "\n")
	rows := [][]string{}
	for _, e := range h.Status.ActiveEvents {
		rows = append(rows, []string{p.age(e.FirstSeen.Time), p.age(e.LastSeen.Time), e.EventType, e.Status, e.ResourceName, e.Container})
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintln(p.out, "Nothing is firing.")
		return err
	}
	return p.table([]string{"FIRST SEEN", "LAST SEEN", "TYPE", "STATUS", "RESOURCE", "CONTAINER"}, rows)
}
