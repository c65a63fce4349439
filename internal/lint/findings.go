package lint

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/kagent-dev/khook/internal/incident"
)

// Bounds of a Report.
const (
	maxFindings  = 200
	maxCollected = 2_000 // findings of a kind that are held before the first ones of the text are picked
	maxField     = 256   // bytes of Finding.Field
	maxHookName  = 320   // bytes of Finding.Hook
)

// Finding is something that is wrong with a Hook's manifest, or odd about it.
type Finding struct {
	Document int    `json:"document"`        // 1 for the first of the text
	Line     int    `json:"line,omitempty"`  // in the whole text, from 1
	Hook     string `json:"hook,omitempty"`  // namespace/name
	Field    string `json:"field,omitempty"` // such as spec.eventConfigurations[0].prompt
	Message  string `json:"message"`         // says what to change
}

// findings collects what Check finds, each thing once, and bounds it.
type findings struct {
	errors, warnings []Finding
	unread           []Finding // errors that say why not all was checked; few, and always shown
	left             int       // out
	seen             map[Finding]bool
}

func newFindings() *findings { return &findings{seen: map[Finding]bool{}} }

func (f *findings) addError(found Finding)   { f.add(&f.errors, found) }
func (f *findings) addWarning(found Finding) { f.add(&f.warnings, found) }

func (f *findings) unfinished(found Finding) { f.unread = append(f.unread, found) }

func (f *findings) add(list *[]Finding, found Finding) {
	found.Hook = incident.Truncate(found.Hook, maxHookName)
	found.Field = incident.Clean(found.Field, maxField)
	found.Message = incident.Clean(found.Message, incident.MaxMessage)
	if f.seen[found] {
		return
	}
	if len(*list) >= maxCollected {
		f.left++
		return
	}
	f.seen[found] = true
	*list = append(*list, found)
}

// report puts the findings into the report, in the order of the text. Where there are too many,
// the first errors are kept.
func (f *findings) report(r *Report) {
	inText := func(a, b Finding) int {
		return cmp.Or(a.Document-b.Document, a.Line-b.Line, cmp.Compare(a.Field, b.Field), cmp.Compare(a.Message, b.Message))
	}
	slices.SortFunc(f.errors, inText)
	slices.SortFunc(f.warnings, inText)
	room := maxFindings - len(f.unread)
	total := f.left + len(f.errors) + len(f.warnings)
	if total > room {
		room-- // for saying so
	}
	r.Errors = append([]Finding{}, f.errors[:min(len(f.errors), room)]...)
	r.Warnings = append([]Finding{}, f.warnings[:min(len(f.warnings), room-len(r.Errors))]...)
	if left := total - len(r.Errors) - len(r.Warnings); left > 0 {
		list := &r.Warnings
		if len(r.Errors) < len(f.errors) {
			list = &r.Errors
		}
		*list = append(*list, leftOut(left, *list))
	}
	r.Errors = append(r.Errors, f.unread...)
	r.Valid = len(r.Errors) == 0
}

func leftOut(n int, shown []Finding) Finding {
	note := Finding{Document: 1, Message: fmt.Sprintf("%s left out: correct the others and check again", incident.Counted(n, "more finding"))}
	if len(shown) > 0 {
		note.Document, note.Line = shown[len(shown)-1].Document, shown[len(shown)-1].Line
	}
	return note
}
