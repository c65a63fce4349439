package cli

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/api/client"
)

// hooksCmd is khook hooks.
type hooksCmd struct {
	Hook      string `arg:"" optional:"" name:"hook" help:"Show this Hook: NAMESPACE/NAME. With -o yaml: the manifest that kubectl apply takes."`
	Namespace string `short:"n" help:"Only this namespace; all if empty." placeholder:"NS"`
	Limit     int    `help:"How many to show." default:"500"`
	All       bool   `help:"Show all, up to --max."`
	Max       int    `help:"How many --all shows at most." default:"10000"`
	apiFlags
}

// Validate checks what kong can't.
func (c *hooksCmd) Validate() error { return checkLimits(c.Limit, c.Max) }

// Run prints Hooks with their status and how they did, or their manifests.
func (c *hooksCmd) Run(ctx context.Context, env Env) error {
	path, q := "/hooks", url.Values{}
	if c.Hook != "" {
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
	p := newDisplay(env, c.Output)
	switch {
	case c.Output == "yaml":
		q.Set("format", "yaml")
		text, err := client.Get(ctx, path, q)
		if err != nil {
			return err
		}
		return p.yaml(text)
	case c.Hook != "":
		return showHook(ctx, client, p, path)
	}
	hooks, err := list[api.Hook](ctx, client, path, q, &listFlags{Limit: c.Limit, All: c.All, Max: c.Max})
	if err != nil {
		return err
	}
	return hooks.print(env, p, "Hooks", []string{"NAMESPACE", "NAME", "READY", "ACTIVE", "EVENTS 24H", "CALLS", "BUDGET", "TOKENS 24H", "SUCCEEDED", "RECOVERED", "LAST FIRED", "AGE"},
		[]string{"TYPES", "AGENTS", "MESSAGE"}, func(h api.Hook) (cells, more []string) {
			s := h.Statistics
			return []string{h.Namespace, h.Name, readiness(h), fmt.Sprint(s.ActiveIncidents), fmt.Sprint(s.Events), fmt.Sprint(s.Deliveries), budgetOf(&h), tokensUsed(&h), fmt.Sprint(s.Succeeded), fmt.Sprint(s.Recovered), p.age(s.LastFired), p.age(h.CreatedAt)},
				[]string{strings.Join(h.Events, ","), strings.Join(h.Agents, ","), h.Message}
		})
}

// budgetOf is how much of a Hook's calls of an hour is used up; empty if there is no limit.
func budgetOf(h *api.Hook) string {
	if h.Spec.MaxCallsPerHour == nil {
		return ""
	}
	return fmt.Sprintf("%d of %d this hour", h.Statistics.CallsLastHour, *h.Spec.MaxCallsPerHour)
}

// tokensUsed is how many tokens a Hook's tasks took, of how many if there is a limit.
func tokensUsed(h *api.Hook) string {
	if h.Spec.MaxTokensPerDay == nil {
		return fmt.Sprint(h.Statistics.Tokens)
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
	p.field("Agents", strings.Join(h.Agents, ", "))
	s := h.Statistics
	p.field("Last 24 hours", fmt.Sprintf("%d events, %d calls: %d succeeded, %d failed, %d recovered; %d tokens reported", s.Events, s.Deliveries, s.Succeeded, s.Failed, s.Recovered, s.Tokens))
	p.field("Budget", budgetOf(&h))
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
