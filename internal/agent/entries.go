package agent

import (
	"slices"

	"github.com/a2aproject/a2a-go/v2/a2a"

	"github.com/kagent-dev/khook/internal/incident"
)

// EntryKind says what an Entry was.
type EntryKind string

// The kinds of entries.
const (
	EntryMessage    EntryKind = "message"
	EntryArtifact   EntryKind = "artifact"
	EntryToolCall   EntryKind = "tool-call"
	EntryToolAnswer EntryKind = "tool-answer"
)

// Bounds of what is kept of a task.
const (
	MaxEntry     = 16 << 10 // bytes of Entry.Text
	MaxEntries   = 50       // of one Task
	maxEntryName = 200      // bytes of Entry.Name
	maxHeard     = 1000     // IDs of the user's messages, the newest
)

// Entry is one thing that was said in a task: a message, an artifact, or the use of a tool. Untrusted.
type Entry struct {
	Kind EntryKind
	// ID is the message's, artifact's or call's as kagent gives it, and a digest of the text where it
	// gives none or an unusable one: then the same text said twice is one entry. An artifact
	// that grows keeps its ID.
	ID        string
	Role      string // "agent" or "user"; "" for an artifact
	Name      string // of an artifact or a tool; cleaned, at most 200 bytes
	Text      string // rendered as Answer is, at most MaxEntry bytes; empty only of a tool that is called without arguments
	Truncated bool   // Text was cut
}

// entriesOf are what the agent said and made in the task, the newest of it, and whether there was
// more. A message that comes twice stands at its first place, with its last text.
func entriesOf(t *a2a.Task) (kept []Entry, more bool) {
	at := map[[2]string]int{}
	add := func(e Entry, ok bool) {
		key := [2]string{string(e.Kind), e.ID}
		switch i, twice := at[key]; {
		case !ok:
		case twice:
			kept[i] = e
		default:
			at[key] = len(kept)
			kept = append(kept, e)
		}
	}
	says := func(m *a2a.Message) {
		add(messageEntry(m))
		for _, e := range toolEntries(m) {
			add(e, true)
		}
	}
	for _, m := range t.History {
		if m != nil && m.Role == a2a.MessageRoleAgent {
			says(m)
		}
	}
	if m := t.Status.Message; m != nil && m.Role != a2a.MessageRoleUser {
		says(m)
	}
	for _, a := range t.Artifacts {
		if a != nil {
			add(artifactEntry(a))
		}
	}
	if len(kept) > MaxEntries {
		return slices.Clone(kept[len(kept)-MaxEntries:]), true // without those before them, which would stay in memory
	}
	return kept, false
}

// messageEntry is what an agent's message says; false if it says nothing, or was only thought.
func messageEntry(m *a2a.Message) (Entry, bool) {
	text := question(m)
	if len(askedBy(m).lines) == 0 {
		text = textOf(withoutTools(m.Parts))
	}
	e, ok := entry(EntryMessage, m.ID, text)
	e.Role = "agent"
	return e, ok
}

func artifactEntry(a *a2a.Artifact) (Entry, bool) {
	e, ok := entry(EntryArtifact, string(a.ID), textOf(a.Parts))
	e.Name = incident.Clean(a.Name, maxEntryName)
	return e, ok
}

func entry(kind EntryKind, id, text string) (Entry, bool) {
	e := Entry{Kind: kind, ID: entryID(kind, id, text), Text: incident.Truncate(text, MaxEntry), Truncated: len(text) > MaxEntry}
	return e, text != ""
}

func entryID(kind EntryKind, id, text string) string {
	if validID(id) {
		return id
	}
	return incident.DeriveID(string(kind), text)
}

// heard are the IDs of the user's messages in a history.
func heard(history []*a2a.Message) []string {
	var ids []string
	for _, m := range history {
		if m != nil && m.Role == a2a.MessageRoleUser && validID(m.ID) {
			ids = append(ids, m.ID)
		}
	}
	if len(ids) > maxHeard {
		return slices.Clone(ids[len(ids)-maxHeard:])
	}
	return ids
}
