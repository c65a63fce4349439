package system

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestCheckSaysHowKhookDoesAndWhatToDo looks at a running khook while it is well, while kagent is away, as somebody who may
// know little, and when it is gone.
func TestCheckSaysHowKhookDoesAndWhatToDo(t *testing.T) {
	s := serve(t)
	check := func(token string) (code int, out string) {
		t.Helper()
		code, out, errs := runCLI(t, "check", "--kubeconfig", adminKubeconfig(t), "--khook-namespace", s.shop, "--server", "http://"+s.api, "--token", token)
		if failed := strings.Contains(errs, "needs to be mended"); failed != (code == 1) {
			t.Errorf("%d %s", code, errs)
		}
		return code, strings.Join(strings.Fields(out), " ")
	}
	says := func(out string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("it does not say %q:\n%s", w, out)
			}
		}
	}
	code, out := check(s.token)
	says(out, "ok api-server: Kubernetes v1.", "ok crd: hooks.kagent.dev is served as v1alpha2", "? deployment: not looked at, because there is no Deployment khook",
		"ok api: khook answers, and says that it is healthy", "ok clock: this machine's clock and", "ok clock: khook's clock and the API server's are less than", "ok version: khook and this program are test", "ok history:", "ok leader: the replica that answers watches and calls",
		"ok watches: 2 of 2 are up", "ok queue: signals-to-record: 0", "ok kagent: khook reached "+s.kagent.URL, "the newest call went in the dialect ",
		"? rights: not looked at, because there is no Deployment", "ok hooks: 2 are there, and all are ready", "? agents: not looked at, because the cluster has no Agents of kagent", " 0 to mend,")
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	code, out = check(newReader(t, s.shop))
	says(out, "ok api: khook answers", "? history: not looked at, because khook tells it only to those who may", "? leader:", "? watches:", "? queue:", "? kagent:", "? version:")
	if code != 0 || strings.Contains(out, "ok history") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if err := s.kagent.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "khook notices that kagent is gone", func() error {
		if code, out = check(s.token); code != 1 || !strings.Contains(out, "NO kagent: ") {
			return fmt.Errorf("%d %s", code, out)
		}
		return nil
	})
	says(out, "NO api: khook says that it is degraded: kagent: ", "ok history:")
	s.stop()
	code, out = check(s.token)
	says(out, "NO api: khook's HTTP API was not reached", "? history: not looked at, because khook was not reached", "? kagent: not looked at")
	if code != 1 {
		t.Errorf("exit code %d", code)
	}
}

func TestCheckBeforeInstallAsData(t *testing.T) {
	code, out, errs := runCLI(t, "check", "--pre", "-o", "json", "--kubeconfig", testCluster.kubeconfig)
	var answer struct {
		OK     bool
		Checks []struct{ Check, Result, Text string }
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		t.Fatal(err)
	}
	results := map[string]string{}
	for _, c := range answer.Checks {
		results[c.Check] = c.Result
	}
	if code != 1 || answer.OK || results["api-server"] != "ok" || results["clock"] != "ok" || results["rights"] != "failed" || results["crd"] != "not-looked-at" {
		t.Errorf("%d %s\n%s", code, errs, out)
	}
}
