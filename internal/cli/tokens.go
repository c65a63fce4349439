package cli

import (
	"fmt"
	"time"

	"github.com/kagent-dev/khook/internal/api"
)

// notReported is said instead of 0: an agent that tells no tokens has used some.
const notReported = "not reported"

// tokensOf is how many tokens a call took; nothing for a call that was not made.
func tokensOf(t *api.Tokens, called time.Time) string {
	switch {
	case t != nil:
		return fmt.Sprintf("%d (%d read, %d written)", t.Total, t.Prompt, t.Completion)
	case !called.IsZero():
		return notReported
	}
	return ""
}

// tokenSum is how many tokens calls took together, or what is said if none was reported: 0 would be a claim.
func tokenSum(n int64, none string) string {
	if n == 0 {
		return none
	}
	return fmt.Sprint(n)
}

// hookTokens is how many tokens the calls of a Hook took.
func hookTokens(t *api.HookTokens) string {
	if t.Reported == 0 {
		return notReported
	}
	return fmt.Sprintf("%s, reported by %s", tokensOf(&t.Tokens, time.Time{}), plural(t.Reported, "call"))
}
