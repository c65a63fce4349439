package hook

import (
	"strings"
	"testing"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/delivery"
)

// plainHook asks for plain values in its first configuration, and not in its second.
func plainHook() *v1alpha2.Hook {
	h := hookWith(func(e *v1alpha2.EventConfiguration) {
		e.Prompt, e.PlainValues = "It said {{.EventMessage}}. {{print .Node}}", true
	})
	second := h.Spec.EventConfigurations[0]
	second.PlainValues = false
	h.Spec.EventConfigurations = append(h.Spec.EventConfigurations, second)
	return h
}

func TestPlainValuesAreForHooksThatAskWhereTheOperatorAllows(t *testing.T) {
	const plain = "It said container app was OOM-killed. n1"
	withMarks := "It said ⟦container app was OOM-killed⟧. n1" + notice
	for _, tc := range []struct {
		allowed       bool
		first, second string
	}{{true, plain, withMarks}, {false, withMarks, withMarks}} {
		configs, errs := Compile(plainHook(), Policy{AgentNamespaces: []string{"kagent"}, PlainValues: tc.allowed})
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		for i, want := range []string{tc.first, tc.second} {
			if got, err := configs[i].Render(oomFacts()); got != want || err != nil {
				t.Errorf("allowed %v, configuration %d: %q, %v", tc.allowed, i, got, err)
			}
		}
	}
}

func TestAHookThatAsksForPlainValuesInVainIsCalledForAndTold(t *testing.T) {
	for _, allowed := range []bool{true, false} {
		set := NewSet(Policy{AgentNamespaces: []string{"kagent"}, PlainValues: allowed})
		w := NewStatusWriter(StatusConfig{Set: set})
		h := plainHook()
		c := w.ready(delivery.HookRef{Namespace: h.Namespace, Name: h.Name}, h)
		told := strings.Contains(c.Message, ". spec.eventConfigurations[0].plainValues: the operator does not allow plain values, so what the cluster says stays marked")
		if c.Status != "True" || told == allowed {
			t.Errorf("allowed %v: %s %s", allowed, c.Status, c.Message)
		}
	}
}

func TestValidateTellsThatPlainValuesAreNotAllowed(t *testing.T) {
	text := hookText("a", "eventType: oom-kill\n    agentId: kagent/medic\n    prompt: 'It said {{.EventMessage}}'\n    plainValues: true")
	report := Validate(t.Context(), []byte(text), ValidateOptions{Policy: policy})
	if !report.Valid || len(report.Warnings) != 1 || report.Warnings[0].Line != 9 || !strings.Contains(report.Warnings[0].Message, "remove this, or let the operator set --allow-plain-values") ||
		!strings.Contains(report.Prompts[0].Prompt, "said ⟦") {
		t.Errorf("%+v", report)
	}
	allowing := policy
	allowing.PlainValues = true
	report = Validate(t.Context(), []byte(text), ValidateOptions{Policy: allowing})
	if !report.Valid || len(report.Warnings) > 0 || strings.ContainsAny(report.Prompts[0].Prompt, markOpen+markClose) {
		t.Errorf("%+v", report)
	}
}

func TestNoPromptPrintsAllVariablesTogether(t *testing.T) {
	for _, text := range []string{"{{.}}", "{{$}}", "{{print .}}", "{{$x := .}}{{$x}}", "{{$x := $}}a", `{{printf "%v" .}}`, `{{. | printf "%v"}}`, "{{if .}}a{{end}}",
		"{{if $x := .}}{{$x}}{{end}}", "{{(.)}}", "{{($)}}", "{{print (and true .)}}", "{{or . 1}}", "{{eq . .}}", "{{if .Count}}{{else if len .}}{{end}}", "{{not $}}", "{{($).Reason}}"} {
		if _, err := ParsePrompt(text); err == nil || !strings.Contains(err.Error(), "stands for all variables together and can't be used: name one, such as .EventMessage") &&
			text != "{{($).Reason}}" {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestWhatCouldFailOnAnEventIsRefusedOrHasAResult(t *testing.T) {
	for prompt, want := range map[string]string{ // "": refused
		`{{$x := "a"}}{{if eq .ExitCode 1}}{{$x = 1}}{{else}}{{$x = "b"}}{{end}}{{upper $x}}`: "1",
		`{{$x := 1}}{{if eq .ExitCode 1}}{{$x = "a"}}{{end}}{{lt $x 5}} {{ge $x 5}}`:          "false false",
		`{{$x := or .Node .Count}}{{eq $x "n1"}}{{eq $x 1}}`:                                  "truefalse",
		`{{$n := 5}}{{if eq .ExitCode 1}}{{$n = "x"}}{{end}}{{truncate $n .Reason}}`:          "OOMKilled",
		`{{len (or .Node .Count)}}`:                     "2",
		`{{and .Node ($x := 1)}}{{$x}}`:                 "",
		`{{$y = 1}}`:                                    "",
		`{{upper .ExitCode}}`:                           "",
		`{{.Reason.Length}}`:                            "",
		`{{.Reason "x"}}`:                               "",
		`{{"a" | .Reason}}`:                             "",
		`{{upper}}`:                                     "",
		`{{eq .Reason 1}}`:                              "",
		`{{eq .Reason "a" 1}}`:                          "",
		`{{lt true false}}`:                             "",
		`{{truncate 1e99 .Reason}}`:                     "",
		`{{$ := 1}}{{$.Reason}}`:                        "",
		`{{if eq .ExitCode 1}}{{$x := 1}}{{end}}{{$x}}`: "",
		`{{printf "%s" 18446744073709551615}}`:          "",
		strings.Repeat("(", 200):                        strings.Repeat("(", 200),
		"{{" + strings.Repeat("(", 200) + "1" + strings.Repeat(")", 200) + "}}": "",
		"{{" + strings.Repeat("(", 9_000):                                       "",
		`{{define "prompt"}}{{end}}Look.`:                                       "",
		`{{define "prompt"}}Look.{{end}}`:                                       "",
		strings.Repeat("a", maxPrompt+1):                                        "",
	} {
		p, err := ParsePrompt(prompt)
		if want == "" {
			if err == nil {
				t.Errorf("%.80s is not refused", prompt)
			}
			continue
		}
		if err != nil {
			t.Errorf("%.80s: %v", prompt, err)
			continue
		}
		if got := p.Render(exitCode(1)); got != want {
			t.Errorf("%.80s: got %q, want %q", prompt, got, want)
		}
	}
}

func TestAFaultWhileCompilingMakesOneConfigurationInvalid(t *testing.T) {
	h := hookWith(nil)
	h.Spec.EventConfigurations = append(h.Spec.EventConfigurations, h.Spec.EventConfigurations[0])
	functions["panics"] = &function{takes: []kinds{textKind}, yields: textKind} // and has no code
	parsedFunctions["panics"] = true
	defer delete(functions, "panics")
	defer delete(parsedFunctions, "panics")
	h.Spec.EventConfigurations[0].Prompt = "{{print (panics .Reason)}}"
	set := NewSet(policy)
	if errs := set.Put(h); len(errs) != 1 || !strings.Contains(errs[0].Error(), "spec.eventConfigurations[0]: Internal error: khook has a fault that this Hook shows, please report it") {
		t.Errorf("%v", errs)
	}
	configs := set.Matching(oomFacts())
	if len(configs) != 2 || configs[0].Invalid == "" || configs[1].Invalid != "" {
		t.Fatalf("%+v", configs)
	}
	if got, err := configs[1].Render(oomFacts()); err != nil || got == "" {
		t.Errorf("the other one: %q, %v", got, err)
	}
}
