package agent

import (
	"encoding/json"
	"strings"
	"unicode"

	"github.com/a2aproject/a2a-go/v2/a2a"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// textOf renders parts for people: their texts, or if they have none their data as JSON and the
// names of their files. At most delivery.MaxAnswer bytes.
func textOf(parts a2a.ContentParts) string {
	if s := plainText(parts); s != "" {
		return s
	}
	var all textBuilder
	for _, p := range parts {
		if p != nil && !isThought(p.Metadata) {
			all.add("\n", otherPart(p))
		}
	}
	return incident.Truncate(all.String(), delivery.MaxAnswer)
}

// plainText joins the texts of parts, without what the agent only thought. A new line goes between
// two parts, unless they are pieces of one text: then one of them has white space at the seam.
func plainText(parts a2a.ContentParts) string {
	var all textBuilder
	for _, p := range parts {
		if p == nil || isThought(p.Metadata) {
			continue
		}
		s := clean(p.Text())
		sep := "\n"
		if s != "" && (unicode.IsSpace(rune(s[0])) || all.spaced()) {
			sep = ""
		}
		all.add(sep, s)
	}
	return incident.Truncate(strings.TrimSpace(all.String()), delivery.MaxAnswer)
}

func isThought(metadata map[string]any) bool {
	return metadata["adk_thought"] == true || metadata["kagent_thought"] == true
}

func otherPart(p *a2a.Part) string {
	switch {
	case p.Data() != nil:
		raw, err := json.Marshal(p.Data())
		if err != nil {
			return ""
		}
		return clean(string(raw))
	case p.URL() != "" || len(p.Raw()) > 0:
		return "[file " + incident.Clean(p.Filename+" "+p.MediaType, 200) + "]"
	default:
		return ""
	}
}

// clean keeps the lines of a text, and drops what is invisible or no UTF-8.
func clean(s string) string {
	if len(s) > 2*delivery.MaxAnswer {
		s = s[:2*delivery.MaxAnswer] + incident.Ellipsis
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t', r >= ' ' && r < 0x7f: // most of it: a long history is cleaned at each look
			return r
		case incident.Unseen(r):
			return -1
		}
		return r
	}, s)
}

// textBuilder collects texts; it stops growing some way past delivery.MaxAnswer.
type textBuilder struct{ strings.Builder }

func (j *textBuilder) add(sep, s string) {
	if s == "" || j.Len() > delivery.MaxAnswer {
		return
	}
	if j.Len() > 0 {
		_, _ = j.WriteString(sep)
	}
	_, _ = j.WriteString(s)
}

func (j *textBuilder) spaced() bool {
	s := j.String()
	return s != "" && unicode.IsSpace(rune(s[len(s)-1]))
}
