package chart

import (
	"strings"
	"testing"

	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/lint"
)

// TestTheFirstHookOfTheNotesIsRight pastes it as a new user does, whatever namespace the agents are in.
func TestTheFirstHookOfTheNotesIsRight(t *testing.T) {
	for _, namespace := range []string{"kagent", "agents"} {
		out, err := helm(t, "install", "khook", chart, "-n", "kagent", "--dry-run=client", "--set", "agentNamespaces={"+namespace+"}")
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		_, after, _ := strings.Cut(out, "<<'END'\n")
		manifest, _, found := strings.Cut(after, "  END\n")
		report := lint.Check(t.Context(), []byte(manifest), lint.Options{Policy: hook.Policy{AgentNamespaces: []string{namespace}}})
		if !found || !report.Valid || len(report.Warnings) != 0 || len(report.Hooks) != 1 {
			t.Errorf("%s\n%+v", manifest, report)
		}
	}
}
