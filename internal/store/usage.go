package store

import (
	"strings"

	"github.com/kagent-dev/khook/internal/delivery"
)

// The counters of tokens, see Reader.HookCounts.
const (
	TokensCount           = "tokens"
	PromptTokensCount     = "tokens:prompt"
	CompletionTokensCount = "tokens:completion"
	TokensToldCount       = "tokens:told" // deliveries whose agent told how many tokens it used
	agentTokens           = "tokens:agent:"
)

// countUsage adds what the delivery's usage has grown by since its row was written: each token is counted once, however often the task
// is looked at. It counts when the agent was called, so that a call belongs to one range of time with all that it took.
func (s *saving) countUsage(d *delivery.Delivery, was delivery.Usage) {
	at := d.CalledAt
	if at.IsZero() {
		at = d.CreatedAt
	}
	add := func(name string, n int64) {
		if n != 0 {
			s.hooks[hookCount{s.minute(at), d.Hook, d.Config, name}] += n
		}
	}
	add(TokensCount, d.Usage.Total-was.Total)
	add(PromptTokensCount, d.Usage.Prompt-was.Prompt)
	add(CompletionTokensCount, d.Usage.Completion-was.Completion)
	add(agentTokens+d.Agent.String(), d.Usage.Total-was.Total)
	if d.Usage.Reported() && !was.Reported() {
		add(TokensToldCount, 1)
	}
}

// TokensByAgent picks the tokens of each agent, as namespace/name, from a hook's counters.
func TokensByAgent(counts map[string]int64) map[string]int64 {
	found := map[string]int64{}
	for name, n := range counts {
		if agent, ok := strings.CutPrefix(name, agentTokens); ok {
			found[agent] = n
		}
	}
	return found
}
