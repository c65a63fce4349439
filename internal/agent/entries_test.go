package agent

import (
	"fmt"
	"strings"
	"testing"

	"github.com/a2aproject/a2a-go/v2/a2a"
	"github.com/google/go-cmp/cmp"

	"github.com/kagent-dev/khook/internal/incident"
)

func says(id, text string) *a2a.Message {
	return &a2a.Message{ID: id, Role: a2a.MessageRoleAgent, Parts: a2a.ContentParts{a2a.NewTextPart(text)}}
}

func TestOnlyTheNewestEntriesAreKept(t *testing.T) {
	task := &a2a.Task{Status: a2a.TaskStatus{Message: says("status", "now")}, Artifacts: []*a2a.Artifact{{ID: "made", Parts: a2a.ContentParts{a2a.NewTextPart("report")}}}}
	for i := range 60 {
		task.History = append(task.History, says(fmt.Sprint("m", i), "step"))
	}
	got, more := entriesOf(task)
	if len(got) != MaxEntries || !more || got[0].ID != "m12" || got[48].ID != "status" || got[49].ID != "made" {
		t.Errorf("%d entries from %s to %s, more %t", len(got), got[0].ID, got[len(got)-1].ID, more)
	}
}

func TestALongEntryIsCutWithAMark(t *testing.T) {
	exact, long := strings.Repeat("x", MaxEntry), strings.Repeat("ü", MaxEntry)
	got, _ := entriesOf(&a2a.Task{History: []*a2a.Message{says("exact", exact), says("long", long)}})
	if got[0].Truncated || got[0].Text != exact {
		t.Errorf("a text of %d bytes was cut", MaxEntry)
	}
	if !got[1].Truncated || len(got[1].Text) > MaxEntry || !strings.HasSuffix(got[1].Text, incident.Ellipsis) {
		t.Errorf("truncated %t, %d bytes", got[1].Truncated, len(got[1].Text))
	}
}

func TestEachThingThatWasSaidIsOneEntry(t *testing.T) {
	thought := a2a.NewTextPart("hmm")
	thought.Metadata = map[string]any{"kagent_thought": true}
	guess := a2a.NewDataPart(map[string]any{"guess": 1})
	guess.Metadata = map[string]any{"adk_thought": true}
	task := &a2a.Task{
		History: []*a2a.Message{
			nil, {ID: "u1", Role: a2a.MessageRoleUser, Parts: a2a.ContentParts{a2a.NewTextPart("mine")}},
			says("a1", "half"), {ID: "a2", Role: a2a.MessageRoleAgent, Parts: a2a.ContentParts{thought, guess}},
			says("", "no ID"), says("", "no ID"), says("b\nc", "a bad ID"), says("a1", "half and whole"), says("a3", ""),
		},
		Status:    a2a.TaskStatus{Message: says("a1", "half and whole")},
		Artifacts: []*a2a.Artifact{{ID: "a1", Name: "the\nreport\u202e", Parts: a2a.ContentParts{a2a.NewTextPart("It leaks.")}}, nil},
	}
	got, more := entriesOf(task)
	want := []Entry{
		{Kind: EntryMessage, ID: "a1", Role: "agent", Text: "half and whole"},
		{Kind: EntryMessage, ID: incident.DeriveID("message", "no ID"), Role: "agent", Text: "no ID"},
		{Kind: EntryMessage, ID: incident.DeriveID("message", "a bad ID"), Role: "agent", Text: "a bad ID"},
		{Kind: EntryArtifact, ID: "a1", Name: "the report", Text: "It leaks."},
	}
	if diff := cmp.Diff(want, got); diff != "" || more {
		t.Errorf("more %t: %s", more, diff)
	}
	if diff := cmp.Diff([]string{"u1"}, heard(task.History)); diff != "" {
		t.Error(diff)
	}
}

// hitl is a status message with a request of the extension.
func hitl(text string, request map[string]any) *a2a.Message {
	m := says("q", text)
	m.Extensions, m.Metadata = []string{hitlExtension}, map[string]any{hitlExtension: request}
	return m
}

// toolPart is a call that waits for its approval.
func toolPart(id, name string) map[string]any {
	return map[string]any{"id": id, "call_id": "c" + id, "name": name, "args": map[string]any{"n": 1}}
}

// legacyCall is a data part of kagent up to 0.10.
func legacyCall(call map[string]any) *a2a.Message {
	m := says("q", "")
	m.Parts = append(m.Parts, a2a.NewDataPart(map[string]any{"name": "adk_request_confirmation", "args": map[string]any{"originalFunctionCall": call}}))
	return m
}

func TestEachFormOfAQuestionIsShownAndAnsweredInItsOwn(t *testing.T) {
	which := []any{map[string]any{"question": "Which region?", "choices": []any{"eu", "us"}}, map[string]any{"question": "When?"}}
	answers := []any{map[string]any{"answer": []any{"eu"}}, map[string]any{"answer": []any{"eu"}}}
	approve := map[string]any{"decision_type": "approve"}
	for name, c := range map[string]struct {
		message  *a2a.Message
		question string
		approval bool
		said     string
		data     map[string]any
		wantData any
		response any
	}{
		"a text": {says("q", "Restart?"), "Restart?", false, "yes", nil, nil, nil},
		"two tools": {
			hitl("Allow these?", map[string]any{"type": "tool_approval_request", "hint": "Allow these?", "tools": []any{toolPart("1", "a"), toolPart("2", "b")}}),
			"approve a call of the tool a with {\"n\":1}?\napprove a call of the tool b with {\"n\":1}?", true, "", approve, approve,
			map[string]any{"type": "tool_approval_response", "approvals": []any{map[string]any{"id": "1", "approved": true}, map[string]any{"id": "2", "approved": true}}},
		},
		"a tool of an agent's agent": {
			hitl("Asking.", map[string]any{"type": "tool_approval_request", "tools": []any{toolPart("1", "call_agent")}, "nested": map[string]any{"subagent_name": "dba", "tools": []any{toolPart("7", "drop")}}}),
			"Asking.\nfor the agent dba:\napprove a call of the tool drop with {\"n\":1}?", true, "", map[string]any{"decision_type": "yes please"}, map[string]any{"decision_type": "yes please"},
			map[string]any{"type": "tool_approval_response", "approvals": []any{map[string]any{"id": "7", "approved": false}}},
		},
		"questions": {
			hitl("When?", map[string]any{"type": "ask_user_request", "id": "r", "questions": which}),
			"When?\nWhich region? (eu, us)", false, "eu", nil, nil,
			map[string]any{"type": "ask_user_response", "id": "r", "answers": answers},
		},
		"questions of 0.10": {
			legacyCall(map[string]any{"name": "ask_user", "args": map[string]any{"questions": which}}),
			"Which region? (eu, us)\nWhen?", false, "eu", nil, map[string]any{"decision_type": "approve", "ask_user_answers": answers}, nil,
		},
		"a tool of 0.10":  {legacyCall(map[string]any{"name": "drop"}), "approve a call of the tool drop?", true, "", approve, approve, nil},
		"what is no form": {hitl("Well?", map[string]any{"type": "tool_approval_request", "tools": 7}), "Well?", false, "yes", nil, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			task := Task{State: InputRequired}.asking(c.message)
			if task.Question != c.question || task.Approval != c.approval || task.QuestionID == "" {
				t.Errorf("question %q, approval %t", task.Question, task.Approval)
			}
			var got a2a.Message
			task.asks.answer(&got, c.said, c.data, true)
			var data any
			for _, p := range got.Parts {
				if p.Data() != nil {
					data = p.Data()
				}
			}
			if diff := cmp.Diff(c.wantData, data); diff != "" {
				t.Error("data:", diff)
			}
			if diff := cmp.Diff(c.response, got.Metadata[hitlExtension]); diff != "" {
				t.Error("response:", diff)
			}
			if named := len(got.Extensions) == 1; named != (c.response != nil || c.data != nil) {
				t.Errorf("the extension is named: %t", named)
			}
		})
	}
}
