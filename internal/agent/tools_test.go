package agent

import (
	"strings"
	"testing"

	"github.com/a2aproject/a2a-go/v2/a2a"
	"github.com/google/go-cmp/cmp"
)

func uses(id string, data ...map[string]any) *a2a.Message {
	m := &a2a.Message{ID: id, Role: a2a.MessageRoleAgent}
	for _, d := range data {
		m.Parts = append(m.Parts, a2a.NewDataPart(d))
	}
	return m
}

func TestTheUseOfAToolIsAnEntryOfItsOwnAndNoAnswer(t *testing.T) {
	both := uses("m3", map[string]any{"id": "c2", "name": "scale\x1b\nup", "args": nil})
	both.Parts = append(both.Parts, a2a.NewTextPart("I scale it up."))
	task := &a2a.Task{Status: a2a.TaskStatus{State: a2a.TaskStateWorking}, History: []*a2a.Message{
		uses("m1", map[string]any{"id": "c1", "name": "k8s_get_resources", "args": map[string]any{"kind": "Pod"}}),
		uses("m2", map[string]any{"id": "c1", "name": "k8s_get_resources", "response": map[string]any{"status": "pending"}}),
		uses("m2b", map[string]any{"id": "c1", "name": "k8s_get_resources", "response": map[string]any{"result": "none"}}),
		both,
		uses("m4", map[string]any{"id": "c3", "name": "long", "args": strings.Repeat("x", 2*maxToolText)}),
		uses("m5", map[string]any{"id": "c4", "name": "ask_user", "args": map[string]any{}}),
		uses("m6", map[string]any{"verdict": "it leaks"}), // no tool: the agent's own words
		uses("m7", map[string]any{"id": "c3", "name": "long", "response": "ok"}),
	}}
	got, _ := entriesOf(task)
	if long := got[4]; len(long.Text) > maxToolText || !long.Truncated {
		t.Errorf("arguments of %d bytes, truncated %t", len(long.Text), long.Truncated)
	}
	got[4].Text = ""
	want := []Entry{
		{Kind: EntryToolCall, ID: "c1", Role: "agent", Name: "k8s_get_resources", Text: `{"kind":"Pod"}`},
		{Kind: EntryToolAnswer, ID: "c1", Role: "agent", Name: "k8s_get_resources", Text: `{"result":"none"}`},
		{Kind: EntryMessage, ID: "m3", Role: "agent", Text: "I scale it up."},
		{Kind: EntryToolCall, ID: "c2", Role: "agent", Name: "scale up"},
		{Kind: EntryToolCall, ID: "c3", Role: "agent", Name: "long", Truncated: true},
		{Kind: EntryMessage, ID: "m6", Role: "agent", Text: `{"verdict":"it leaks"}`},
		{Kind: EntryToolAnswer, ID: "c3", Role: "agent", Name: "long", Text: `"ok"`},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if answer := answerOf(task); answer != `{"verdict":"it leaks"}` {
		t.Errorf("answer %q", answer)
	}
}
