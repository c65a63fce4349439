package agent

import (
	"testing"

	"github.com/a2aproject/a2a-go/v2/a2a"
)

func TestUsageOfATaskIsThatOfAllItsCallsOfTheModel(t *testing.T) {
	call := func(id, key string, n int) *a2a.Message {
		return &a2a.Message{ID: id, Role: a2a.MessageRoleAgent, Metadata: map[string]any{key: map[string]any{"totalTokenCount": 3 * n, "promptTokenCount": 2 * n, "candidatesTokenCount": n}}}
	}
	whole := map[string]any{usageExtension: map[string]any{"totalTokens": 30, "inputTokens": 20, "outputTokens": 7, "reasoningTokens": 3}}
	last := call("3", "kagent_usage_metadata", 4)
	user := call("u", "kagent_usage_metadata", 1000)
	user.Role = a2a.MessageRoleUser
	for name, c := range map[string]struct {
		task a2a.Task
		want Usage
	}{
		"up to 0.10: the messages' sum, the last call not twice": {a2a.Task{
			History: []*a2a.Message{user, call("1", "kagent_usage_metadata", 1), call("2", "adk_usage_metadata", 2), last, nil},
			Status:  a2a.TaskStatus{Message: last}, Metadata: last.Metadata,
		}, Usage{Total: 21, Prompt: 14, Completion: 7}},
		"up to 0.10: only the task tells":                   {a2a.Task{Metadata: last.Metadata}, Usage{Total: 12, Prompt: 8, Completion: 4}},
		"1.x: for the whole life of the task, in the task":  {a2a.Task{Metadata: whole}, Usage{Total: 30, Prompt: 20, Completion: 10}},
		"1.x: in status messages, which replace each other": {a2a.Task{History: []*a2a.Message{{ID: "1", Metadata: whole}}, Status: a2a.TaskStatus{Message: &a2a.Message{ID: "2", Metadata: whole}}}, Usage{Total: 30, Prompt: 20, Completion: 10}},
		"an agent that tells nothing":                       {a2a.Task{History: []*a2a.Message{{ID: "1"}}}, Usage{}},
	} {
		if got := taskUsage(&c.task); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
