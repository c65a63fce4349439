package status

import (
	"strings"
	"testing"
	"time"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/delivery"
)

func TestTheConditionAgentAsksSaysWhatIsWaitedForAndHowToAnswer(t *testing.T) {
	of := func(id string, approval bool) *delivery.Delivery {
		return &delivery.Delivery{
			ID: id, Group: "Deployment/" + id, Config: "memory", Agent: delivery.AgentRef{Namespace: "kagent", Name: "medic"}, NeedsApproval: approval,
			Question: "may I say hunter2?", HeardAt: time.Date(2026, 1, 15, 10, 0, 0, 0, time.UTC),
		}
	}
	for name, tc := range map[string]struct {
		asking []*delivery.Delivery
		reason string
		want   string
	}{
		"none": {nil, v1alpha2.ReasonNobodyAsks, "No agent waits for a person"},
		"a question": {
			[]*delivery.Delivery{of("a", false)}, v1alpha2.ReasonQuestionOpen,
			"Deployment/a (memory): agent kagent/medic waits for an answer since 2026-01-15T10:00:00Z. Read its question: khook deliveries show a; khook inbox has the command that answers it.",
		},
		"an approval": {[]*delivery.Delivery{of("a", true), of("b", false)}, v1alpha2.ReasonApprovalOpen, "waits for an approval since 2026-01-15T10:00:00Z. Read its question: khook deliveries show a; khook inbox has the command that answers it. More agents wait as well."},
	} {
		c := agentAsks(tc.asking)
		if c.Type != "AgentAsks" || (c.Status == "True") != (len(tc.asking) > 0) || c.Reason != tc.reason || !strings.Contains(c.Message, tc.want) {
			t.Errorf("%s: %s %s %s", name, c.Status, c.Reason, c.Message)
		}
		if strings.Contains(c.Message, "hunter2") {
			t.Errorf("%s: the question is told to everybody who may read Hooks: %s", name, c.Message)
		}
	}
}
