package hook

import (
	"strings"
	"testing"
)

func TestValidateTellsThatPlainValuesAreNotAllowed(t *testing.T) {
	text := hookText("a", "eventType: oom-kill\n    agentId: kagent/medic\n    prompt: 'It said {{.EventMessage}}'\n    plainValues: true")
	report := Validate(t.Context(), []byte(text), ValidateOptions{Policy: lintPolicy})
	if !report.Valid || len(report.Warnings) != 1 || report.Warnings[0].Line != 9 || !strings.Contains(report.Warnings[0].Message, "remove this, or let the operator set --allow-plain-values") ||
		!strings.Contains(report.Prompts[0].Prompt, "said ⟦") {
		t.Errorf("%+v", report)
	}
	allowing := lintPolicy
	allowing.PlainValues = true
	report = Validate(t.Context(), []byte(text), ValidateOptions{Policy: allowing})
	if !report.Valid || len(report.Warnings) > 0 || strings.ContainsAny(report.Prompts[0].Prompt, markOpen+markClose) {
		t.Errorf("%+v", report)
	}
}
