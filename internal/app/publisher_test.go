package app

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/dispatch"
)

func TestAStallIsCountedWithWhatBecameOfIt(t *testing.T) {
	m := newMetrics(prometheus.NewRegistry(), "test")
	for _, change := range []delivery.StallChange{delivery.StallBegan, delivery.StallNone, delivery.StallInVain} {
		m.delivered(dispatch.Change{Delivery: &delivery.Delivery{State: delivery.Working}, From: delivery.Working, Stall: change})
	}
	for change, want := range map[delivery.StallChange]float64{delivery.StallBegan: 1, delivery.StallOver: 0, delivery.StallInVain: 1} {
		if got := testutil.ToFloat64(m.stalls.WithLabelValues(string(change))); got != want {
			t.Errorf("%s: %g, want %g", change, got, want)
		}
	}
}

func TestKubernetesEventsTellOfAgentsWithoutTheirWords(t *testing.T) {
	lost := &agent.Error{Kind: delivery.BadAnswer, Reason: "the answer is not JSON: CANARY"}
	if why := reachable(lost).Error(); why != "bad-answer" {
		t.Errorf("the condition Ready says %q", why)
	}
	for want, c := range map[string]dispatch.Change{
		"AgentCallSuccess agent kagent/medic finished its task":      {Delivery: &delivery.Delivery{State: delivery.Succeeded}},
		"AgentCallFailure agent kagent/medic ended as failed":        {Delivery: &delivery.Delivery{State: delivery.Failed}},
		"AgentCallFailure agent kagent/medic, attempt 2: bad-answer": {Delivery: &delivery.Delivery{State: delivery.Calling, Attempt: 2}, Err: lost},
		"AgentAsks agent kagent/medic waits for a person, who must answer its question: khook deliveries reply d1": {
			Delivery: &delivery.Delivery{ID: "d1", State: delivery.InputRequired}},
		"AgentAsks agent kagent/medic waits for a person, who must approve or reject what it wants to do: khook deliveries reply d1": {
			Delivery: &delivery.Delivery{ID: "d1", State: delivery.InputRequired, NeedsApproval: true}},
		"AgentAsks agent kagent/medic waits for a person, who must give it credentials: khook deliveries reply d1": {
			Delivery: &delivery.Delivery{ID: "d1", State: delivery.InputRequired, TaskState: "auth-required"}},
		"EventProcessingError agent kagent/medic was not called (hook-suspended)": {Delivery: &delivery.Delivery{State: delivery.Canceled, Skipped: delivery.SkipSuspended}},
		"EventResolved agent kagent/medic was not called, all had ended before":   {Delivery: &delivery.Delivery{State: delivery.Canceled, Skipped: delivery.SkipRecovered}},
		" ": {Delivery: &delivery.Delivery{State: delivery.Working}, From: delivery.Calling},
	} {
		d := c.Delivery
		d.Agent = delivery.AgentRef{Namespace: "kagent", Name: "medic"}
		d.Answer, d.Error, d.Question, d.Prompt = "CANARY", "CANARY", "CANARY", "CANARY"
		if reason, what := eventFor(c); reason+" "+what != want {
			t.Errorf("%s %s, want %s", reason, what, want)
		}
	}
}
