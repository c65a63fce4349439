//go:build e2e

package e2e

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/kagent-dev/khook/internal/agent/kagenttest"
)

func TestKhookForOneNamespaceNeedsNoRightsInOthers(t *testing.T) {
	c := connect(t)
	installCRD(t) // by the cluster's administrators
	r := newRelease(t, c, kagenttest.DefaultScript, nil)
	ours, others := newNamespace(t, c), newNamespace(t, c)
	r.install("--set", "watchNamespaces={"+ours+"}", "--set", "crds.install=false", "--set", "admissionPolicy.enabled=false")
	r.hasNoClusterRights()
	for _, ns := range []string{others, ours} {
		r.must(c.Create(t.Context(), hookAboutAll(ns)))
		r.must(c.Create(t.Context(), deployment(ns, "crash-in-"+ns, 1, corev1.PodSpec{Containers: []corev1.Container{container("sleep 1; exit 7")}})))
	}
	await(t, "the agent is called for the namespace that is watched", func() error {
		if got := r.called(); !slices.Equal(got, []string{"pod-restart Deployment/crash-in-" + ours}) {
			return fmt.Errorf("%q", got)
		}
		return nil
	})
	token := r.reader(ours, "khook-viewer")
	await(t, "a reader of the namespace is told of it", func() error {
		out, err := r.ask(token, "events", "-n", ours)
		if err != nil || !strings.Contains(out, "crash-in-"+ours) {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	if out, err := r.ask(token, "events", "-n", others); err == nil {
		t.Errorf("and of another one: %s", out)
	}
	r.mindItsRights()
}

// hasNoClusterRights holds that khook's account may do nothing in the cluster as a whole.
func (r *release) hasNoClusterRights() {
	r.Helper()
	for _, what := range [][]string{{"list", "pods"}, {"list", "hooks.kagent.dev"}, {"create", "tokenreviews.authentication.k8s.io"}, {"create", "subjectaccessreviews.authorization.k8s.io"}, {"list", "secrets"}} {
		args := append([]string{"auth", "can-i", "-A", "--as", "system:serviceaccount:" + r.ns + ":khook"}, what...)
		out, _ := exec.CommandContext(r.Context(), "kubectl", args...).CombinedOutput()
		if !strings.HasPrefix(strings.TrimSpace(string(out)), "no") && !strings.HasSuffix(strings.TrimSpace(string(out)), "no") {
			r.Errorf("%v: %s", what, out)
		}
	}
}
