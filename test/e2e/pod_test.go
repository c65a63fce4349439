//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/kubetest"
)

// story is one test from the original khook's installation to the end of khook's.
type story struct {
	*release
	shop    string // namespace of what fails
	hook    *v1alpha2.Hook
	seen    *witness
	failing []*appsv1.Deployment
	token   string // of somebody who has the cluster's role "view"
}

func TestKhookAsAPodFromTheOriginalsUpgradeToItsOwnEnd(t *testing.T) {
	c := connect(t)
	s := &story{release: newRelease(t, c, func(kagenttest.Message) kagenttest.Act {
		return kagenttest.Act{Work: time.Second, Answer: "looked at it"}
	}, map[string]any{"metrics": map[string]any{"prometheusRule": map[string]any{"enabled": true}, "dashboard": map[string]any{"enabled": true}}})}
	monitoringCRDs(t)
	before := s.withTheOriginal()
	s.files = []string{"../original/values.yaml"}
	notes := s.install("--take-ownership")
	if !strings.Contains(notes, "khook") {
		t.Errorf("notes: %s", notes)
	}
	s.hooksAreReady(before)
	s.fail()
	await(t, "the first agents are called", func() error {
		if n := len(s.called()); n < 3 {
			return fmt.Errorf("%d calls", n)
		}
		return nil
	})
	s.kill() // and another one starts: nobody is called twice, nothing is missed
	s.everyCallWasMade()
	await(t, "the Hook tells what is firing, and that the crash is over", func() error {
		return statusHas(c, s.hook, map[string]string{
			"oom-kill oom": "firing", "pod-restart oom": "firing", "pod-restart crash-once": "resolved",
			"probe-failed liveness": "firing", "pod-restart liveness": "firing", "probe-failed readiness": "firing",
			"pod-pending unschedulable": "firing", "pod-pending unpullable": "firing",
			"pod-restart init": "firing", "pod-pending init": "firing",
		})
	})
	s.upgrade()
	s.recover()
	s.uninstall()
	s.installAgain()
}

// withTheOriginal installs what the original khook leaves in a cluster, and Hooks as its users wrote
// them. It returns their namespace.
func (s *story) withTheOriginal() string {
	s.Helper()
	s.apply("", "../original/crd.yaml")
	// As helm 3 does it, with which the original was installed; helm 4 keeps to it in upgrades.
	s.helm("install", "khook", "../original/chart", "--server-side=false", "--wait", "--timeout", "2m")
	ns := newNamespace(s.T, s.c)
	await(s.T, "the Hooks of the original are taken", func() error {
		out, err := exec.CommandContext(s.Context(), "kubectl", "apply", "-n", ns, "-f", "../original/hooks.yaml").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	return ns
}

func (s *story) hooksAreReady(ns string) {
	s.Helper()
	await(s.T, "all Hooks of the original work", func() error {
		var hooks v1alpha2.HookList
		if err := s.c.List(s.Context(), &hooks, client.InNamespace(ns)); err != nil || len(hooks.Items) != 7 {
			return fmt.Errorf("%d Hooks, %w", len(hooks.Items), err)
		}
		for _, h := range hooks.Items {
			if len(h.Status.Conditions) == 0 || h.Status.Conditions[0].Status != metav1.ConditionTrue {
				return fmt.Errorf("%s: %+v", h.Name, h.Status.Conditions)
			}
		}
		return nil
	})
}

// fail makes a Hook about everything, and then what fails.
func (s *story) fail() {
	s.Helper()
	s.shop = newNamespace(s.T, s.c)
	s.hook = hookAboutAll(s.shop)
	s.must(s.c.Create(s.Context(), s.hook))
	s.seen = lookOn(s.T, s.c, s.shop)
	s.failing = workloads(s.shop)
	for _, d := range s.failing {
		s.must(s.c.Create(s.Context(), d))
	}
	s.token = s.reader("", "view")
}

func hookAboutAll(ns string) *v1alpha2.Hook {
	hook := &v1alpha2.Hook{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "all"}}
	for _, et := range incident.EventTypes() {
		id := "kagent/medic"
		hook.Spec.EventConfigurations = append(hook.Spec.EventConfigurations, v1alpha2.EventConfiguration{
			EventType: string(et), AgentId: &id, Prompt: "{{.EventType}} {{.Workload}}",
		})
	}
	return hook
}

// called are the first words of what agents were told, ordered.
func (r *release) called() []string {
	var got []string
	for _, m := range r.kagent.Messages() {
		got = append(got, m.Text)
	}
	slices.Sort(got)
	return got
}

func (s *story) everyCallWasMade() {
	s.Helper()
	await(s.T, "every workload has had its call", func() error {
		diff := gocmp.Diff(s.seen.calls(), s.called())
		if diff == "" {
			return nil
		}
		if len(s.called()) > len(s.seen.calls()) {
			s.Fatalf("calls that should not be (-want +got)\n%s", diff)
		}
		return fmt.Errorf("(-want +got)\n%s", diff)
	})
}

// noOtherCall holds that no agent was called but for what is right.
func (s *story) noOtherCall(when string) {
	s.Helper()
	if diff := gocmp.Diff(s.seen.calls(), s.called()); diff != "" {
		s.Errorf("calls %s (-want +got)\n%s", when, diff)
	}
}

// events are those of the history, by ID, as khook's command line tells them to a reader.
func (s *story) events() map[int64]string {
	s.Helper()
	found := map[int64]string{}
	await(s.T, "khook tells its history to somebody with the role view", func() error {
		out, err := s.ask(s.token, "events", "-n", s.shop, "--all", "-o", "json")
		if err != nil {
			return err
		}
		var list []struct {
			ID                      int64
			EventType, ResourceName string
		}
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		for _, e := range list {
			found[e.ID] = e.EventType + " " + e.ResourceName
		}
		return nil
	})
	return found
}

// kept holds that the history has all that it had before.
func (s *story) kept(before map[int64]string, after string) {
	s.Helper()
	now := s.events()
	for id, what := range before {
		if now[id] != what {
			s.Errorf("event %d was %q, and is %q after %s", id, what, now[id], after)
		}
	}
}

// upgrade takes the other image while everything fails: the history is kept, and no agent called.
func (s *story) upgrade() {
	s.Helper()
	s.mindItsRights()
	before, old := s.events(), s.pod()
	if len(before) < len(calls) {
		s.Errorf("the history has %d events only", len(before))
	}
	s.install("--set", "image.tag="+tags[1], "--set", "maxCallsPerHour=1000")
	pod := s.pod()
	if pod == nil || pod.UID == old.UID || !strings.HasSuffix(pod.Spec.Containers[0].Image, ":"+tags[1]) {
		s.Fatalf("the Pod was not replaced: %v", pod)
	}
	s.kept(before, "the upgrade")
	s.noOtherCall("after the upgrade")
}

// recover ends what fails, and awaits that khook sees it.
func (s *story) recover() {
	s.Helper()
	for _, d := range s.failing {
		s.must(s.c.Delete(s.Context(), d, client.PropagationPolicy(metav1.DeletePropagationForeground)))
	}
	await(s.T, "nothing fires any more", func() error {
		if err := s.c.Get(s.Context(), client.ObjectKeyFromObject(s.hook), s.hook); err != nil {
			return err
		}
		if s.hook.Status.Active != 0 {
			return fmt.Errorf("%d are active", s.hook.Status.Active)
		}
		return nil
	})
	s.noOtherCall("at the end")
	checkStory(s.T, s.c, s.hook)
	s.mindItsRights()
}

// uninstall removes khook, and looks for what remains: what docs/install.md says.
func (s *story) uninstall() {
	s.Helper()
	s.helm("uninstall", "khook", "--wait", "--timeout", "2m")
	want := []string{"customresourcedefinitions hooks.kagent.dev", "persistentvolumeclaims khook-history"}
	await(s.T, "khook is gone but for its history and its resource", func() error {
		if diff := gocmp.Diff(want, s.labelled()); diff != "" {
			return fmt.Errorf("(-want +got)\n%s", diff)
		}
		return nil
	})
	if err := s.c.Get(s.Context(), client.ObjectKeyFromObject(s.hook), s.hook); err != nil {
		s.Errorf("the Hooks did not outlive it: %v", err)
	}
}

// labelled are all objects in the cluster that belong to the release.
func (s *story) labelled() []string {
	s.Helper()
	cfg := cluster(s.T)
	disco, err := discovery.NewDiscoveryClientForConfig(cfg)
	s.must(err)
	all, err := dynamic.NewForConfig(cfg)
	s.must(err)
	lists, err := disco.ServerPreferredResources()
	s.must(err)
	var found []string
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		s.must(err)
		for _, res := range list.APIResources {
			if !slices.Contains(res.Verbs, "list") {
				continue
			}
			objects, err := all.Resource(gv.WithResource(res.Name)).List(s.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/instance=khook"})
			if apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) {
				continue
			}
			s.must(err)
			for _, o := range objects.Items {
				found = append(found, res.Name+" "+o.GetName())
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// installAgain installs khook once more, which goes on with its history.
func (s *story) installAgain() {
	s.Helper()
	s.files = nil
	s.install()
	s.install("--set", "controller.logLevel=debug") // an upgrade by server-side apply
	if len(s.events()) < len(calls) {
		s.Errorf("the history was lost: %v", s.events())
	}
	s.noOtherCall("after another installation")
	s.mindItsRights()
}

// monitoringCRDs makes the cluster know what the Prometheus Operator brings.
func monitoringCRDs(t *testing.T) {
	t.Helper()
	crds, err := kubetest.OperatorCRDs(t.Context(), "../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range crds {
		if out, err := exec.CommandContext(t.Context(), "kubectl", "apply", "--server-side", "-f", file).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", "kubectl create namespace monitoring --dry-run=client -o yaml | kubectl apply -f -").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}
