//go:build e2e

package e2e

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kagent-dev/khook/internal/agent/kagenttest"
)

// TestWhatIsCheckedAndRecordedOfARealNodeIsTrue installs khook after khook check --pre, lets a container crash while it is
// recorded, and holds khook check to what is so, and a replay to what the agent was really called for.
func TestWhatIsCheckedAndRecordedOfARealNodeIsTrue(t *testing.T) {
	c := connect(t)
	r := newRelease(t, c, kagenttest.DefaultScript, nil)
	ns := newNamespace(t, c)
	if pre := r.check("--pre"); !strings.Contains(pre, "ok api-server:") || !strings.Contains(pre, "ok rights: you may create all") || !strings.Contains(pre, "ok namespace:") {
		t.Errorf("%s", pre)
	}
	if out := r.check(); !strings.Contains(out, "NO deployment: there is no Deployment khook in namespace "+r.ns) {
		t.Errorf("%s", out)
	}
	r.install("--take-ownership") // of the Hook resource that another test has left
	hook := hookAboutAll(ns)
	r.must(c.Create(t.Context(), hook))

	file := filepath.Join(t.TempDir(), "of-the-node.jsonl")
	recorded := exec.CommandContext(t.Context(), cmp.Or(os.Getenv("KHOOK"), "../../bin/khook"), "record", "-n", ns, "-o", file)
	told := &bytes.Buffer{}
	recorded.Stderr = told
	r.must(recorded.Start())
	r.must(c.Create(t.Context(), deployment(ns, "crash", 1, corev1.PodSpec{Containers: []corev1.Container{container("sleep 2; exit 7")}})))
	call := "pod-restart Deployment/crash"
	await(t, "the agent is called", func() error {
		if got := r.called(); len(got) != 1 || got[0] != call {
			return fmt.Errorf("%q", got)
		}
		return nil
	})
	r.must(recorded.Process.Signal(os.Interrupt))
	if err := recorded.Wait(); err != nil {
		t.Fatalf("%v: %s", err, told)
	}
	r.replays(file, ns, call)

	token := r.reader("", "view")
	await(t, "all is well but the versions", func() error {
		out := r.check("--token", token)
		for _, line := range []string{
			"ok crd: hooks.kagent.dev is served", "ok deployment: 1 of 1 Pods of Deployment " + r.ns + "/khook are ready", "ok pods: Pod khook-", "ok api: khook answers, and says that it is healthy",
			"NO version: khook is " + tags[0] + ", and this program is ", "ok history:", "ok leader: the replica that answers watches and calls", "ok watches: 2 of 2 are up", "ok queue:",
			"ok kagent: khook reached " + r.kagent.URL, "the newest call went in the dialect ", "ok rights: khook's ServiceAccount khook may do all", "ok hooks: all are ready: 1 Hook", " 1 to mend,",
		} {
			if !strings.Contains(out, line) {
				return fmt.Errorf("no %q in %s", line, out)
			}
		}
		return nil
	})
	r.mindItsRights()
}

// check is what khook check says, with single spaces.
func (r *release) check(args ...string) string {
	r.Helper()
	args = append([]string{"check", "--khook-namespace", r.ns}, args...)
	out, err := exec.CommandContext(r.Context(), cmp.Or(os.Getenv("KHOOK"), "../../bin/khook"), args...).CombinedOutput()
	if failed := strings.Contains(string(out), "needs to be mended"); failed != (err != nil) {
		r.Errorf("%v: %s", err, out)
	}
	return strings.Join(strings.Fields(string(out)), " ")
}

// replays holds that a recording leads to one call, which begins with a text.
func (r *release) replays(file, ns, prompt string) {
	r.Helper()
	manifest, err := json.Marshal(map[string]any{"apiVersion": "kagent.dev/v1alpha2", "kind": "Hook", "metadata": map[string]any{"name": "all", "namespace": ns}, "spec": hookAboutAll(ns).Spec})
	r.must(err)
	hook := filepath.Join(r.TempDir(), "hook.yaml")
	r.must(os.WriteFile(hook, manifest, 0o600))
	out, err := exec.CommandContext(r.Context(), cmp.Or(os.Getenv("KHOOK"), "../../bin/khook"), "replay", "-o", "json", "--settle", "0s", "--hook", hook, file).Output()
	r.must(err)
	var told struct {
		Deliveries []struct{ Group, Prompt string }
	}
	r.must(json.Unmarshal(out, &told))
	if len(told.Deliveries) != 1 || told.Deliveries[0].Prompt != prompt {
		r.Errorf("%s", out)
	}
}
