package hook

import (
	"strings"
	"testing"
)

// matchBombs are expressions that can be written in 1,024 characters, and what becomes of them.
var matchBombs = map[string]struct{ text, refused string }{
	"replace":               {"event.message" + strings.Repeat(".replace('', 'aaaaaaaaaaa')", 30) + " == 'x'", ""},
	"replace of a constant": {"'aaaaaaaaaa'" + strings.Repeat(".replace('a', 'aaaaaaaaaaa')", 30) + " == 'x'", ""},
	"one long replacement":  {"event.message.replace('', '" + strings.Repeat("a", 900) + "') == 'x'", ""},
	"join":                  {"[event.message]" + strings.Repeat(".map(a, [a, a, a, a, a, a, a, a, a].join(a))", 19) + " == ['x']", ""},
	"format":                {"[event.message]" + strings.Repeat(".map(a, '%s%s%s%s%s%s'.format([a, a, a, a, a, a]))", 18) + " == ['x']", ""},
	"concatenation":         {"[event.message]" + strings.Repeat(".map(a, a + a + a + a + a + a + a)", 20) + " == ['x']", ""},
	"split and join":        {"['a']" + strings.Repeat(".map(a, a.split('').join('aaaaaaaaaaaaaaa'))", 20) + " == ['x']", ""},
	"quote":                 {"event.message" + strings.Repeat(".replace('a', '\\\\\\\\')", 30) + " == 'x'", ""},
	"lists of lists":        {"[[event.name]]" + strings.Repeat(".map(a, [a, a])", 50) + " == [[]]", "can't be put into lists"},
	"hidden lists of lists": {"[dyn([event.name])]" + strings.Repeat(".map(a, [a, a])", 20) + " == []", "can't be put into lists"},
	"doubling types":        {"[event.name]" + strings.Repeat(".map(a, {a: a})", 50) + " == []", "can't be put into lists"},
	"more doubling types":   {"[event.name]" + strings.Repeat(".map(a, true ? {a: a} : {a: a})", 30) + " == []", "more than 20"},
	"fewer doubling types":  {"[event.name]" + strings.Repeat(".map(a, true ? {a: a} : {a: a})", 18) + " == []", "more than 4 maps"},
	"deep lists":            {strings.Repeat("[", 240) + "1" + strings.Repeat("]", 240) + " == []", "can't be put into lists"},
	"deep loops":            {strings.Repeat("[1].all(a, ", 60) + "true" + strings.Repeat(")", 60), "more than 20"},
	"lists of lists of few": {"[[event.name]]" + strings.Repeat(".map(a, [a, a])", 20) + " == [[]]", "can't be put into lists"},
	"variables hide lists":  {"[event.name]" + strings.Repeat(".map(a, [a, a])", 20) + " == []", "can't be put into lists"},
	"maps of lists":         {"{'a': [event.name]} == {'a': ['b']}", "can't be put into lists"},
	"large pattern":         {"event.message.matches('" + strings.Repeat("a{1000}", 100) + "')", "takes more than 2000 steps"},
	"pattern of a text":     {"event.message.matches(event.reason + 'b')", ""},
	"wrong pattern":         {"event.message.matches('(')", "missing closing )"},
	"mistakes":              {strings.Repeat("[a.map(, '%s'.format([a, a, a\x11S.)", 30), "Syntax error"},
	"wide precision":        {"'%.999999999f'.format([1.5]) == 'x'", ""},
}

// maxMatchAllocated bounds what compiling a match expression of any text and asking it about an event
// may allocate in all, garbage included. The most is that of CEL's parser, for a text full of mistakes.
const maxMatchAllocated = 128 << 20

func TestNoMatchExpressionTakesMoreThanItsBounds(t *testing.T) {
	if _, err := celEnv(); err != nil { // which takes a while, once
		t.Fatal(err)
	}
	f := hostile(strings.Repeat("a", 1024))
	for name, bomb := range matchBombs {
		t.Run(name, func(t *testing.T) {
			matched, err := matchWithinBounds(t, bomb.text, f)
			if matched || len(bomb.text) > maxMatch {
				t.Errorf("%d characters match: %v", len(bomb.text), matched)
			}
			if bomb.refused != "" && (err == nil || !strings.Contains(err.Error(), bomb.refused)) {
				t.Errorf("not refused for that: %v", err)
			}
		})
	}
}

func matchWithinBounds(t *testing.T, text string, f Facts) (matched bool, err error) {
	t.Helper()
	if took := allocated(t, func() {
		var e *expression
		if e, err = parseMatch(text); err == nil {
			matched = matches(e, f)
		}
	}); took > maxMatchAllocated {
		t.Errorf("%d bytes allocated for %s", took, text)
	}
	return matched, err
}

func matches(e *expression, f Facts) bool {
	verdict, _ := e.evaluate(celEventOf(f))
	return verdict == Match
}

func FuzzParseMatch(f *testing.F) {
	for _, bomb := range matchBombs {
		f.Add(bomb.text)
	}
	long := hostile(strings.Repeat("a", 1024))
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) <= maxMatch {
			_, _ = matchWithinBounds(t, text, long)
		}
	})
}

func TestMatchExpressionsAsPeopleWriteThemStillMatch(t *testing.T) {
	f := oomFacts()
	f.Signal.Message = strings.Repeat("all is well ", 84) + "OOM"
	for _, text := range []string{
		"event.message.matches('(?i)oom$') && event.reason in ['OOMKilled', 'Error']",
		"event.labels.exists(k, k.startsWith('ti') && event.labels[k] == 'front')",
		"['cart', 'pay'].exists(w, event.workloadName.contains(w)) && event.name.split('-').size() == 3",
		"'%s/%d'.format([event.name, event.count]) == 'cart-5d9-x/1'",
		"{'cart': 3}[event.workloadName] == event.restartCount",
		"[event.name, event.node].map(n, n.upperAscii()) == ['CART-5D9-X', 'N1']",
		strings.Repeat("event.message.lowerAscii().contains('not there') || ", 18) + "event.message.lowerAscii().contains('oom')",
	} {
		e, err := parseMatch(text)
		if err != nil || len(text) > maxMatch {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if !matches(e, f) {
			t.Errorf("%s does not match", text)
		}
	}
}
