package kagenttest

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/a2aproject/a2a-go/v2/a2a"
)

// Extension is kagent 1.x's for people in the loop.
const Extension = "https://kagent.dev/extensions/hitl/v1"

// approval asks for the approval of a call: up to 0.10 in a data part, in 1.x by the extension if
// the message that is answered asked for it, else in words that nobody can answer.
func (r *scriptRun) approval(tool string) *a2a.TaskStatusUpdateEvent {
	hint := fmt.Sprintf("Please approve %s.", tool)
	if r.server.restful(r.ctx) {
		return r.status(a2a.TaskStateInputRequired, "", confirmation(tool, hint))
	}
	event := r.status(a2a.TaskStateInputRequired, hint)
	requested, _ := r.ec.ServiceParams.Get(a2a.SvcParamExtensions)
	if slices.Contains(requested, Extension) {
		event.Status.Message.Extensions = []string{Extension}
		event.Status.Message.Metadata = map[string]any{Extension: map[string]any{
			"type": "tool_approval_request", "hint": hint,
			"tools": []any{map[string]any{"id": "approve-" + tool, "call_id": "call-" + tool, "name": tool, "args": map[string]any{"namespace": "shop"}}},
		}}
	}
	return event
}

func confirmation(tool, hint string) *a2a.Part {
	return a2a.NewDataPart(map[string]any{
		"name": "adk_request_confirmation",
		"args": map[string]any{
			"originalFunctionCall": map[string]any{"name": tool, "args": map[string]any{"namespace": "shop"}},
			"toolConfirmation":     map[string]any{"hint": hint},
		},
	})
}

// response is what a message answers by the extension.
func response(m *a2a.Message) json.RawMessage {
	payload, ok := m.Metadata[Extension]
	if !ok || !slices.Contains(m.Extensions, Extension) {
		return nil
	}
	raw, err := json.Marshal(payload)
	if err != nil {
		return nil
	}
	return raw
}
