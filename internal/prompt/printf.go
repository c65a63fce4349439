package prompt

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/kagent-dev/khook/internal/incident"
)

// wide matches a format whose width or precision has three digits or more, or comes from an argument.
var wide = regexp.MustCompile(`%[^a-zA-Z%]*(\d{3}|\*)`)

// plainFormat is one that shows its arguments whole.
var plainFormat = regexp.MustCompile(`^([^%]|%[svd%])*$`)

// directive is a part of a format: text that is there already, or a verb and the argument it shows.
type directive struct {
	text  string // if verb is ""
	verb  string // such as %-9s
	arg   int
	extra bool // shows an argument that no verb asks for, as fmt has it
}

// directives reads a format as fmt.Sprintf does, for some number of arguments. Formats are constants,
// so all that is wrong with one is text by now, such as %!d(MISSING). It is false for a format that has
// a flag or a width where its verb belongs, behind the number of an argument.
func directives(format string, args int) ([]directive, bool) {
	f := formatReader{format: format, args: args}
	for f.at < len(format) {
		text, _, found := strings.Cut(format[f.at:], "%")
		f.literal(text)
		if f.at += len(text); found {
			f.at++
			f.directive()
		}
	}
	if !f.reordered && f.next < args {
		f.literal("%!(EXTRA ")
		for i := f.next; i < args; i++ {
			if i > f.next {
				f.literal(", ")
			}
			f.found = append(f.found, directive{verb: "%v", arg: i, extra: true})
		}
		f.literal(")")
	}
	return f.found, !f.misplaced
}

type formatReader struct {
	format    string
	args      int
	at        int // byte of the format
	next      int // argument
	good      bool
	reordered bool // an argument was named by its number
	misplaced bool // there is no verb behind one
	found     []directive
}

func (f *formatReader) literal(text string) {
	if text != "" {
		f.found = append(f.found, directive{text: text})
	}
}

// take reads the bytes of a set.
func (f *formatReader) take(set string) string {
	rest := f.format[f.at:]
	taken := rest[:len(rest)-len(strings.TrimLeft(rest, set))]
	f.at += len(taken)
	return taken
}

// number reads the number of an argument in brackets.
func (f *formatReader) number() bool {
	rest := f.format[f.at:]
	if !strings.HasPrefix(rest, "[") {
		return false
	}
	f.reordered = true
	inside, _, closed := strings.Cut(rest[1:], "]")
	if !closed || len(rest) < len("[1]") {
		f.at++
		f.good = false
		return false
	}
	f.at += len(inside) + len("[]")
	n, err := strconv.Atoi(inside)
	ok := err == nil && strings.Trim(inside, "0123456789") == ""
	if ok && n >= 1 && n <= f.args {
		f.next = n - 1
		return true
	}
	f.good = false
	return ok
}

const digits = "0123456789"

// directive reads what follows a percent sign.
func (f *formatReader) directive() {
	f.good = true
	verb := "%" + f.take("#0+- ")
	numbered := f.number()
	width := f.take(digits)
	if numbered && width != "" {
		f.good = false
	}
	verb += width
	if strings.HasPrefix(f.format[f.at:], ".") && f.at+1 < len(f.format) {
		f.at++
		f.good = f.good && !numbered
		numbered = f.number()
		verb += "." + f.take(digits)
	}
	if !numbered {
		f.number()
	}
	if f.at >= len(f.format) {
		f.literal("%!(NOVERB)")
		return
	}
	r, size := utf8.DecodeRuneInString(f.format[f.at:])
	f.at += size
	switch {
	case r == '%':
		f.literal("%")
	case !f.good:
		f.literal("%!" + string(r) + "(BADINDEX)")
	case f.next >= f.args:
		f.literal("%!" + string(r) + "(MISSING)")
	default:
		f.misplaced = f.misplaced || strings.ContainsRune("[*#+- "+digits, r)
		f.found = append(f.found, directive{verb: verb + string(r), arg: f.next})
		f.next++
	}
}

// formatted is the function printf with a constant format.
func formatted(parts []directive) *function {
	return &function{yields: textKind, compose: func(r *rendering, args []value) []piece {
		made := pieces{r: r}
		for _, d := range parts {
			if made.full() { // and the next part may take many times what it shows
				made.add(incident.Ellipsis, false)
				break
			}
			text, cluster := d.text, false
			if d.verb != "" {
				text, cluster = d.format(r, args[d.arg]), args[d.arg].cluster
			}
			if !made.add(text, cluster) {
				break
			}
		}
		return made.done()
	}}
}

// format shows a value. Its result is at most ten times as long as what is given to it.
func (d directive) format(r *rendering, v value) string {
	if !r.look(v) {
		return ""
	}
	if d.extra && v.data != nil {
		return fmt.Sprintf("%T=%v", v.data, v.data)
	}
	return fmt.Sprintf(d.verb, v.data)
}
