package server

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// maxAgentHooks bounds how many Hooks of an agent are named, and asked for its base rate.
const maxAgentHooks = 50

type agentsInput struct {
	TimeRange
	ClusterFilter
	NamespaceFilter
	Agent string `query:"agent" maxLength:"320" doc:"Only this agent, as namespace/name; with its base rate." example:"kagent/medic"`
}

func (s *Server) registerAgents() {
	getRoute(s, "listAgents", "/agents", tagStats, "Tell how agents do", "Across the Hooks of a namespace, or of all: calls, what came of them, times, questions and tokens.", s.agents)
}

func (s *Server) agents(ctx context.Context, in *agentsInput) (api.Agents, error) {
	var all api.Agents
	agent, err := agentOf(in.Agent)
	if err != nil {
		return all, err
	}
	views, err := s.views(ctx, in.ClusterFilter, in.Namespace)
	if err != nil {
		return all, err
	}
	from, to, now, err := s.spanNow(in.TimeRange)
	if err != nil {
		return all, err
	}
	all = api.Agents{TimeRange: in.TimeRange.TimeRange, StartTime: from, EndTime: now, Items: []api.AgentStats{}}
	for _, v := range views {
		found, err := v.AgentDeliveries(ctx, store.AgentQuery{Namespace: in.Namespace, Agent: agent, From: from, To: to, Limit: maxSamples + 1})
		if err != nil {
			return all, s.storeError(ctx, err)
		}
		items := agentStats(found[:min(len(found), maxSamples)], now)
		if v.own && agent != (delivery.AgentRef{}) && len(items) > 0 {
			if items[0].Outcomes.BaseRate, err = s.agentBaseRate(ctx, agent, found, from, now); err != nil {
				return all, s.storeError(ctx, err)
			}
		}
		for i := range items {
			items[i].Cluster = v.cluster()
		}
		all.Items, all.Truncated = append(all.Items, items...), all.Truncated || len(found) > maxSamples
	}
	sortAgents(all.Items)
	return all, nil
}

// tally is what is counted of an agent on the way.
type tally struct {
	api.AgentStats
	answers, recoveries []float64
}

// agentStats counts deliveries by agent.
func agentStats(found []delivery.Delivery, now time.Time) []api.AgentStats {
	byAgent := map[delivery.AgentRef]*tally{}
	for i := range found {
		d := &found[i]
		t := byAgent[d.Agent]
		if t == nil {
			t = &tally{AgentStats: api.AgentStats{Agent: api.Name{Namespace: d.Agent.Namespace, Name: d.Agent.Name}, Hooks: []string{}, ByType: map[incident.EventType]api.AgentCount{}}}
			byAgent[d.Agent] = t
		}
		t.count(d, now)
	}
	items := make([]api.AgentStats, 0, len(byAgent))
	for _, t := range byAgent {
		t.Answer, t.Recovery = percentiles(t.answers), percentiles(t.recoveries)
		o := &t.Outcomes
		o.Effectiveness = percentOf(o.Recovered, o.Recovered+o.Relapsed+o.Persisting)
		slices.Sort(t.Hooks)
		items = append(items, t.AgentStats)
	}
	sortAgents(items)
	return items
}

// sortAgents sorts those with the most calls first.
func sortAgents(items []api.AgentStats) {
	slices.SortFunc(items, func(a, b api.AgentStats) int {
		return cmp.Or(cmp.Compare(b.Calls, a.Calls), cmp.Compare(a.Agent.Namespace, b.Agent.Namespace), cmp.Compare(a.Agent.Name, b.Agent.Name), cmp.Compare(a.Cluster, b.Cluster))
	})
}

func (t *tally) count(d *delivery.Delivery, now time.Time) {
	if name := d.Hook.Namespace + "/" + d.Hook.Name; len(t.Hooks) < maxAgentHooks && !slices.Contains(t.Hooks, name) {
		t.Hooks = append(t.Hooks, name)
	}
	t.Questions += int64(d.Replies)
	t.Tokens += d.Usage.Total
	if d.State == delivery.InputRequired {
		t.Questions++
	}
	if !d.State.Ended() {
		t.Open++
	}
	if d.Skipped != "" {
		t.Skipped++
		return
	}
	if d.CalledAt.IsZero() {
		return // it waits, or was never reached
	}
	t.called(d)
	t.outcome(d, now)
}

// called counts a call and what its agent made of it.
func (t *tally) called(d *delivery.Delivery) {
	of := t.ByType[d.EventType]
	t.Calls++
	of.Calls++
	switch {
	case d.State == delivery.Succeeded:
		t.Answered++
		of.Answered++
		t.answers = append(t.answers, d.EndedAt.Sub(d.CalledAt).Seconds())
	case d.State.Ended():
		t.Failed++
	}
	switch d.Outcome {
	case delivery.OutcomeRecovered:
		of.Recovered++
		of.Known++
	case delivery.OutcomeRelapsed, delivery.OutcomePersisting:
		of.Known++
	case delivery.OutcomeUnknown:
	}
	t.ByType[d.EventType] = of
}

func (t *tally) outcome(d *delivery.Delivery, now time.Time) {
	o := &t.Outcomes
	switch d.Outcome {
	case delivery.OutcomeRecovered:
		o.Recovered++
		t.recoveries = append(t.recoveries, d.OutcomeAt.Sub(d.CreatedAt).Seconds())
	case delivery.OutcomeRelapsed:
		o.Relapsed++
	case delivery.OutcomePersisting:
		o.Persisting++
	case delivery.OutcomeUnknown:
		o.Unknown++
	default:
		if !d.State.Ended() || d.VerifyUntil.After(now.Add(-delivery.MaxDown)) {
			o.Open++
		}
	}
	switch d.RecoveredIn() {
	case delivery.BeforeCall:
		o.RecoveredBeforeCall++
	case delivery.DuringTask:
		o.RecoveredDuringTask++
	case delivery.AfterTask:
		o.RecoveredAfterTask++
	}
}

// agentBaseRate is the base rate of the configurations that call an agent, of the Hooks that did in the range.
func (s *Server) agentBaseRate(ctx context.Context, agent delivery.AgentRef, found []delivery.Delivery, from, now time.Time) (*api.BaseRate, error) {
	if s.cfg.Configurations == nil {
		return nil, nil //nolint:nilnil // it is not known
	}
	seen := map[delivery.HookRef]bool{}
	var configs []*hook.Config
	for i := range found {
		ref := found[i].Hook
		if seen[ref] || len(seen) >= maxAgentHooks {
			continue
		}
		seen[ref] = true
		for _, c := range s.cfg.Configurations(ref) {
			if c.Agent == agent {
				configs = append(configs, c)
			}
		}
	}
	return s.baseRateOf(ctx, configs, from, now)
}
