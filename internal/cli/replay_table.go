package cli

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/replay"
)

// printStory writes the story for people: what failed, in order, and which agents would have been
// called.
func printStory(out io.Writer, s *replay.Story, hooks bool) error {
	p := &printer{out: out}
	for i, recording := range s.Recordings {
		if i > 0 {
			p.line("")
		}
		p.line("%s", recording)
		printIncidents(p, s, recording)
		if hooks {
			printCalls(p, s, recording)
		}
	}
	if hooks {
		printCallsPerAgent(p, s)
	}
	if !hooks && len(s.Incidents) > 0 {
		p.line("\nNo Hook was given: try one with --hook HOOK.yaml to see which agents it would call.")
	}
	return p.err
}

func printIncidents(p *printer, s *replay.Story, recording string) {
	rows := [][]string{{"  FIRST SEEN", "EVENT", "POD", "CONTAINER", "WORKLOAD", "EVENTS", "ENDED", "CAUSED BY", "WHAT"}}
	for _, inc := range s.Incidents {
		if inc.Recording != recording {
			continue
		}
		ended := "still firing"
		if inc.Resolution != nil {
			ended = fmt.Sprintf("%s at %.1fs", *inc.Resolution, *inc.ResolvedAt)
		}
		rows = append(rows, []string{
			fmt.Sprintf("  %.1fs", inc.FirstSeen), inc.EventType, inc.Namespace + "/" + inc.ResourceName, dash(inc.Container),
			inc.Workload, fmt.Sprint(inc.Events), ended, dash(deref(inc.CausedBy)), incident.Truncate(inc.Message, 70),
		})
	}
	undetected := undetectedIn(s, recording)
	switch {
	case len(rows) > 1:
		p.table(rows)
	case len(undetected) == 0:
		p.line("  nothing failed")
	}
	printUndetected(p, undetected)
}

func undetectedIn(s *replay.Story, recording string) []replay.Undetected {
	var found []replay.Undetected
	for _, u := range s.Undetected {
		if u.Recording == recording {
			found = append(found, u)
		}
	}
	return found
}

// printUndetected writes what khook saw and does not tell of.
func printUndetected(p *printer, undetected []replay.Undetected) {
	if len(undetected) == 0 {
		return
	}
	p.line("  %s ended as Failed, for which khook has no event type:", plural(int64(len(undetected)), "Pod"))
	for _, u := range undetected {
		p.line("    %.1fs  %s/%s: %s", u.At, u.Namespace, u.ResourceName, cmp.Or(u.Message, "it does not say why"))
	}
}

// printCalls writes the calls in order, and those that are not made.
func printCalls(p *printer, s *replay.Story, recording string) {
	type entry struct {
		at    float64
		print func()
	}
	var entries []entry
	calls := 0
	for _, d := range s.Deliveries {
		if d.Recording == recording {
			calls++
			entries = append(entries, entry{d.At, func() { printCall(p, d) }})
		}
	}
	for _, n := range s.NotCalled {
		if n.Recording == recording {
			entries = append(entries, entry{n.At, func() {
				p.line("  %.1fs  hook %s does not call agent %s: %s of %s (%s: %s)", n.At, n.Hook, n.Agent, n.EventType, n.Group, n.Reason, n.Why)
			}})
		}
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return cmp.Compare(a.at, b.at) })
	for _, e := range entries {
		e.print()
	}
	if calls == 0 {
		p.line("  no agent is called")
	}
	for _, n := range s.NotFitted {
		if n.Recording == recording {
			p.line("  hook %s is not about %d %s: %s", n.Hook, n.Incidents, n.EventType, strings.TrimSpace(n.Step+" "+n.Why))
		}
	}
}

func printCall(p *printer, d replay.Delivery) {
	p.line("  %.1fs  hook %s calls agent %s: %s of %s (%s)", d.At, d.Hook, d.Agent, d.EventType, d.Group, plural(d.Events, "event"))
	for l := range strings.SplitSeq(strings.TrimRight(d.Prompt, "\n"), "\n") {
		p.line("    │ %s", l)
	}
}

// printCallsPerAgent ends the story with what it would have cost: how often each agent is called, by Hook.
func printCallsPerAgent(p *printer, s *replay.Story) {
	type pair struct{ agent, hook string }
	type count struct {
		calls, notCalled int
		events           int64
	}
	counts := map[pair]*count{}
	of := func(agent, hook string) *count {
		if counts[pair{agent, hook}] == nil {
			counts[pair{agent, hook}] = &count{}
		}
		return counts[pair{agent, hook}]
	}
	for _, d := range s.Deliveries {
		of(d.Agent, d.Hook).calls++
		of(d.Agent, d.Hook).events += d.Events
	}
	for _, n := range s.NotCalled {
		of(n.Agent, n.Hook).notCalled++
	}
	if len(counts) == 0 {
		return
	}
	all := slices.SortedFunc(maps.Keys(counts), func(a, b pair) int { return cmp.Or(cmp.Compare(a.agent, b.agent), cmp.Compare(a.hook, b.hook)) })
	rows := [][]string{{"AGENT", "HOOK", "CALLS", "EVENTS", "NOT CALLED"}}
	calls := 0
	for _, one := range all {
		c := counts[one]
		calls += c.calls
		rows = append(rows, []string{one.agent, one.hook, fmt.Sprint(c.calls), fmt.Sprint(c.events), fmt.Sprint(c.notCalled)})
	}
	p.line("")
	p.table(rows)
	p.line("%s in all, in %s", plural(int64(calls), "call"), plural(int64(len(s.Recordings)), "recording"))
}

// plural is incident.Counted.
func plural[N ~int | ~int32 | ~int64](n N, what string) string { return incident.Counted(n, what) }

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// printer writes lines and keeps the first error.
type printer struct {
	out io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if _, err := fmt.Fprintf(p.out, strings.TrimSuffix(format, "\n")+"\n", args...); err != nil && p.err == nil {
		p.err = err
	}
}

// table prints rows below each other, as aligned does.
func (p *printer) table(rows [][]string) {
	for _, line := range aligned(rows, 2) {
		p.line("%s", line)
	}
}
