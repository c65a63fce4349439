package prompt

import (
	"fmt"
	"math"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"text/template"

	"pgregory.net/rapid"

	"github.com/kagent-dev/khook/internal/capacity/capacitytest"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/hook/hooktest"
	"github.com/kagent-dev/khook/internal/incident"
)

// maxAllocated bounds what compiling a prompt of any text and rendering it for an event may allocate
// in all, garbage included: the tree and the steps of 10,000 characters, and a few renderings.
const maxAllocated = 8 << 20

// longFacts are an event all of whose texts are as long as they can be.
func longFacts() incident.Facts { return hooktest.Hostile(strings.Repeat("say ⟦\u07f7\"", 4_000)) }

func TestNoPromptMakesMoreTextThanItsBudget(t *testing.T) {
	for name, text := range hooktest.PromptBombs() {
		t.Run(name, func(t *testing.T) {
			var err error
			for _, facts := range []incident.Facts{hooktest.OOMFacts(), longFacts(), exitCode(77)} {
				took := capacitytest.Allocated(t, func() {
					var p *Template
					if p, err = Parse(text); err == nil {
						p.Render(facts)
					}
				})
				if took > maxAllocated {
					t.Fatalf("%d bytes make khook allocate %d", len(text), took)
				}
			}
			if gone := err != nil; gone == (name == "in a branch" || name == "behind an and" || name == "in an else") {
				t.Errorf("%v: a prompt over its budget is refused, unless that is so for some events only", err)
			} else if gone && !strings.Contains(err.Error(), "make more than 64 KiB of text, or one of them more than 32 KiB: use fewer, and truncate") {
				t.Errorf("it does not say what to change: %v", err)
			}
		})
	}
}

func exitCode(code int32) incident.Facts {
	f := hooktest.OOMFacts()
	s := *f.Signal
	pod := s.Attributes.PodOrZero()
	pod.ExitCode = &code
	s.Attributes.Pod = &pod
	f.Signal = &s
	return f
}

func TestNoPromptNeedsMoreThanAFewMegabytesOfStack(t *testing.T) {
	const most = 4 << 20
	for _, text := range []string{
		"{{" + strings.Repeat("(", 9_900), "{{" + strings.Repeat("(", 999) + "1" + strings.Repeat(")", 999) + "}}", strings.Repeat("{{if 1}}", 1_240),
		"{{if 1}}" + strings.Repeat("{{else if 1}}", 760) + "{{end}}", strings.Repeat("{{range 1}}", 900),
	} {
		var before, after runtime.MemStats
		runtime.GC() // which shrinks stacks
		runtime.ReadMemStats(&before)
		done := make(chan bool)
		go func() {
			defer close(done)
			_, _ = Parse(text)
			runtime.ReadMemStats(&after)
		}()
		if <-done; after.StackInuse > before.StackInuse+most {
			t.Errorf("%.20s…: %d KiB", text, (after.StackInuse-before.StackInuse)>>10)
		}
	}
}

func TestAPromptOverItsBudgetOnOneEventIsCutAndGoesOut(t *testing.T) {
	for prompt, want := range map[string]string{
		`{{$x := "aaaaaaaa"}}{{if eq .ExitCode 77}}` + strings.Repeat(`{{$x = print $x $x $x $x}}`, 14) + `{{end}}{{$x}} Then look at {{.Container}}.`: "… Then look at a.",
		`{{$x := .EventMessage}}` + strings.Repeat(`{{$x = print $x $x}}`, 6) + `{{len $x}} {{$x = truncate 9 $x}}{{quote $x}}`:                        "2048 ⟦…⟧" + Notice,
		`Look. {{$m := .EventMessage}}{{$x := print $m $m $m $m $m $m $m $m}}` +
			strings.Repeat(`{{if eq $x $x "a" $x}}{{end}}`, 60) + `never`: "Look. …",
	} {
		p, err := Parse(prompt)
		if err != nil {
			t.Fatal(err)
		}
		f := hooktest.Hostile(strings.Repeat("a ", 2_000))
		f.Signal.Container = "a"
		code := int32(77)
		f.Signal.Attributes.Pod = &incident.PodAttributes{ExitCode: &code}
		if got := p.Render(f); got != want {
			t.Errorf("%.60s: %d bytes, %.60q", prompt, len(got), got)
		}
	}
}

// genTemplate draws a template of the grammar, of up to about 10,000 characters, in which values of all
// kinds meet functions of all kinds.
type genTemplate struct {
	t    *rapid.T
	vars []string
	left int // pieces
}

func (g *genTemplate) one(of ...string) string { return rapid.SampledFrom(of).Draw(g.t, "piece") }

func (g *genTemplate) value(depth int) string {
	g.left--
	n := rapid.IntRange(0, 9).Draw(g.t, "value")
	if depth <= 0 || g.left < 0 {
		n %= 5
	}
	switch n {
	case 0:
		return "." + g.one(VariableNames()...)
	case 1:
		return g.one("5", "-1", "1.5", "1e3", "0x1F", "'a'", "2i", "9223372036854775807", "18446744073709551615", "1e400")
	case 2:
		return g.one(`"a"`, "`b c`", `"\u27e6"`, `""`, `"\x01é"`, `"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"`, "true", "nil", ".", "$")
	case 3, 4:
		if len(g.vars) > 0 {
			return g.one(g.vars...)
		}
		return "$.Message"
	case 5:
		return "(" + g.pipe(depth-1) + ")"
	}
	return "(" + g.command(depth-1) + ")"
}

func (g *genTemplate) command(depth int) string {
	name := g.one("upper", "lower", "trim", "quote", "contains", "replace", "default", "truncate", "and", "or", "not", "len", "print", "printf", "eq", "ne", "lt", "le", "gt", "ge", "html")
	n := map[string]int{"contains": 2, "default": 2, "truncate": 2, "replace": 3, "and": 2, "or": 2, "eq": 2, "ne": 2, "lt": 2, "le": 2, "gt": 2, "ge": 2, "print": 3}[name]
	if name == "printf" {
		return `printf "` + g.one("%s", "%v %d", "%[2]v%[1]q", "%9.2f|%x", "%[1]s%[1]s%[1]s", "%T%c%U", "%+q %%", "%!", "%[3]", "%-99s", "%") + `" ` + g.value(depth) + " " + g.value(depth)
	}
	parts := []string{name}
	for range max(1, n) + rapid.SampledFrom([]int{0, 0, 0, 0, 0, 1}).Draw(g.t, "more") {
		parts = append(parts, g.value(depth))
	}
	return strings.Join(parts, " ")
}

func (g *genTemplate) pipe(depth int) string {
	s := g.value(depth)
	if rapid.Bool().Draw(g.t, "command") {
		s = g.command(depth)
	}
	for range rapid.IntRange(0, 3).Draw(g.t, "stages") {
		s += " | " + g.one("upper", "quote", "trim", `replace "a" "aaaaaaaaaaaaaaaa"`, `printf "%s%[1]s"`, "len", "not", "print 1", "truncate 40", `default "x"`, "and true", `or ""`)
	}
	return s
}

func (g *genTemplate) list(depth int) string {
	var b strings.Builder
	vars := len(g.vars)
	for range rapid.IntRange(1, 5).Draw(g.t, "list") {
		if g.left--; g.left < 0 {
			break
		}
		switch rapid.IntRange(0, 5).Draw(g.t, "node") {
		case 0:
			b.WriteString(g.one("Look. ", "{ } ", "{{/* no */}}", "é"))
		case 1, 2:
			b.WriteString(g.one("{{", "{{- ") + g.pipe(2) + g.one("}}", " -}}"))
		case 3:
			name := g.one("$x", "$ä", "$y1")
			b.WriteString("{{" + name + " := " + g.pipe(2) + "}}")
			g.vars = append(g.vars, name)
		case 4:
			if len(g.vars) > 0 {
				name := g.one(g.vars...)
				b.WriteString("{{" + name + " = " + g.one("", "print "+name+" "+name+" | ") + g.one("print "+name+" "+name, g.pipe(2)) + "}}")
			}
		case 5:
			if depth > 0 {
				b.WriteString("{{if " + g.pipe(1) + "}}" + g.list(depth-1) + g.one("", "{{else}}"+g.list(depth-1), "{{else if .Count}}"+g.list(depth-1)) + "{{end}}")
			}
		}
	}
	g.vars = g.vars[:min(vars, len(g.vars))]
	return b.String()
}

func drawTemplate(t *rapid.T) string {
	if rapid.IntRange(0, 9).Draw(t, "raw") == 0 {
		return "{{" + rapid.StringN(0, 200, 10_000).Draw(t, "text")
	}
	g := &genTemplate{t: t, left: rapid.IntRange(2, 60).Draw(t, "size")}
	text := g.list(3)
	times := rapid.SampledFrom([]int{1, 1, 1, 10, 400}).Draw(t, "times")
	return strings.Repeat(text, min(times, max(1, MaxLength/max(1, len(text)))))
}

func drawFacts(t *rapid.T) incident.Facts {
	text := rapid.SampledFrom([]string{"", "a", "OOMKilled", "two words", "⟦a⟧ \"b\"", strings.Repeat("a ", 600), strings.Repeat("\u07f7 ", 600)})
	f := hooktest.Hostile(text.Draw(t, "text"))
	f.Signal.Message = text.Draw(t, "message")
	pod := &incident.PodAttributes{RestartCount: rapid.Int32().Draw(t, "restarts")}
	f.Signal.Attributes.Pod, f.Signal.Count = pod, rapid.Int32Range(0, math.MaxInt32).Draw(t, "count")
	code := rapid.SampledFrom([]int32{0, 1, 5, 77, 137, -1}).Draw(t, "code")
	pod.ExitCode = &code
	return f
}

func TestEveryPromptThatCompilesRendersForEveryEventWithinItsBounds(t *testing.T) {
	compiled := 0
	rapid.Check(t, func(t *rapid.T) {
		for range 10 { // few of them compile
			checkBounds(t, drawTemplate(t), drawFacts(t), &compiled)
		}
	})
	if compiled < 100 {
		t.Errorf("only %d prompts compiled", compiled)
	}
}

// checkBounds checks what is promised of every text that is given as a prompt.
func checkBounds(t interface {
	Helper()
	Errorf(string, ...any)
}, text string, facts incident.Facts, compiled *int) {
	t.Helper()
	var p *Template
	var err error
	got := ""
	took := capacitytest.Allocated(t, func() {
		if p, err = Parse(text); err == nil {
			got = p.Render(facts)
		}
	})
	switch {
	case err == nil:
		*compiled++
	case len(err.Error()) > incident.MaxMessage:
		t.Errorf("the error has %d bytes", len(err.Error()))
	}
	if took > maxAllocated {
		t.Errorf("%d bytes allocated for %.200q", took, text)
	}
	if len(got) > delivery.MaxPrompt {
		t.Errorf("%d bytes of %.200q", len(got), text)
	}
	if err != nil {
		return
	}
	r := p.run(variables(facts))
	if most := maxMade + 3*len(text); r.made > most || r.seen > maxSeen+maxMade+1 {
		t.Errorf("%d bytes made, %d looked at, by %.200q", r.made, r.seen, text)
	}
}

// TestNoTextOfTheClusterIsPrintedWithoutMarks lets every text of the cluster be in letters that no
// template has, and looks for them outside of marks.
func TestNoTextOfTheClusterIsPrintedWithoutMarks(t *testing.T) {
	seen := 0
	rapid.Check(t, func(t *rapid.T) {
		for range 20 {
			p, err := Parse(drawTemplate(t))
			if err != nil {
				continue
			}
			got := p.Render(hooktest.Hostile("ж ⟧ Жж ⟦ ж"))
			if left := instructions(got); strings.ContainsAny(left, "жЖ"+OpenMark+CloseMark) {
				t.Errorf("outside of marks: %q", left)
			}
			if strings.Contains(got, "ж") {
				seen++
			}
		}
	})
	if seen < 30 {
		t.Errorf("only %d prompts showed a text of the cluster", seen)
	}
}

// TestPromptsMeanWhatGoTemplatesMean compares with text/template itself where that neither fails nor
// grows over the budgets.
func TestPromptsMeanWhatGoTemplatesMean(t *testing.T) {
	compared := 0
	rapid.Check(t, func(t *rapid.T) {
		for range 10 {
			if comparesWithGo(t, drawTemplate(t), drawFacts(t)) {
				compared++
			}
		}
	})
	if compared < 100 {
		t.Errorf("only %d prompts compared", compared)
	}
}

// comparesWithGo says whether there was something to compare.
func comparesWithGo(t *rapid.T, text string, facts incident.Facts) bool {
	p, err := Parse(text)
	if err != nil {
		return false
	}
	r := p.WithPlainValues().run(variables(facts))
	if r.over || r.ended() {
		return false
	}
	var want strings.Builder
	if err := template.Must(template.New("prompt").Funcs(goFunctions).Parse(text)).Execute(&want, variables(facts)); err != nil {
		return false
	}
	if got := r.text(); got != want.String() {
		t.Errorf("%s\ngot  %.300q\nwant %.300q", text, got, want.String())
	}
	return true
}

func TestFormatsMeanWhatFmtMeans(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b strings.Builder
		for range rapid.IntRange(1, 6).Draw(t, "pieces") {
			b.WriteString(rapid.SampledFrom([]string{"%", "%", "%", "s", "v", "d", "q", "x", "T", "p", "w", "c", "é", "%%", "[1]", "[2]", "[9]", "[x]", "[]", "[", "]", "9", ".", "0", "+", "-", "#", " ", "f", "!"}).Draw(t, "piece"))
		}
		format := b.String()
		if wide.MatchString(format) {
			return
		}
		values := rapid.SliceOfN(rapid.SampledFrom([]any{"a\"b", 5, 1.5, true, nil, "é"}), 0, 3).Draw(t, "values")
		args := make([]value, len(values))
		for i, v := range values {
			args[i] = value{data: v}
		}
		parts, ok := directives(format, len(args))
		if !ok {
			return
		}
		r := &rendering{}
		if got, want := join(formatted(parts).compose(r, args)).data, fmt.Sprintf(format, values...); got != want {
			t.Errorf("%q of %v: got %q, want %q", format, values, got, want)
		}
	})
}

func FuzzParsePrompt(f *testing.F) {
	for _, s := range []string{"{{.ResourceName}}", "{{if .Reason}}a{{else}}b{{end}}", "{{printf \"%5d\" .Count}}", "{{range 3}}{{end}}", "{{define \"prompt\"}}{{end}}a", "{{.}}"} {
		f.Add(s)
	}
	for _, s := range hooktest.PromptBombs() {
		f.Add(s)
	}
	compiled := 0
	f.Fuzz(func(t *testing.T, text string) { checkBounds(t, text, longFacts(), &compiled) })
}

// goFunctions are the functions of a prompt, without bounds.
var goFunctions = template.FuncMap{
	"upper": strings.ToUpper, "lower": strings.ToLower, "trim": strings.TrimSpace, "quote": strconv.Quote,
	"contains": func(part, s string) bool { return strings.Contains(s, part) },
	"replace":  func(old, repl, s string) string { return strings.ReplaceAll(s, old, repl) },
	"default": func(fallback, s string) string {
		if s == "" {
			return fallback
		}
		return s
	},
	"truncate": func(n int, s string) string { return incident.Truncate(s, max(n, len(incident.Ellipsis))) },
}
