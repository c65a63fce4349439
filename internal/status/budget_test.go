package status

import (
	"testing"

	"github.com/kagent-dev/khook/internal/delivery"
)

func TestTheConditionSaysWhichBudgetIsUsedUp(t *testing.T) {
	for why, want := range map[string]string{
		delivery.TokensBudget + ", 1000, is used up":       "MaxTokensPerDay",
		"spec.maxCallsPerHour of the Hook, 1, is used up":  "MaxCallsPerHour",
		"--max-calls-per-hour of khook, 10000, is used up": "MaxCallsPerHour",
	} {
		if got := overBudget([]*delivery.GroupState{{Why: why}}); got.Reason != want {
			t.Errorf("%s: %s", why, got.Reason)
		}
	}
}
