// Package hooktest has events, and texts that are meant to do harm, for the tests of what reads Hooks.
//
// It must not know how a Hook is read, nor what of it is refused: that is for the tests to say.
package hooktest

import (
	"strings"
	"time"

	"github.com/kagent-dev/khook/internal/incident"
)

// OOMFacts are an OOM kill.
func OOMFacts() incident.Facts {
	code := int32(137)
	return incident.Facts{Cluster: "prod", URL: "https://ops.example.com/khook/incidents/i-1", Signal: &incident.Signal{
		Key: "k", Kind: incident.Observed, Type: incident.OOMKill,
		At: time.Date(2026, 1, 15, 10, 30, 0, 0, time.UTC),
		Observation: incident.Observation{
			Resource: incident.Resource{Kind: "Pod", Namespace: "shop", Name: "cart-5d9-x", UID: "u1"}, Container: "app",
			Workload: incident.Workload{Kind: "Deployment", Name: "cart"}, Node: "n1",
			Attributes: incident.Attributes{Pod: &incident.PodAttributes{RestartCount: 3, ExitCode: &code, Labels: map[string]string{"app": "cart", "tier": "front"}}},
			Reason:     "OOMKilled", Message: "container app was OOM-killed",
		},
		Count: 1,
	}}
}

// Hostile are facts all of whose texts are an attempt.
func Hostile(attempt string) incident.Facts {
	f := OOMFacts()
	s := *f.Signal
	s.Message, s.Reason, s.Container, s.Node = attempt, attempt, attempt, attempt
	s.Resource.Name, s.Workload.Name = attempt, attempt
	f.Signal = &s
	return f
}

// PromptBombs are prompts of 400 to 450 bytes whose intermediate values grow with each step.
func PromptBombs() map[string]string {
	chain := func(start, step string, n int) string { return start + strings.Repeat(step, n) }
	return map[string]string{
		"replace":             chain(`{{"aaaaaaaaaa"`, ` | replace "a" "aaaaaaaaaaaaaaaaaaaaaaaaa"`, 10) + "}}",
		"replace of nothing":  chain(`{{"aaaaaaaaaa"`, ` | replace "" "aaaaaaaaaaaaaaaaaaaaaaaaa"`, 10) + "}}",
		"quote":               chain(`{{"\"\"\"\""`, ` | quote`, 50) + "}}",
		"print":               chain(`{{$x := .EventMessage}}{{$x = "aaaaaaaa"}}`, `{{$x = print $x $x $x $x}}`, 14) + "{{$x}}",
		"printf":              chain(`{{"aaaaaaaaaa"`, ` | printf "%[1]s%[1]s%[1]s%[1]s"`, 12) + "}}",
		"printf of widths":    chain(`{{$x := "a"}}`, `{{$x = printf "%99s%99s" $x $x}}`, 12) + "{{$x}}",
		"printf of %q":        chain(`{{"\x01"`, ` | printf "%+q%[1]q"`, 19) + "}}",
		"printf of %x":        chain(`{{"a"`, ` | printf "%# x"`, 25) + "}}",
		"upper":               chain(`{{$x := "ɐɐɐɐɐɐ"}}`, `{{$x = print (upper $x) $x}}`, 14) + "{{$x}}",
		"in a branch":         chain(`{{$x := "aaaaaaaa"}}{{if eq .ExitCode 77}}`, `{{$x = print $x $x $x $x}}`, 14) + "{{end}}",
		"behind an and":       `{{$x := and (eq .ExitCode 77) (` + chain(`"aaaaaaaaaa"`, ` | replace "a" "aaaaaaaaaaaaaaaaaaaaa"`, 9) + ")}}",
		"in an else":          `{{if .Cluster}}{{else if eq .ExitCode 77}}` + chain(`{{"a"`, ` | printf "%[1]s%[1]s%[1]s%[1]s"`, 12) + "}}{{end}}",
		"print after the end": chain(`{{$x := "aaaaaaaa"}}`, `{{$x = print $x $x $x $x}}`, 14) + strings.Repeat("{{len (quote $x)}}", 50),
	}
}

// MatchBombs are expressions that can be written in 1,024 characters, and what becomes of them.
var MatchBombs = map[string]struct{ Text, Refused string }{
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
	"mistakes":              {strings.Repeat("[a.map(, '%s'.format([a, a, a\x11S.)", 30), "this is no expression"},
	"wide precision":        {"'%.999999999f'.format([1.5]) == 'x'", ""},
}
