package hook

import (
	"strings"
	"testing"

	"github.com/kagent-dev/khook/internal/delivery"
)

func TestAHookThatAsksForPlainValuesInVainIsCalledForAndTold(t *testing.T) {
	for _, allowed := range []bool{true, false} {
		set := NewSet(Policy{AgentNamespaces: []string{"kagent"}, PlainValues: allowed})
		w := NewStatusWriter(StatusConfig{Set: set})
		h := plainHook()
		c := w.ready(delivery.HookRef{Namespace: h.Namespace, Name: h.Name}, h)
		told := strings.Contains(c.Message, ". spec.eventConfigurations[0].plainValues: the operator does not allow plain values, so what the cluster says stays marked")
		if c.Status != "True" || told == allowed {
			t.Errorf("allowed %v: %s %s", allowed, c.Status, c.Message)
		}
	}
}
