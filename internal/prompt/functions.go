package prompt

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// kinds are the kinds of values that an expression may yield, or that a function takes.
type kinds uint8

const (
	textKind kinds = 1 << iota
	integerKind
	floatKind
	complexKind
	truthKind
	nothingKind
	anyKind = textKind | integerKind | floatKind | complexKind | truthKind | nothingKind
)

var kindNames = []string{"a text", "an integer", "a number", "a complex number", "true or false", "nothing"}

func (k kinds) String() string {
	var names []string
	for i, name := range kindNames {
		if k&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, " or ")
}

// function is what a template can call. It takes values of any kind: a variable that holds a text on
// one event may hold a number on another, so each has a result for whatever it is given.
type function struct {
	takes  []kinds // of its parameters
	more   kinds   // of any further ones; 0: there are none
	yields kinds
	makes  bool // a new text
	call   func(r *rendering, args []value) value
	// compose is call for a function that puts its arguments beside each other.
	compose func(r *rendering, args []value) []piece
}

// functions are all that a prompt template can call, beside the comparisons, "and" and "or".
var functions = map[string]*function{
	"upper": maker([]kinds{textKind}, func(a []value) string { return strings.ToUpper(a[0].text()) }),
	"lower": maker([]kinds{textKind}, func(a []value) string { return strings.ToLower(a[0].text()) }),
	"quote": maker([]kinds{textKind}, func(a []value) string { return strconv.Quote(a[0].text()) }),
	"trim": {takes: []kinds{textKind}, yields: textKind, call: func(_ *rendering, a []value) value {
		return value{strings.TrimSpace(a[0].text()), a[0].cluster}
	}},
	"contains": {takes: []kinds{textKind, textKind}, yields: truthKind, call: func(_ *rendering, a []value) value {
		return value{data: strings.Contains(a[1].text(), a[0].text())}
	}},
	"replace": {takes: []kinds{textKind, textKind, textKind}, yields: textKind, makes: true, call: func(r *rendering, a []value) value {
		return value{r.keep(replaced(r.room(), a[0].text(), a[1].text(), a[2].text())), anyOfCluster(a)}
	}},
	"default": {takes: []kinds{textKind, textKind}, yields: textKind, call: func(_ *rendering, a []value) value {
		if a[1].text() == "" {
			return a[0]
		}
		return a[1]
	}},
	"truncate": {takes: []kinds{integerKind, textKind}, yields: textKind, makes: true, call: func(r *rendering, a []value) value {
		n, ok := a[0].data.(int)
		if !ok { // a variable that is a number on other events
			return a[1]
		}
		return value{r.keep(cut(a[1].text(), n)), a[1].cluster}
	}},
	"len": {takes: []kinds{textKind}, yields: integerKind, call: func(_ *rendering, a []value) value {
		return value{data: len(a[0].text())}
	}},
	"not": {takes: []kinds{anyKind}, yields: truthKind, call: func(_ *rendering, a []value) value {
		return value{data: !truth(a[0])}
	}},
	"print":  {more: anyKind, yields: textKind, compose: sprintPieces},
	"printf": {takes: []kinds{textKind}, more: anyKind, yields: textKind}, // see the compiler
	"eq": {takes: []kinds{anyKind, anyKind}, more: anyKind, yields: truthKind, call: func(_ *rendering, a []value) value {
		for _, other := range a[1:] {
			if equal(a[0], other) {
				return value{data: true}
			}
		}
		return value{data: false}
	}},
	"ne": {takes: []kinds{anyKind, anyKind}, yields: truthKind, call: func(_ *rendering, a []value) value {
		return value{data: !equal(a[0], a[1])}
	}},
	"lt": order(func(c int) bool { return c < 0 }),
	"le": order(func(c int) bool { return c <= 0 }),
	"gt": order(func(c int) bool { return c > 0 }),
	"ge": order(func(c int) bool { return c >= 0 }),
}

// maker is a function that makes a text of its arguments. It may compute at most five times what it
// was given, which is at most maxResult.
func maker(takes []kinds, build func(args []value) string) *function {
	return &function{takes: takes, yields: textKind, makes: true, call: func(r *rendering, a []value) value {
		return value{r.keep(build(a)), anyOfCluster(a)}
	}}
}

// replaced is strings.ReplaceAll that makes as many replacements as can be in the first bytes of the
// result: it is at most len(s) and limit and one replacement long.
func replaced(limit int, old, repl, s string) string {
	n := -1
	if growth := len(repl) - len(old); growth > 0 {
		n = limit/growth + 1
	}
	return strings.Replace(s, old, repl, n)
}

// equal compares two values. Those of different kinds are not equal.
func equal(a, b value) bool { return a.data == b.data }

// ordered are the kinds that have an order.
const ordered = textKind | integerKind | floatKind

// order is a function that compares two values of one kind. Of others none is less or greater.
func order(holds func(c int) bool) *function {
	return &function{takes: []kinds{ordered, ordered}, yields: truthKind, call: func(_ *rendering, a []value) value {
		c, ok := compare(a[0].data, a[1].data)
		return value{data: ok && holds(c)}
	}}
}

// compare returns -1, 0 or 1, and false for values that have no order.
func compare(a, b any) (int, bool) {
	switch a := a.(type) {
	case string:
		other, ok := b.(string)
		return strings.Compare(a, other), ok
	case int:
		other, ok := b.(int)
		return cmp.Compare(a, other), ok
	case float64:
		other, ok := b.(float64)
		return cmp.Compare(a, other), ok
	}
	return 0, false
}

// sprint is fmt.Sprint of one value. But for texts, it is short.
func sprint(data any) string {
	if s, ok := data.(string); ok {
		return s
	}
	return fmt.Sprint(data)
}

// sprintPieces is fmt.Sprint, which puts spaces between operands when neither is a text.
func sprintPieces(r *rendering, args []value) []piece {
	made := pieces{r: r}
	for i, arg := range args {
		if i > 0 && !isText(args[i-1]) && !isText(arg) && !made.add(" ", false) {
			break
		}
		if !made.add(sprint(arg.data), arg.cluster) {
			break
		}
	}
	return made.done()
}

func isText(v value) bool {
	_, ok := v.data.(string)
	return ok
}
