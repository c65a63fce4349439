package app

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/dispatch"
)

func TestAnyNumberOfAgentsMakeABoundedNumberOfSeries(t *testing.T) {
	m := newMetrics(prometheus.NewRegistry(), "test")
	for round := range 2 {
		for n := range maxAgentsMeasured + 10 {
			d := &delivery.Delivery{State: delivery.Succeeded, Agent: delivery.AgentRef{Namespace: "kagent", Name: fmt.Sprint("a", n)}}
			m.delivered(dispatch.Change{Delivery: d, From: delivery.Working})
			m.delivered(dispatch.Change{Delivery: d, From: delivery.Succeeded}) // a change of something else
			d.Outcome = delivery.OutcomeRecovered
			m.delivered(dispatch.Change{Delivery: d, From: delivery.Succeeded})
		}
		for _, series := range []*prometheus.CounterVec{m.agents.deliveries, m.agents.outcomes} {
			if n := testutil.CollectAndCount(series); n != maxAgentsMeasured+1 {
				t.Errorf("%d series, want %d", n, maxAgentsMeasured+1)
			}
		}
		if n := testutil.ToFloat64(m.agents.deliveries.WithLabelValues(otherAgents, "succeeded")); n != float64(10*(round+1)) {
			t.Errorf("%g of other agents, want %d", n, 10*(round+1))
		}
		if n := testutil.ToFloat64(m.agents.outcomes.WithLabelValues("kagent/a0", "recovered")); n != float64(round+1) {
			t.Errorf("%g outcomes of a0, want %d", n, round+1)
		}
	}
	m.delivered(dispatch.Change{Delivery: &delivery.Delivery{State: delivery.Canceled, Skipped: delivery.SkipRecovered, Agent: delivery.AgentRef{Namespace: "kagent", Name: "a0"}}, From: delivery.Pending})
	if n := testutil.ToFloat64(m.agents.deliveries.WithLabelValues("kagent/a0", "canceled")); n != 0 {
		t.Error("a call that was not made counts")
	}
}
