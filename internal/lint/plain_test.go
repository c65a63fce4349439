package lint

import (
	"strings"
	"testing"

	"github.com/kagent-dev/khook/internal/prompt"
)

func TestValidateTellsThatPlainValuesAreNotAllowed(t *testing.T) {
	text := hookText("a", "eventType: oom-kill\n    agentId: kagent/medic\n    prompt: 'It said {{.EventMessage}}'\n    plainValues: true")
	report := Check(t.Context(), []byte(text), Options{Policy: lintPolicy})
	if !report.Valid || len(report.Warnings) != 1 || report.Warnings[0].Line != 9 || !strings.Contains(report.Warnings[0].Message, "remove this, or let the operator set --allow-plain-values") ||
		!strings.Contains(report.Prompts[0].Prompt, "said ⟦") {
		t.Errorf("%+v", report)
	}
	allowing := lintPolicy
	allowing.PlainValues = true
	report = Check(t.Context(), []byte(text), Options{Policy: allowing})
	if !report.Valid || len(report.Warnings) > 0 || strings.ContainsAny(report.Prompts[0].Prompt, prompt.OpenMark+prompt.CloseMark) {
		t.Errorf("%+v", report)
	}
}
