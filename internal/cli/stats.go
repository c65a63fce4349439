package cli

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/api/client"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// statsCmd is khook stats.
type statsCmd struct {
	Summary statsSummaryCmd `cmd:"" default:"withargs" help:"How many events there were, by type."`
	ByType  statsByTypeCmd  `cmd:"" help:"How many events of each type there were."`
	Trends  statsTrendsCmd  `cmd:"" help:"How many events there were, over time."`
	Hook    statsHookCmd    `cmd:"" help:"How a Hook did."`
}

// rangeFlags say what a statistic is about.
type rangeFlags struct {
	namespaceFlags
	clusterFlags
	Range string `aliases:"since" help:"How far back, such as 1h, 24h or 7d." default:"24h" placeholder:"DURATION"`
}

func (f *rangeFlags) query() url.Values {
	q := f.namespaceFlags.query()
	f.ask(q)
	q.Set("timeRange", f.Range)
	return q
}

type statsSummaryCmd struct {
	rangeFlags
	apiFlags
}

// Run prints the summary.
func (c *statsSummaryCmd) Run(ctx context.Context, env Env) error {
	return stats(ctx, env, &c.apiFlags, "/stats/events/summary", c.query(), func(p *display, st *api.EventStats) error {
		s := st.Summary
		fmt.Fprintf(p.out, "%s in %s: %s, %s ended; %d %s firing now\n\n", plural(s.TotalEvents, "event"), incident.Clean(s.TimeRange, maxCell),
			plural(s.DuplicateEvents, "duplicate"), plural(s.ResolvedEvents, "incident"), s.ActiveEvents, incident.Are(s.ActiveEvents))
		return printByType(p, st)
	})
}

type statsByTypeCmd struct {
	rangeFlags
	apiFlags
}

// Run prints the counts of each type.
func (c *statsByTypeCmd) Run(ctx context.Context, env Env) error {
	return stats(ctx, env, &c.apiFlags, "/stats/events/by-type", c.query(), printByType)
}

func printByType(p *display, st *api.EventStats) error {
	var rows [][]string
	for _, t := range incident.EventTypes() {
		of := st.ByType[t]
		rows = append(rows, []string{string(t), fmt.Sprint(of.Count), fmt.Sprintf("%.1f%%", of.Percentage), fmt.Sprint(of.Active), fmt.Sprint(of.Duplicates), fmt.Sprint(of.Resolved)})
	}
	return p.table([]string{"TYPE", "EVENTS", "SHARE", "FIRING", "DUPLICATES", "ENDED"}, rows)
}

// stats asks for a statistic and shows it.
func stats[T any](ctx context.Context, env Env, f *apiFlags, path string, q url.Values, show func(*display, *T) error) error {
	remote, err := f.connect(ctx)
	if err != nil {
		return err
	}
	defer remote.Close()
	answer, raw, err := client.Fetch[T](ctx, remote, path, q)
	if err != nil {
		return err
	}
	p := f.display(env)
	if !p.forPeople() {
		return p.raw(raw)
	}
	return show(p, &answer)
}

type statsTrendsCmd struct {
	rangeFlags
	Interval string `help:"Width of a bucket, such as 15m or 1h; chosen by the range if empty." placeholder:"DURATION"`
	By       string `help:"What is counted apart: type, namespace or cluster." default:"type" enum:"type,namespace,cluster"`
	apiFlags
}

// Run prints the trends.
func (c *statsTrendsCmd) Run(ctx context.Context, env Env) error {
	q := c.query()
	set(q, "by", c.By)
	set(q, "interval", c.Interval)
	return stats(ctx, env, &c.apiFlags, "/stats/trends", q, printTrends)
}

const (
	barWidth  = 24 // characters
	maxTrends = 6  // columns of types or namespaces
)

func printTrends(p *display, t *api.Trends) error {
	keys := t.Keys
	if p.form == "table" {
		keys = keys[:min(len(keys), maxTrends)]
	}
	var most int64
	for _, b := range t.Buckets {
		most = max(most, b.Total)
	}
	var rows [][]string
	for _, b := range t.Buckets {
		row := []string{clock(b.Start), fmt.Sprint(b.Total)}
		for _, k := range keys {
			row = append(row, fmt.Sprint(b.Counts[k]))
		}
		rows = append(rows, append(row, bar(b.Total, most)))
	}
	header := []string{"FROM, " + zone(p.now), "EVENTS"}
	for _, k := range keys {
		header = append(header, strings.ToUpper(k))
	}
	return p.table(append(header, noHeader), rows)
}

// bar is n in proportion to most, in eighths of a character.
func bar(n, most int64) string {
	if n == 0 || most == 0 {
		return ""
	}
	eighths := max(1, n*barWidth*8/most)
	text := strings.Repeat("█", int(eighths/8))
	if rest := eighths % 8; rest > 0 {
		text += string([]rune("▏▎▍▌▋▊▉")[rest-1])
	}
	return text
}

type statsHookCmd struct {
	Hook      string `arg:"" name:"hook" complete:"hooks" help:"The Hook: NAMESPACE/NAME."`
	Namespace string `short:"n" complete:"namespaces" help:"Namespace of the Hook, if its name alone is given." placeholder:"NS"`
	Cluster   string `help:"The cluster that the Hook is in; that of the khook which is asked if empty." placeholder:"NAME"`
	Range     string `aliases:"since" help:"How far back, such as 1h, 24h or 7d." default:"24h" placeholder:"DURATION"`
	apiFlags
}

// Run prints how a Hook did.
func (c *statsHookCmd) Run(ctx context.Context, env Env) error {
	ns, name, err := hookName(c.Hook, c.Namespace)
	if err != nil {
		return err
	}
	q := url.Values{"timeRange": {c.Range}}
	set(q, "cluster", c.Cluster)
	return stats(ctx, env, &c.apiFlags, "/stats/hooks/"+ns+"/"+name+"/metrics", q, printHookMetrics)
}

// withoutCall says how many deliveries ended before their agent was called.
func withoutCall(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d of them without a call)", n)
}

func printHookMetrics(p *display, m *api.HookMetrics) error {
	p.field("Hook", m.Hook.Namespace+"/"+m.Hook.Name)
	p.field("Range", m.TimeRange)
	p.field("Active", plural(m.ActiveIncidents, "incident"))
	p.field("Last fired", p.age(m.LastFired))
	succeeded := " of them succeeded"
	if m.Deliveries.Skipped > 0 {
		succeeded = " of the others succeeded"
	}
	p.field("Calls", fmt.Sprintf("%d scheduled, %d ended%s%s", m.Deliveries.Created, m.Deliveries.Ended, withoutCall(m.Deliveries.Skipped), share(m.Deliveries.SuccessRate, succeeded)))
	p.field("Call time", percentile(m.Calls))
	p.field("Recovery", percentile(m.Recovery))
	printOutcomes(p, &m.Outcomes)
	p.field("Tokens", hookTokens(&m.Tokens))
	for _, agent := range slices.Sorted(maps.Keys(m.Tokens.ByAgent)) {
		p.field("  of "+incident.Clean(agent, maxCell), fmt.Sprint(m.Tokens.ByAgent[agent]))
	}
	fmt.Fprintln(p.out)
	var rows [][]string
	for _, d := range delivery.Dispositions() {
		if n := m.Events.ByDisposition[d]; n > 0 {
			rows = append(rows, []string{string(d), fmt.Sprint(n)})
		}
	}
	return p.table([]string{"DISPOSITION", "EVENTS"}, rows)
}

// fewOutcomes is how many known outcomes are too few to say how often something recovers.
const fewOutcomes = 10

// printOutcomes says what came of the calls, and when it recovered: what did so before the agent was called was not its work.
func printOutcomes(p *display, o *api.HookOutcomes) {
	known := o.Recovered + o.Relapsed + o.Persisting
	text := fmt.Sprintf("%d of %d with a known outcome", o.Recovered, known)
	if known >= fewOutcomes && o.Effectiveness != nil {
		text += fmt.Sprintf(" (%.1f%%)", *o.Effectiveness)
	}
	p.field("Recovered", text+andCount(o.Relapsed, "failed again within the window")+andCount(o.Unknown, "unknown")+andCount(o.Open, "open"))
	if o.Recovered > 0 {
		p.field("When", fmt.Sprintf("%d before the agent was called, %d while it worked, %d after it had ended", o.RecoveredBeforeCall, o.RecoveredDuringTask, o.RecoveredAfterTask))
	}
	printBaseRate(p, o.BaseRate)
}

// printBaseRate says how often it recovers when nobody is called, which is what the calls are to be held against.
func printBaseRate(p *display, b *api.BaseRate) {
	if b == nil {
		return
	}
	text := fmt.Sprintf("%d of %d with a known outcome", b.Recovered, b.Recovered+b.Relapsed+b.Persisting)
	if b.Rate != nil {
		text += fmt.Sprintf(" (%.1f%%)", *b.Rate)
	} else {
		text += ": too few to say"
	}
	p.field("No call made", text+andCount(b.Relapsed, "failed again within the window")+andCount(b.Unknown, "unknown"))
}

// andCount is the rest of a list of counts: what there is none of is left out.
func andCount(n int64, what string) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", %d %s", n, what)
}

func share(percent *float64, of string) string {
	if percent == nil {
		return ""
	}
	return fmt.Sprintf(", %.1f%%%s", *percent, of)
}

func percentile(d api.Durations) string {
	if d.P50 == nil || d.P95 == nil {
		return "none yet"
	}
	return fmt.Sprintf("half within %s, 95%% within %s (%d)", seconds(*d.P50), seconds(*d.P95), d.Samples)
}
