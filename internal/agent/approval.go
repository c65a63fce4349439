package agent

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/a2aproject/a2a-go/v2/a2a"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// hitlExtension is kagent 1.x's way to ask a person: a request in the metadata of the status
// message, and a response in that of the reply. kagent adds the request only to the tasks of those
// who name the extension in a header when they send the message, and ignores a response in a
// message that does not name it itself; neither says so.
const hitlExtension = "https://kagent.dev/extensions/hitl/v1"

// questionSpec is what an interrupted task wants of a reply. The zero value wants a text.
type questionSpec struct {
	approval  bool     // a decision, else a text
	questions int      // that must be answered one by one; 0 for a reply as it is
	extension bool     // it was asked by the extension, and must be answered by it
	id        string   // of the request; by the extension
	calls     []string // IDs of the calls to decide about; by the extension
	lines     []string // what is asked, for people
	hint      string   // what the lines say better; by the extension
}

// confirmation is what the extension asks, and as far as the names go what kagent up to 0.10 does.
type confirmation struct {
	Type      string            `json:"type"`
	ID        string            `json:"id"`
	Hint      string            `json:"hint"`
	Tools     []toolCall        `json:"tools"`
	Questions []json.RawMessage `json:"questions"`
	Nested    *struct {
		Subagent string     `json:"subagent_name"`
		Tools    []toolCall `json:"tools"`
	} `json:"nested"` // an agent asks that the agent called
}

type toolCall struct {
	ID   string          `json:"id"`
	Name string          `json:"name"`
	Args json.RawMessage `json:"args"`
}

// askedBy reads what a status message asks.
func askedBy(m *a2a.Message) *questionSpec {
	if m == nil {
		return &questionSpec{}
	}
	if a := byExtension(m.Metadata[hitlExtension]); a != nil {
		return a
	}
	all := &questionSpec{}
	for _, p := range m.Parts {
		if p == nil {
			continue
		}
		if a := byPart(p.Data()); a != nil {
			all.approval = all.approval || a.approval
			all.questions += a.questions
			all.lines = append(all.lines, a.lines...)
		}
	}
	return all
}

// byExtension reads a request of the extension; nil if it is none that can be answered.
func byExtension(payload any) *questionSpec {
	var r confirmation
	if raw, err := json.Marshal(payload); err != nil || json.Unmarshal(raw, &r) != nil {
		return nil
	}
	a := &questionSpec{extension: true, id: r.ID}
	calls := r.Tools
	if r.Nested != nil && len(r.Nested.Tools) > 0 {
		calls, a.id = r.Nested.Tools, r.Nested.Tools[0].ID
		a.lines = append(a.lines, "for the agent "+r.Nested.Subagent+":")
	}
	switch {
	case r.Type == "tool_approval_request" && len(calls) > 0:
		a.approval, a.hint = true, clean(r.Hint)
		for _, call := range calls {
			a.calls = append(a.calls, call.ID)
			a.lines = append(a.lines, call.question(r.Hint))
		}
		return a
	case r.Type == "ask_user_request" && len(r.Questions) > 0:
		a.questions = len(r.Questions)
		a.lines = append(a.lines, questionLines(r.Questions)...)
		return a
	}
	return nil
}

// byPart reads a data part of kagent up to 0.10; nil if it asks nothing.
func byPart(data any) *questionSpec {
	if m, _ := data.(map[string]any); m["name"] != "adk_request_confirmation" {
		return nil
	}
	var part struct {
		Args struct {
			Call    toolCall `json:"originalFunctionCall"`
			Confirm struct {
				Hint string `json:"hint"`
			} `json:"toolConfirmation"`
		} `json:"args"`
	}
	raw, err := json.Marshal(data)
	if err != nil || json.Unmarshal(raw, &part) != nil {
		return &questionSpec{approval: true, lines: []string{toolCall{}.question("")}}
	}
	var ask confirmation
	call := part.Args.Call
	if call.Name == "ask_user" && json.Unmarshal(call.Args, &ask) == nil && len(ask.Questions) > 0 {
		return &questionSpec{questions: len(ask.Questions), lines: questionLines(ask.Questions)}
	}
	return &questionSpec{approval: true, lines: []string{call.question(part.Args.Confirm.Hint)}}
}

// question asks whether the tool may be called. The hint stands in for a tool without a name: for
// others it says no more than the name.
func (t toolCall) question(hint string) string {
	switch {
	case t.Name == "" && hint != "":
		return hint
	case t.Name == "":
		return "approve a call of a tool?"
	case len(t.Args) == 0 || string(t.Args) == "null":
		return "approve a call of the tool " + t.Name + "?"
	}
	return "approve a call of the tool " + t.Name + " with " + string(t.Args) + "?"
}

// questionLines renders questions with the answers that they offer.
func questionLines(questions []json.RawMessage) []string {
	var lines []string
	for _, raw := range questions {
		var q struct {
			Question string   `json:"question"`
			Choices  []string `json:"choices"`
		}
		if json.Unmarshal(raw, &q) != nil || q.Question == "" {
			lines = append(lines, string(raw))
			continue
		}
		if len(q.Choices) > 0 {
			q.Question += " (" + strings.Join(q.Choices, ", ") + ")"
		}
		lines = append(lines, q.Question)
	}
	return lines
}

// idIn is the ID of the question in its message. What a person decides about must be in it whole, what is
// cut for showing too: the agent chooses the message's ID, and could put another question under it between
// the person's look and the decision.
func (a *questionSpec) idIn(m *a2a.Message) string {
	said := textOf(m.Parts)
	parts := []string{"question", entryID(EntryMessage, m.ID, said), said, strconv.FormatBool(a.approval), a.id, strconv.Itoa(len(a.calls))}
	return incident.DeriveID(append(append(parts, a.calls...), a.lines...)...)
}

// question renders what a message asks a person, or just says: its text, and what of the questions
// and the calls of tools that want to be approved the text does not say itself.
func question(m *a2a.Message) string {
	a := askedBy(m)
	if len(a.lines) == 0 {
		return textOf(m.Parts)
	}
	var all textBuilder
	said := plainText(m.Parts)
	if said == strings.TrimSpace(a.hint) {
		said = ""
	}
	all.add("", said)
	for _, line := range a.lines {
		if line = clean(line); !strings.Contains(said, line) {
			all.add("\n", line)
		}
	}
	return incident.Truncate(strings.TrimSpace(all.String()), delivery.MaxAnswer)
}

// decision is the key under which kagent up to 0.10 wants a decision in a data part.
const decision = "decision_type"

// answer fits a reply to what is asked; hitl says whether the kagent has the extension. The text
// answers each of several questions, because it does not say which it is about. Nothing but "approve"
// approves.
func (a *questionSpec) answer(msg *a2a.Message, said string, data map[string]any, hitl bool) {
	decided, _ := data[decision].(string)
	if decided != "" && decided != "approve" && said != "" && data["rejection_reason"] == nil {
		data["rejection_reason"] = said
	}
	var response map[string]any
	switch {
	case a.extension && a.approval && decided != "":
		response = map[string]any{"type": "tool_approval_response", "approvals": a.approvals(decided == "approve", data["rejection_reason"])}
	case a.extension && a.questions > 0 && decided == "" && said != "":
		response = map[string]any{"type": "ask_user_response", "id": a.id, "answers": a.answers(said)}
	case a.questions > 0 && data == nil:
		data = map[string]any{decision: "approve", "ask_user_answers": a.answers(said)}
	}
	if response != nil {
		msg.Metadata = map[string]any{hitlExtension: response}
	}
	if response != nil || hitl && decided != "" {
		msg.Extensions = []string{hitlExtension}
	}
	msg.Parts = newParts(said, data)
}

func (a *questionSpec) approvals(approved bool, reason any) []any {
	var all []any
	for _, id := range a.calls {
		one := map[string]any{"id": id, "approved": approved}
		if !approved && reason != nil {
			one["rejection_reason"] = reason
		}
		all = append(all, one)
	}
	return all
}

func (a *questionSpec) answers(said string) []any {
	var all []any
	for range a.questions {
		all = append(all, map[string]any{"answer": []any{said}})
	}
	return all
}
