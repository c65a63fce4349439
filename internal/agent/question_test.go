package agent

import (
	"encoding/json"
	"fmt"
	"maps"
	"testing"

	"github.com/a2aproject/a2a-go/v2/a2a"
)

// TestAQuestionThatAnAgentPutsUnderTheIDOfAnotherOneIsAnotherOne changes, under one message ID, each thing
// that a person's decision is about.
func TestAQuestionThatAnAgentPutsUnderTheIDOfAnotherOneIsAnotherOne(t *testing.T) {
	type call = map[string]any
	ask := func(text string, request any) *a2a.Message {
		m := a2a.NewMessage(a2a.MessageRoleAgent, a2a.NewTextPart(text))
		m.ID = "q"
		if request != nil {
			m.Metadata = map[string]any{hitlExtension: request}
		}
		return m
	}
	approval := func(calls ...any) any { return map[string]any{"type": "tool_approval_request", "tools": calls} }
	read := call{"id": "1", "name": "read_log", "args": map[string]any{"pod": "shop"}}
	with := func(field string, value any) call {
		c := maps.Clone(read)
		c[field] = value
		return c
	}
	legacy := func(tool string) *a2a.Message {
		return &a2a.Message{ID: "q", Role: a2a.MessageRoleAgent, Parts: a2a.ContentParts{a2a.NewDataPart(map[string]any{
			"name": "adk_request_confirmation", "args": map[string]any{"originalFunctionCall": map[string]any{"name": tool}}})}}
	}
	questions := map[string]*a2a.Message{
		"a text": ask("May I read the log?", nil), "another text": ask("May I delete the volume?", nil),
		"an approval": ask("May I?", approval(read)), "of another tool": ask("May I?", approval(with("name", "delete_volume"))),
		"with other arguments": ask("May I?", approval(with("args", map[string]any{"pod": "pay"}))), "of another call": ask("May I?", approval(with("id", "2"))),
		"of one call more": ask("May I?", approval(read, with("id", "2"))), "of an older kagent": legacy("read_log"), "of an older kagent, another": legacy("delete_volume"),
	}
	seen := map[string]string{}
	for name, m := range questions {
		id := Task{State: InputRequired}.asking(m).QuestionID
		if other, twice := seen[id]; twice || id == "" {
			t.Errorf("%s and %s have the same ID %q", name, other, id)
		}
		seen[id] = name
		if again := (Task{State: InputRequired}).asking(reread(t, m)).QuestionID; again != id {
			t.Errorf("%s has another ID when it is read again", name)
		}
	}
}

// reread is a message as it comes over the wire another time.
func reread(t *testing.T, m *a2a.Message) *a2a.Message {
	t.Helper()
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	again := &a2a.Message{}
	if err := json.Unmarshal(text, again); err != nil {
		t.Fatal(fmt.Errorf("%w: %s", err, text))
	}
	return again
}
