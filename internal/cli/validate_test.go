package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// oddHook names the agent of an event twice.
const oddHook = replayHook + `  - {eventType: oom-kill, agentId: kagent/medic, prompt: "again"}
`

func TestValidateTellsByItsExitCodeWhetherHooksAreGood(t *testing.T) {
	good := write(t, "good.yaml", replayHook)
	bad := write(t, "bad.yaml", strings.Replace(replayHook, "oom-kill", "oom", 1))
	odd := write(t, "odd.yaml", oddHook)
	plain := write(t, "plain.yaml", plainValuesHook)
	for name, tc := range map[string]struct {
		args []string
		code int
		want string // in what is printed
	}{
		"good":                 {[]string{good}, 0, "1 Hook in 1 file: 0 errors, 0 warnings\n"},
		"bad":                  {[]string{good, bad}, 1, bad + ":6: error: spec.eventConfigurations[0].eventType: unknown event type: use pod-restart"},
		"the sum":              {[]string{good, bad}, 1, "2 Hooks in 2 files: 1 error, 0 warnings\n"},
		"odd":                  {[]string{odd}, 0, odd + ":10: warning: spec.eventConfigurations[4]: one oom-kill event"},
		"odd, strictly":        {[]string{"--strict", odd}, 1, odd + ":10: error: spec.eventConfigurations[4]: one oom-kill event"},
		"a folder":             {[]string{filepath.Dir(bad)}, 1, bad + ":6: error: "},
		"prompts":              {[]string{"--prompts", good}, 0, "shop/all oom-kill-b1f4b8c4 calls kagent/medic:\n  | oom cart-"},
		"an agent's namespace": {[]string{"--agent-namespaces=other", good}, 1, "in a namespace that hooks may not call: use an agent in shop or other"},
		"plain values":         {[]string{"--strict", plain}, 1, "error: spec.eventConfigurations[0].plainValues: the operator does not allow plain values"},
		"plain values allowed": {[]string{"--strict", "--allow-plain-values", "--prompts", plain}, 0, "calls kagent/medic:\n  | It said Container app was OOM-killed (exit code 137, memory limit 128Mi)"},
		"a namespace":          {[]string{"-n", "till", write(t, "none.yaml", strings.Replace(replayHook, ", namespace: shop", "", 1))}, 0, "namespace till is assumed"},
		"no file":              {nil, 2, "name the files of Hooks, folders of them, or - for the standard input"},
		"a file that is not":   {[]string{filepath.Join(t.TempDir(), "none.yaml")}, 2, "no such file"},
		"an unknown form":      {[]string{"-o", "xml", good}, 2, "must be one of"},
		"an empty folder":      {[]string{t.TempDir()}, 1, "there is no *.yaml, *.yml or *.json file in it"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := khook(t, append([]string{"validate"}, tc.args...)...)
			if code != tc.code || !strings.Contains(out+errs, tc.want) {
				t.Errorf("exit code %d, want %d\n%s%s\nwant %q", code, tc.code, out, errs, tc.want)
			}
		})
	}
}

func TestValidateReadsTheStandardInput(t *testing.T) {
	file, err := os.Open(write(t, "hook.yaml", strings.Replace(replayHook, "oom-kill", "oom", 1)))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	stdin := os.Stdin
	t.Cleanup(func() { os.Stdin = stdin })
	os.Stdin = file
	code, out, _ := khook(t, "validate", "-")
	if code != 1 || !strings.HasPrefix(out, "<stdin>:6: error: spec.eventConfigurations[0].eventType: ") {
		t.Errorf("exit code %d\n%s", code, out)
	}
}

func TestValidatePrintsJSON(t *testing.T) {
	path := write(t, "odd.yaml", oddHook)
	code, out, errs := khook(t, "validate", "-o", "json", "--prompts", path)
	var got []struct {
		File     string
		Valid    bool
		Hooks    []string
		Errors   []any
		Warnings []struct {
			Document, Line       int
			Hook, Field, Message string
		}
		Prompts []struct{ Hook, Config, EventType, Agent, Field, Prompt string }
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v\n%s%s", code, err, out, errs)
	}
	f := got[0]
	if f.File != path || !f.Valid || f.Errors == nil || f.Hooks[0] != "shop/all" || f.Warnings[0].Line != 10 || f.Prompts[4].Prompt != "again" {
		t.Errorf("got %s", out)
	}
}

// TestValidateTakesWhatHelmTemplateWrites has what a chart has beside a Hook.
func TestValidateTakesWhatHelmTemplateWrites(t *testing.T) {
	path := write(t, "rendered.yaml", `---
# Source: cart/templates/deployment.yaml
apiVersion: apps/v1
kind: Deployment
metadata:
  name: cart
---
# Source: cart/templates/nothing.yaml
---
# Source: cart/templates/hook.yaml
apiVersion: kagent.dev/v1alpha2
kind: Hook
metadata:
  name: cart
  namespace: shop
spec:
  eventConfigurations:
  - eventType: oom-kill
    agentId: medic
    prompt: Look
`)
	code, out, errs := khook(t, "validate", path)
	if want := path + ":3: note: passed over: this is a Deployment (apps/v1), and khook checks Hooks only\n1 Hook in 1 file: 0 errors, 0 warnings\n"; code != 0 || out != want {
		t.Errorf("%d %s\n got %s\nwant %s", code, errs, out, want)
	}
	if code, out, _ := khook(t, "validate", "-o", "json", path); code != 0 || !strings.Contains(out, `"notes": [`) {
		t.Errorf("%d %s", code, out)
	}
}
