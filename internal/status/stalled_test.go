package status

import (
	"strings"
	"testing"
	"time"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/delivery"
)

func TestTheConditionStalledNamesTheTaskThatNeedsAPerson(t *testing.T) {
	since := time.Date(2026, 1, 15, 10, 0, 0, 0, time.UTC)
	of := func(id string, stop delivery.Stop) *delivery.Delivery {
		return &delivery.Delivery{ID: id, Group: "Deployment/" + id, Config: "memory", Agent: delivery.AgentRef{Namespace: "kagent", Name: "medic"}, StalledSince: since, Stop: stop}
	}
	for name, tc := range map[string]struct {
		stalled []*delivery.Delivery
		reason  string
		want    string
	}{
		"none": {nil, v1alpha2.ReasonNoTaskStalled, "No agent's task is stalled"},
		"one waits for a person": {
			[]*delivery.Delivery{of("a", "")}, v1alpha2.ReasonTaskSilent,
			"Deployment/a (memory): nothing new is seen of the task of agent kagent/medic since 2026-01-15T10:00:00Z, see khook deliveries show a. Look at the agent; khook deliveries cancel asks it to stop.",
		},
		"one is being stopped":   {[]*delivery.Delivery{of("a", delivery.StopAsked)}, v1alpha2.ReasonTaskSilent, "show a. Its agent is asked to stop."},
		"one was left to people": {[]*delivery.Delivery{of("a", delivery.StopLeft)}, v1alpha2.ReasonTaskSilent, "show a. Look at the agent"},
		"one can't be stopped": {
			[]*delivery.Delivery{of("a", ""), of("b", delivery.StopInVain)}, v1alpha2.ReasonCantBeStopped,
			"show b. It was asked to stop, and did not: look at the agent. More tasks are stalled as well.",
		},
	} {
		c := stalledTasks(tc.stalled)
		if c.Type != "Stalled" || (c.Status == "True") != (len(tc.stalled) > 0) || c.Reason != tc.reason || !strings.Contains(c.Message, tc.want) {
			t.Errorf("%s: %s %s %s", name, c.Status, c.Reason, c.Message)
		}
	}
}
