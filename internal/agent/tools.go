package agent

import (
	"encoding/json"
	"slices"

	"github.com/a2aproject/a2a-go/v2/a2a"

	"github.com/kagent-dev/khook/internal/incident"
)

// maxToolText bounds what is kept of a tool's arguments, and of its answer, in bytes.
const maxToolText = 4 << 10

// asking are the tools by which kagent's agents ask a person: what they ask is a question, and no entry of its own.
var asking = []string{"adk_request_confirmation", "ask_user"}

// toolUse is a data part that says that the agent calls a tool or that the tool answered: an object with the call's ID, the tool's
// name, and either args or a response, in all of kagent's versions.
type toolUse struct {
	id, name string
	answer   bool
	data     any // the arguments or the answer
}

func toolUseOf(p *a2a.Part) (toolUse, bool) {
	if p == nil || isThought(p.Metadata) {
		return toolUse{}, false
	}
	m, _ := p.Data().(map[string]any)
	name, _ := m["name"].(string)
	id, identified := m["id"].(string)
	if name == "" || !identified {
		return toolUse{}, false
	}
	if response, ok := m["response"]; ok {
		return toolUse{id: id, name: name, answer: true, data: response}, true
	}
	args, ok := m["args"]
	return toolUse{id: id, name: name, data: args}, ok
}

// entry is the use of the tool in the log. A call keeps its ID: what it is first said to answer, such as "pending", is replaced.
func (u toolUse) entry() Entry {
	raw, err := json.Marshal(u.data)
	if err != nil || u.data == nil {
		raw = nil
	}
	text, kind := clean(string(raw)), EntryToolCall
	if u.answer {
		kind = EntryToolAnswer
	}
	name := incident.Clean(u.name, maxEntryName)
	return Entry{
		Kind: kind, ID: entryID(kind, u.id, name+" "+text), Role: "agent", Name: name,
		Text: incident.Truncate(text, maxToolText), Truncated: len(text) > maxToolText,
	}
}

// toolEntries are the uses of tools that a message tells of.
func toolEntries(m *a2a.Message) []Entry {
	var found []Entry
	for _, p := range m.Parts {
		if u, ok := toolUseOf(p); ok && !slices.Contains(asking, u.name) {
			found = append(found, u.entry())
		}
	}
	return found
}

// withoutTools are the parts by which the agent itself says something.
func withoutTools(parts a2a.ContentParts) a2a.ContentParts {
	return slices.DeleteFunc(slices.Clone(parts), func(p *a2a.Part) bool {
		_, ok := toolUseOf(p)
		return ok
	})
}
