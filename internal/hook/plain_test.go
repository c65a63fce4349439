package hook

import (
	"strings"
	"testing"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/hook/hooktest"
	"github.com/kagent-dev/khook/internal/prompt"
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
	withMarks := "It said ⟦container app was OOM-killed⟧. n1" + prompt.Notice
	for _, tc := range []struct {
		allowed       bool
		first, second string
	}{{true, plain, withMarks}, {false, withMarks, withMarks}} {
		configs, errs := Compile(plainHook(), Policy{AgentNamespaces: []string{"kagent"}, PlainValues: tc.allowed})
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		for i, want := range []string{tc.first, tc.second} {
			if got, err := configs[i].Render(hooktest.OOMFacts()); got != want || err != nil {
				t.Errorf("allowed %v, configuration %d: %q, %v", tc.allowed, i, got, err)
			}
		}
	}
}

func TestAFaultWhileCompilingMakesOneConfigurationInvalid(t *testing.T) {
	h := hookWith(nil)
	h.Spec.EventConfigurations = append(h.Spec.EventConfigurations, h.Spec.EventConfigurations[0])
	const fault = "a prompt that the parser has a fault with"
	parsePrompt = func(text string) (*prompt.Template, error) {
		if text == fault {
			panic("a fault")
		}
		return prompt.Parse(text)
	}
	defer func() { parsePrompt = prompt.Parse }()
	h.Spec.EventConfigurations[0].Prompt = fault
	set := NewSet(policy)
	if errs := set.Put(h); len(errs) != 1 || !strings.Contains(errs[0].Error(), "spec.eventConfigurations[0]: Internal error: khook has a fault that this Hook shows, please report it") {
		t.Errorf("%v", errs)
	}
	configs := set.Matching(hooktest.OOMFacts())
	if len(configs) != 2 || configs[0].Invalid == "" || configs[1].Invalid != "" {
		t.Fatalf("%+v", configs)
	}
	if got, err := configs[1].Render(hooktest.OOMFacts()); err != nil || got == "" {
		t.Errorf("the other one: %q, %v", got, err)
	}
}
