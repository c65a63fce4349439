package cli

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/incident"
)

// agentsCmd is khook agents.
type agentsCmd struct {
	Agent string `arg:"" optional:"" name:"agent" complete:"agents" help:"Only this agent, in detail: NAMESPACE/NAME."`
	namespaceFlags
	clusterFlags
	Range string `aliases:"since" help:"How far back, such as 1h, 24h or 7d." default:"7d" placeholder:"DURATION"`
	apiFlags
}

// Run prints how agents do.
func (c *agentsCmd) Run(ctx context.Context, env Env) error {
	q := url.Values{"timeRange": {c.Range}}
	set(q, "namespace", c.Namespace)
	c.ask(q)
	set(q, "agent", c.Agent)
	return stats(ctx, env, &c.apiFlags, "/agents", q, func(p *display, all *api.Agents) error {
		if len(all.Items) == 0 {
			_, err := fmt.Fprintf(p.out, "Nobody was called in the last %s.\n", incident.Clean(all.TimeRange, maxCell))
			return err
		}
		if all.Truncated {
			defer fmt.Fprintln(env.Err, "only the newest 10,000 deliveries count: choose a shorter --range, or one namespace")
		}
		if c.Agent != "" {
			return printAgents(p, all)
		}
		several := slices.ContainsFunc(all.Items, func(a api.AgentStats) bool { return a.Cluster != all.Items[0].Cluster })
		rows := make([][]string, len(all.Items))
		for i := range all.Items {
			a := &all.Items[i]
			rows[i] = []string{
				a.Agent.Namespace + "/" + a.Agent.Name, fmt.Sprint(a.Calls), fmt.Sprint(a.Answered), fmt.Sprint(a.Failed), recoveredOf(&a.Outcomes), half(a.Answer), half(a.Recovery),
				fmt.Sprint(a.Questions), dash(tokenSum(a.Tokens, "")),
			}
			if several {
				rows[i] = append([]string{a.Cluster}, rows[i]...)
			}
		}
		var header []string
		if several {
			header = []string{clusterColumn}
		}
		return p.table(append(header, "AGENT", "CALLS", "ANSWERED", "FAILED", "RECOVERED", "ANSWER P50", "RECOVERY P50", "QUESTIONS", "TOKENS"), rows, "TOKENS", "QUESTIONS", "RECOVERY P50", "FAILED")
	})
}

// recoveredOf says how much recovered of what is known, with a rate where that is enough.
func recoveredOf(o *api.HookOutcomes) string {
	known := o.Recovered + o.Relapsed + o.Persisting
	text := fmt.Sprintf("%d of %d", o.Recovered, known)
	if known >= fewOutcomes && o.Effectiveness != nil {
		text += fmt.Sprintf(" (%.1f%%)", *o.Effectiveness)
	}
	return text
}

// half is a median, for a column.
func half(d api.Durations) string {
	if d.P50 == nil {
		return ""
	}
	return seconds(*d.P50)
}

// printAgents prints the agents of one name: of each cluster there is one.
func printAgents(p *display, all *api.Agents) error {
	for i := range all.Items {
		if i > 0 {
			fmt.Fprintln(p.out)
		}
		if len(all.Items) > 1 {
			p.field("Cluster", all.Items[i].Cluster)
		}
		if err := printAgent(p, all.TimeRange, &all.Items[i]); err != nil {
			return err
		}
	}
	return nil
}

func printAgent(p *display, within string, a *api.AgentStats) error {
	p.field("Agent", a.Agent.Namespace+"/"+a.Agent.Name)
	p.field("Range", within)
	p.field("Hooks", strings.Join(a.Hooks, ", "))
	p.field("Calls", fmt.Sprintf("%d: %d answered, %d failed%s%s", a.Calls, a.Answered, a.Failed, andCount(a.Open, "not ended"), andCount(a.Skipped, "more without a call")))
	p.field("Answer", percentile(a.Answer))
	p.field("Recovery", percentile(a.Recovery))
	printOutcomes(p, &a.Outcomes)
	p.field("Questions", fmt.Sprint(a.Questions))
	p.field("Tokens", tokenSum(a.Tokens, notReported))
	fmt.Fprintln(p.out)
	var rows [][]string
	for _, t := range slices.Sorted(maps.Keys(a.ByType)) {
		of := a.ByType[t]
		rows = append(rows, []string{string(t), fmt.Sprint(of.Calls), fmt.Sprint(of.Answered), fmt.Sprintf("%d of %d", of.Recovered, of.Known)})
	}
	return p.table([]string{"TYPE", "CALLS", "ANSWERED", "RECOVERED"}, rows)
}
