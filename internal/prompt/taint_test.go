package prompt

import (
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/hook/hooktest"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/test/injections"
)

var place = regexp.MustCompile("⟦[^⟦⟧]*⟧")

// instructions are what is left of a prompt without the marked places and the notice.
func instructions(prompt string) string {
	return place.ReplaceAllString(strings.TrimSuffix(prompt, Notice), "")
}

func TestNoAttemptGetsOutOfItsPlaceInAPrompt(t *testing.T) {
	prompts := map[string]string{ // and what is left of them without data
		"Look at it.":                                                               "Look at it.",
		"It said {{.EventMessage}}. Mend it.":                                       "It said . Mend it.",
		"{{$.Message}}{{.Reason}}":                                                  "",
		"{{$m := .EventMessage}}A{{$m}}B":                                           "AB",
		"{{$a := .Reason}}{{$b := $a}}A{{$b}}B":                                     "AB",
		"{{.EventMessage | upper | quote}}!":                                        "!",
		"{{truncate 40 .EventMessage}}!":                                            "!",
		`{{printf "On %s: %v!" .Node .Message}}`:                                    "On : !",
		`{{print "On " .Node}}`:                                                     "On ",
		`{{printf "%.9s|%-9s" .Message .Reason}}`:                                   "",
		`{{printf "Say %s" .Message | truncate 20}}!`:                               "!",
		`{{or .EventMessage "none"}} {{and true .Reason}}`:                          " ",
		`{{if contains "x" .EventMessage}}A{{.Node}}{{else}}A{{.Container}}{{end}}`: "A",
		`{{default "none" .Container}}|{{replace "a" "b" .Workload}}|`:              "||",
	}
	tried := 0
	for text, want := range prompts {
		p, err := Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		for _, attempt := range injections.All() {
			got := p.Render(hooktest.Hostile(attempt))
			if strings.ContainsFunc(got, func(r rune) bool { return unicode.IsControl(r) && r != '\n' || unicode.Is(unicode.Cf, r) }) || len(got) > delivery.MaxPrompt {
				t.Errorf("%s of %.80q: %d bytes, or invisible characters: %.300q", text, attempt, len(got), got)
			}
			if seen := incident.Clean(attempt, maxValue); seen == "" || plainWord.MatchString(seen) {
				continue // there is nothing to mark
			}
			tried++
			if left := instructions(got); left != want || strings.Contains(got, OpenMark) != strings.HasSuffix(got, Notice) {
				t.Errorf("%s of %.80q: the instructions are %q in\n%.300q", text, attempt, left, got)
			}
		}
	}
	if tried < 60*len(prompts) {
		t.Errorf("only %d attempts", tried)
	}
}

func TestConditionsOfAPromptSeeTheBareValue(t *testing.T) {
	p, err := Parse(`{{if eq .Reason "OOMKilled"}}memory{{end}} {{if contains "two words" .EventMessage}}{{len .EventMessage}}{{end}} {{.Reason}} {{.ResourceName}} {{.Workload}}`)
	if err != nil {
		t.Fatal(err)
	}
	f := hooktest.OOMFacts()
	f.Signal.Message = "two words"
	got := p.Render(f)
	if want := "memory 9 OOMKilled cart-5d9-x " + f.Signal.Workload.String(); got != want {
		t.Errorf("%q", got)
	}
}

func TestAPromptThatIsCutLeavesNoPlaceOpen(t *testing.T) {
	p, err := Parse(strings.Repeat("{{.EventMessage}}", 500))
	if err != nil {
		t.Fatal(err)
	}
	for n := range 40 { // the cut is somewhere else each time
		got := p.Render(hooktest.Hostile(strings.Repeat("A ", 400+n)))
		if len(got) > delivery.MaxPrompt || instructions(got) != "" || !strings.HasSuffix(got, incident.Ellipsis+CloseMark+Notice) {
			t.Errorf("%d: %d bytes, left %.80q, ends in %q", n, len(got), instructions(got), got[len(got)-200:])
		}
	}
}

func TestAHookCannotWriteTheMarks(t *testing.T) {
	for _, text := range []string{"a ⟦ b", "{{.Reason}}⟧"} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), "mark data of the cluster") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
