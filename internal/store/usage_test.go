package store

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kagent-dev/khook/internal/delivery"
)

// TestTokensOfACallCountOnceHoweverOftenItsTaskIsLookedAt holds that a Hook's sum is that of its deliveries.
func TestTokensOfACallCountOnceHoweverOftenItsTaskIsLookedAt(t *testing.T) {
	st := openStore(t, newPath(t))
	d := newDelivery("d")
	d.State, d.CalledAt = delivery.Working, long
	for _, told := range []delivery.Usage{{}, {Total: 30, Prompt: 20, Completion: 10}, {Total: 30, Prompt: 20, Completion: 10}, {Total: 70, Prompt: 50, Completion: 20}, {Total: 5}} {
		d.Usage = d.Usage.After(told)
		must(t, saveChanges(t, st, &Changes{Deliveries: []*delivery.Delivery{d}}))
	}
	silent, other := newDelivery("silent"), newDelivery("other")
	silent.CalledAt = long
	other.CalledAt, other.Agent.Name, other.Usage = long, "nurse", delivery.Usage{Total: 3, Prompt: 2, Completion: 1}
	must(t, saveChanges(t, st, &Changes{Deliveries: []*delivery.Delivery{silent, other}}))
	counts, err := st.Reader().HookCounts(t.Context(), shopHook, long.Add(-time.Hour), long.Add(time.Hour))
	must(t, err)
	got := []int64{counts[TokensCount], counts[PromptTokensCount], counts[CompletionTokensCount], counts[TokensToldCount]}
	if diff := cmp.Diff([]int64{73, 52, 21, 2}, got); diff != "" {
		t.Errorf("total, prompt, completion, calls that told: %s", diff)
	}
	if diff := cmp.Diff(map[string]int64{"kagent/medic": 70, "kagent/nurse": 3}, TokensByAgent(counts)); diff != "" {
		t.Error(diff)
	}
}
