package chart

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/kubetest"
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

// TestTheNotesSayWhatTheClusterLacks: of a cluster that can be asked, which "helm template" can't.
func TestTheNotesSayWhatTheClusterLacks(t *testing.T) {
	const noHooks, noKagent = "MISSING: the CustomResourceDefinition of Hooks", "MISSING: kagent"
	bare, withHooks := clusterOf(t), clusterOf(t, "../../config/crd")
	for name, c := range map[string]struct {
		kubeconfig, set string
		said, not       []string
	}{
		"no kagent":                 {bare, "crds.install=true", []string{noKagent}, []string{noHooks}},
		"no kagent and no Hooks":    {bare, "crds.install=false", []string{noKagent, noHooks}, nil},
		"Hooks of an administrator": {withHooks, "crds.install=false", []string{noKagent}, []string{noHooks}},
	} {
		out, err := helm(t, "install", "khook", chart, "-n", "default", "--dry-run=server", "--kubeconfig", c.kubeconfig, "--take-ownership", "--set", c.set)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_, notes, _ := strings.Cut(out, "NOTES:")
		for _, want := range c.said {
			if !strings.Contains(notes, want) {
				t.Errorf("%s: %q is not said in\n%s", name, want, notes)
			}
		}
		for _, other := range c.not {
			if strings.Contains(notes, other) {
				t.Errorf("%s: %q is said", name, other)
			}
		}
	}
}

// clusterOf starts an API server with the CRDs of some folders, and returns an administrator's kubeconfig.
func clusterOf(t *testing.T, crds ...string) (kubeconfig string) {
	t.Helper()
	env, err := kubetest.Start(crds...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(env.Stop)
	admin, err := env.AddUser(envtest.User{Name: "admin", Groups: []string{"system:masters"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := admin.KubeConfig()
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(kubeconfig, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return kubeconfig
}
