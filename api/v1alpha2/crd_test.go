package v1alpha2_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/kagent-dev/khook/internal/kubetest"
)

var kubeconfig string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		env, err := kubetest.Start(filepath.Join("..", "..", "config", "crd"))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer env.Stop()
		dir, err := os.MkdirTemp("", "khook-crd-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		admin, err := env.AddUser(envtest.User{Name: "admin", Groups: []string{"system:masters"}}, nil)
		if err == nil {
			var config []byte
			if config, err = admin.KubeConfig(); err == nil {
				kubeconfig = filepath.Join(dir, "kubeconfig")
				err = os.WriteFile(kubeconfig, config, 0o600)
			}
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// kubectl runs the real kubectl against the real API server. Without a line before it, kubectl 1.30 takes YAML that
// begins with a brace for JSON.
func kubectl(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	cmd.Stdin = strings.NewReader("---\n" + stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestManifestsOfTheOriginalApplyUnchanged(t *testing.T) {
	if out, err := kubectl(t, "", "apply", "-f", filepath.Join("testdata", "original.yaml")); err != nil {
		t.Fatal(out)
	}
	out, err := kubectl(t, "", "get", "hk,kagent", "-n", "default")
	if err != nil {
		t.Fatal(out)
	}
	for _, column := range []string{"READY", "ACTIVE", "LAST FIRED", "AGE", "incident-response", "example-hook"} {
		if !strings.Contains(out, column) {
			t.Errorf("kubectl get does not show %s:\n%s", column, out)
		}
	}
}

func TestKubectlRefusesBadHooksAndSaysWhatToChange(t *testing.T) {
	const good = "{eventType: oom-kill, agentId: kagent/medic, prompt: Look}"
	for name, tc := range map[string]struct{ configs, want string }{
		"unknown type":         {"[{eventType: oom, agentId: kagent/medic, prompt: Look}]", "unknown event type: use pod-restart, pod-pending, oom-kill or probe-failed"},
		"no type":              {"[{agentId: kagent/medic, prompt: Look}]", "eventType: Required value"},
		"empty agent":          {"[{eventType: oom-kill, agentId: '', prompt: Look}]", `agentId is empty: write the agent's "namespace/name" or "name"`},
		"malformed agent":      {"[{eventType: oom-kill, agentId: a/b/c, prompt: Look}]", `agentId must be "namespace/name" or "name"`},
		"upper-case agent":     {"[{eventType: oom-kill, agentId: Kagent/Medic, prompt: Look}]", `agentId must be "namespace/name" or "name"`},
		"agent without a name": {"[{eventType: oom-kill, agentId: kagent/, prompt: Look}]", `agentId must be "namespace/name" or "name"`},
		"no agent":             {"[{eventType: oom-kill, prompt: Look}]", `name the agent to call: set agentId ("namespace/name" or "name") or agentRef`},
		"two agents":           {"[{eventType: oom-kill, agentId: kagent/medic, agentRef: {name: medic}, prompt: Look}]", "agentId and agentRef both name an agent: keep one and remove the other"},
		"empty agentRef":       {"[{eventType: oom-kill, agentRef: {name: ''}, prompt: Look}]", "agentRef.name is empty: write the agent's name"},
		"empty prompt":         {"[{eventType: oom-kill, agentId: kagent/medic, prompt: ''}]", "prompt is empty: write what the agent should do"},
		"no prompt":            {"[{eventType: oom-kill, agentId: kagent/medic}]", "prompt: Required value"},
		"no configuration":     {"[]", "should have at least 1 items"},
		"too many":             {"[" + strings.TrimSuffix(strings.Repeat(good+", ", 51), ", ") + "]", "must have at most 50 items"},
		"short window":         {"[{eventType: oom-kill, agentId: kagent/medic, prompt: Look, dedupWindow: 10ms}]", "dedupWindow must be from 1s to 24h"},
		"long timeout":         {"[{eventType: oom-kill, agentId: kagent/medic, prompt: Look, timeout: 25h}]", "timeout must be from 10s to 24h"},
		"no duration":          {"[{eventType: oom-kill, agentId: kagent/medic, prompt: Look, timeout: soon}]", "timeout"},
		"short stall":          {"[{eventType: oom-kill, agentId: kagent/medic, prompt: Look, stallAfter: 10s}]", "stallAfter must be from 1m to 24h"},
		"unknown onStall":      {"[{eventType: oom-kill, agentId: kagent/medic, prompt: Look, onStall: restart}]", `supported values: "wait", "cancel", "retry"`},
		"grouping":             {"[{eventType: oom-kill, agentId: kagent/medic, prompt: Look, groupBy: pod}]", `supported values: "workload", "resource", "node"`},
		"budget":               {"[{eventType: oom-kill, agentId: kagent/medic, prompt: Look, maxCallsPerHour: 0}]", "should be greater than or equal to 1"},
	} {
		t.Run(name, func(t *testing.T) {
			manifest := fmt.Sprintf("{apiVersion: kagent.dev/v1alpha2, kind: Hook, metadata: {name: bad, namespace: default}, spec: {eventConfigurations: %s}}", tc.configs)
			out, err := kubectl(t, manifest, "apply", "-f", "-")
			if err == nil {
				t.Fatalf("applied: %s", out)
			}
			if !strings.Contains(out, tc.want) {
				t.Errorf("got %q\nwant it to say %q", out, tc.want)
			}
		})
	}
}

func TestEveryFieldIsKept(t *testing.T) {
	const manifest = `{apiVersion: kagent.dev/v1alpha2, kind: Hook, metadata: {name: full, namespace: default}, spec: {suspend: true, onePerCause: false,
		eventConfigurations: [{eventType: oom-kill, agentRef: {name: medic, namespace: ""}, prompt: Look, selector: {matchLabels: {app: cart}},
		match: "event.restartCount > 2", dedupWindow: 5m, groupBy: node, maxCallsPerHour: 3, timeout: 2h, stallAfter: 5m, onStall: retry}]}}`
	if out, err := kubectl(t, manifest, "apply", "-f", "-"); err != nil {
		t.Fatal(out)
	}
	out, err := kubectl(t, "", "get", "hook", "full", "-n", "default", "-o", "jsonpath={.spec}")
	if err != nil {
		t.Fatal(out)
	}
	for _, field := range []string{`"suspend":true`, `"onePerCause":false`, `"app":"cart"`, `"match":"event.restartCount`, `"dedupWindow":"5m"`,
		`"groupBy":"node"`, `"maxCallsPerHour":3`, `"timeout":"2h"`, `"stallAfter":"5m"`, `"onStall":"retry"`, `"namespace":""`} {
		if !strings.Contains(out, field) {
			t.Errorf("%s is missing in %s", field, out)
		}
	}
}
