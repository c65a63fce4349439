package cli

import (
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/api"
)

func TestTokensThatAnAgentDoesNotReportAreNotShownAsNone(t *testing.T) {
	if got := tokensOf(nil, time.Unix(1, 0)); got != "not reported" {
		t.Errorf("of a call: %q", got)
	}
	if got := tokensOf(nil, time.Time{}); got != "" {
		t.Errorf("of a call that was not made: %q", got)
	}
	if got := tokensOf(&api.Tokens{Total: 30, Prompt: 20, Completion: 10}, time.Time{}); got != "30 (20 read, 10 written)" {
		t.Errorf("of one that was reported: %q", got)
	}
	if got := hookTokens(&api.HookTokens{}); got != "not reported" {
		t.Errorf("of a Hook: %q", got)
	}
}
