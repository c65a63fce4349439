package app

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/dispatch"
)

// maxAgentsMeasured bounds how many agents have series of their own: those that were first seen since the start. All others together are
// otherAgents. khook agents tells of all.
const (
	maxAgentsMeasured = 50
	otherAgents       = "other"
)

// agentMetrics count by agent.
type agentMetrics struct {
	deliveries, outcomes *prometheus.CounterVec
	names                agentNames
}

func newAgentMetrics(counter func(name, help string, labels ...string) *prometheus.CounterVec) agentMetrics {
	return agentMetrics{
		deliveries: counter("khook_agent_deliveries_total", "Deliveries that ended, by their agent.", "agent", "state"),
		outcomes:   counter("khook_agent_outcomes_total", "What became of the incidents after an agent finished.", "agent", "outcome"),
	}
}

// agentNames are the agents that have series of their own.
type agentNames struct {
	mu    sync.Mutex
	known map[delivery.AgentRef]bool
}

// label is an agent's name in the metrics.
func (a *agentNames) label(of delivery.AgentRef) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.known[of] && len(a.known) >= maxAgentsMeasured {
		return otherAgents
	}
	if a.known == nil {
		a.known = map[delivery.AgentRef]bool{}
	}
	a.known[of] = true
	return of.String()
}

// delivered counts a change of a delivery. One that ended without a call is none of its agent's.
func (m *agentMetrics) delivered(c dispatch.Change) {
	d := c.Delivery
	if d.Skipped != "" {
		return
	}
	if d.State.Ended() && c.From != d.State {
		m.deliveries.WithLabelValues(m.names.label(d.Agent), string(d.State)).Inc()
	}
	if d.Outcome != "" {
		m.outcomes.WithLabelValues(m.names.label(d.Agent), string(d.Outcome)).Inc()
	}
}
