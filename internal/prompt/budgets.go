package prompt

import (
	"reflect"
	"strings"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// Budgets of one rendering, in bytes. Without them a prompt of 400 bytes takes all memory: each
// replace or print can multiply what the one before it made.
//
// Whatever a template does, the texts that it holds at any time are among those of the event (each at
// most maxValue), its own, and those that its functions made: at most maxMade together, since
// assigning a value copies nothing. A function computes at most five times its result before that is
// cut (quote, and %q of printf, of characters that can't be printed).
const (
	maxMade   = 64 << 10           // of all texts that functions make
	maxResult = delivery.MaxPrompt // of one of them: a longer one fits in no prompt
	maxSeen   = 1 << 20            // that functions look at
)

// value is what an expression yields.
type value struct {
	data    any  // string, int, float64, complex128, bool; nil for Go's nil
	cluster bool // a text of the cluster may be in it
}

// text is the value as a text: that of a number for a number.
func (v value) text() string { return sprint(v.data) }

// rendering is one execution of a prompt. None of its steps can fail.
type rendering struct {
	facts reflect.Value // of Variables
	plain bool
	slots []value // of the template's own variables
	out   strings.Builder
	made  int  // bytes of maxMade used
	seen  int  // bytes of maxSeen used
	over  bool // a value was cut
	tired bool // maxSeen is used up: the rendering ended there
	full  bool // the prompt is as long as it may be
}

// run renders the template.
func (p *Template) run(v Variables) *rendering {
	r := &rendering{facts: reflect.ValueOf(v), plain: p.plain, slots: make([]value, p.slots)}
	r.steps(p.steps)
	return r
}

func (r *rendering) steps(steps []step) {
	for _, s := range steps {
		if r.ended() {
			return
		}
		s.run(r)
	}
}

func (r *rendering) ended() bool { return r.full || r.tired }

// text is the finished prompt.
func (r *rendering) text() string {
	text := r.out.String()
	if r.tired && !r.full {
		text += incident.Ellipsis
	}
	if r.plain {
		return incident.Truncate(text, delivery.MaxPrompt)
	}
	return quoteOutput(text)
}

// write adds to the prompt. One byte more than may be in it shows that something is missing.
func (r *rendering) write(text string) {
	if left := delivery.MaxPrompt + 1 - r.out.Len(); len(text) >= left {
		text, r.full = text[:left], true
	}
	r.out.WriteString(text)
}

// writeValue writes a value as the template's reader should see it.
func (r *rendering) writeValue(text string, cluster bool) {
	if !r.plain {
		text = unmarked.Replace(text) // such as those of printf "%c"
		if cluster {
			text = quote(text)
		}
	}
	r.write(text)
}

// look takes the bytes of texts off what functions may still look at, and says whether they may.
func (r *rendering) look(texts ...value) bool {
	r.seen++
	for _, v := range texts {
		if s, ok := v.data.(string); ok {
			r.seen += len(s)
		}
	}
	r.tired = r.tired || r.seen > maxSeen
	return !r.tired
}

// room is how many bytes the next text that a function makes may have.
func (r *rendering) room() int { return min(maxResult, maxMade-r.made) }

// keep takes a text that a function made off the budget, and cuts it to that.
func (r *rendering) keep(text string) string {
	if room := r.room(); len(text) > room {
		r.over = true
		text = cut(text, room)
	}
	r.made += len(text)
	return text
}

// cut is incident.Truncate for any limit: at least the Ellipsis is left.
func cut(text string, limit int) string {
	return incident.Truncate(text, max(limit, len(incident.Ellipsis)))
}

// spent says whether functions can make no more text.
func (r *rendering) spent() bool { return r.room() <= 0 }

// piece is a part of a text.
type piece struct {
	text    string
	cluster bool // others may have chosen it
}

// pieces are the parts of a text that a function makes, as far as there is room for it.
type pieces struct {
	r    *rendering
	made []piece
	size int
}

// full says whether there is no room for another part, so that none need be computed.
func (p *pieces) full() bool { return p.size >= p.r.room() }

// add adds a part, and says whether more can be added.
func (p *pieces) add(text string, cluster bool) bool {
	if room := p.r.room() - p.size; len(text) > room {
		p.r.over = true
		text = cut(text, room)
		p.made, p.size = append(p.made, piece{text, cluster}), p.size+len(text)
		return false
	}
	p.made, p.size = append(p.made, piece{text, cluster}), p.size+len(text)
	return true
}

// done takes the parts off the budget.
func (p *pieces) done() []piece {
	p.r.made += p.size
	return p.made
}

// join makes one value of parts.
func join(parts []piece) value {
	var b strings.Builder
	cluster := false
	for _, p := range parts {
		b.WriteString(p.text)
		cluster = cluster || p.cluster
	}
	return value{b.String(), cluster}
}
