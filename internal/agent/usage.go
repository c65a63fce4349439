package agent

import (
	"encoding/json"
	"slices"

	"github.com/a2aproject/a2a-go/v2/a2a"

	"github.com/kagent-dev/khook/internal/delivery"
)

// Usage counts tokens of the language model; zero where the agent does not tell.
type Usage = delivery.Usage

// usageExtension is kagent 1.x's way to tell the tokens of a task: always for its whole life so far.
const usageExtension = "https://kagent.dev/extensions/usage/v1"

// callUsageKeys are where kagent up to 0.10 tells the tokens of one call of the model: in the metadata of the message that came of
// it, and those of the last call in the task's. Which prefix it has depends on the agent's runtime.
var callUsageKeys = []string{"kagent_usage_metadata", "adk_usage_metadata"}

// taskUsage is what the task took so far. The messages' counts are summed up, each message once. The task's own counts are the whole
// (1.x), or repeat the last call's (up to 0.10), and are not added to that sum.
func taskUsage(t *a2a.Task) Usage {
	whole := usage(t.Metadata)
	var sum Usage
	seen := map[string]bool{}
	for _, m := range append(slices.Clip(t.History), t.Status.Message) {
		if m == nil || m.Role == a2a.MessageRoleUser || m.ID != "" && seen[m.ID] {
			continue
		}
		seen[m.ID] = true
		whole = whole.After(usageIn(m.Metadata, usageExtension))
		for _, key := range callUsageKeys {
			if u := usageIn(m.Metadata, key); u.Reported() {
				sum = Usage{Total: bounded(sum.Total + u.Total), Prompt: bounded(sum.Prompt + u.Prompt), Completion: bounded(sum.Completion + u.Completion)}
				break
			}
		}
	}
	return whole.After(sum)
}

// usage is what metadata tell, in the words of any version.
func usage(metadata map[string]any) Usage {
	for _, key := range append([]string{usageExtension}, callUsageKeys...) {
		if u := usageIn(metadata, key); u.Reported() {
			return u
		}
	}
	return Usage{}
}

func usageIn(metadata map[string]any, key string) Usage {
	if metadata[key] == nil {
		return Usage{}
	}
	raw, err := json.Marshal(metadata[key])
	if err != nil {
		return Usage{}
	}
	var counts struct {
		Total      float64 `json:"totalTokenCount"`
		Prompt     float64 `json:"promptTokenCount"`
		Candidates float64 `json:"candidatesTokenCount"`

		TotalTokens float64 `json:"totalTokens"`
		Input       float64 `json:"inputTokens"`
		Output      float64 `json:"outputTokens"`
		Reasoning   float64 `json:"reasoningTokens"` // not part of Output
	}
	if json.Unmarshal(raw, &counts) != nil {
		return Usage{}
	}
	u := Usage{Total: tokens(counts.Total + counts.TotalTokens), Prompt: tokens(counts.Prompt + counts.Input), Completion: tokens(counts.Candidates + counts.Output + counts.Reasoning)}
	u.Total = max(u.Total, bounded(u.Prompt+u.Completion)) // some tell the parts only
	return u
}

// maxTokens bounds a count, so that sums of them stay numbers.
const maxTokens = 1 << 40

func bounded(n int64) int64 { return min(n, maxTokens) }

// tokens is a count that an agent tells; one that can't be is none.
func tokens(n float64) int64 {
	if n >= 0 && n < maxTokens {
		return int64(n)
	}
	return 0
}
