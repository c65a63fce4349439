package status

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/hook"
)

func TestAHookThatAsksForPlainValuesInVainIsCalledForAndTold(t *testing.T) {
	for _, allowed := range []bool{true, false} {
		set := hook.NewSet(hook.Policy{AgentNamespaces: []string{"kagent"}, PlainValues: allowed})
		w := NewWriter(Config{Set: set})
		id := "kagent/medic"
		asks := v1alpha2.EventConfiguration{EventType: "oom-kill", AgentId: &id, Prompt: "It said {{.EventMessage}}", PlainValues: true}
		h := &v1alpha2.Hook{
			ObjectMeta: metav1.ObjectMeta{Name: "h", Namespace: "shop", UID: "hook-uid", Generation: 1},
			Spec:       v1alpha2.HookSpec{EventConfigurations: []v1alpha2.EventConfiguration{asks}},
		}
		c := w.ready(delivery.HookRef{Namespace: h.Namespace, Name: h.Name}, h)
		told := strings.Contains(c.Message, ". spec.eventConfigurations[0].plainValues: the operator does not allow plain values, so what the cluster says stays marked")
		if c.Status != "True" || told == allowed {
			t.Errorf("allowed %v: %s %s", allowed, c.Status, c.Message)
		}
	}
}
