//go:build e2e

package e2e

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/kagent-dev/khook/internal/agent/kagenttest"
)

// Where the chart is, and the images of khook that the node has or can pull: one, and the one that
// it is upgraded to.
var (
	chart      = "../../charts/khook"
	repository = os.Getenv("KHOOK_E2E_REPOSITORY")
	tags       = strings.Fields(os.Getenv("KHOOK_E2E_TAGS"))
)

// release is khook in the cluster, installed by helm from its chart.
type release struct {
	*testing.T
	c      client.WithWatch
	ns     string
	kagent *kagenttest.Server
	files  []string // of values
	values string   // file of values that the test sets, which win
}

// newRelease prepares a namespace for khook, in which only Pods that are "restricted" may run, and
// a kagent that Pods reach.
func newRelease(t *testing.T, c client.WithWatch, script kagenttest.Script, set map[string]any) *release {
	t.Helper()
	if repository == "" || len(tags) != 2 || os.Getenv("HELM") == "" || os.Getenv("KHOOK_E2E_HOST") == "" {
		t.Fatal(`run "make e2e", or set HELM to a helm program, KHOOK_E2E_REPOSITORY and KHOOK_E2E_TAGS ("ONE OTHER") to images of khook, and KHOOK_E2E_HOST to an address of this machine that Pods reach`)
	}
	r := &release{T: t, c: c}
	r.kagent = kagenttest.New(t, kagenttest.Options{Addr: os.Getenv("KHOOK_E2E_HOST") + ":0", Script: script})
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "khook-system-", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}
	r.must(c.Create(t.Context(), ns))
	r.ns = ns.Name
	values := map[string]any{
		"image":         map[string]any{"registry": "", "repository": repository, "tag": tags[0]},
		"namespace":     map[string]any{"name": r.ns},
		"kagent":        map[string]any{"apiUrl": r.kagent.URL},
		"config":        map[string]any{"stabilization": "45s"},
		"networkPolicy": map[string]any{"restrictEgress": true},
	}
	if r.volume() {
		values["persistence"] = map[string]any{"storageClass": "-"}
	}
	maps.Copy(values, set)
	text, err := yaml.Marshal(values)
	r.must(err)
	r.values = filepath.Join(t.TempDir(), "values.yaml")
	r.must(os.WriteFile(r.values, text, 0o600))
	t.Cleanup(r.leave)
	return r
}

func (r *release) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// leave tells what is of use if the test failed, and removes all.
func (r *release) leave() {
	if r.Failed() {
		for _, args := range [][]string{{"-n", r.ns, "get", "all,pvc,events"}, {"-n", r.ns, "describe", "pods"}, {"-n", r.ns, "logs", "deploy/khook", "--tail=300"}} {
			out, _ := exec.Command("kubectl", args...).CombinedOutput()
			r.Logf("kubectl %s\n%s", strings.Join(args, " "), out)
		}
	}
	_ = exec.Command(os.Getenv("HELM"), "uninstall", "khook", "-n", r.ns, "--wait", "--timeout", "1m").Run()
	_ = r.c.Delete(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: r.ns}})
}

// volume makes a volume for the history, if the cluster has no storage class that does.
func (r *release) volume() bool {
	r.Helper()
	var classes storagev1.StorageClassList
	r.must(r.c.List(r.Context(), &classes))
	if slices.ContainsFunc(classes.Items, func(s storagev1.StorageClass) bool {
		return s.Annotations["storageclass.kubernetes.io/is-default-class"] == "true"
	}) {
		return false
	}
	var nodes corev1.NodeList
	r.must(r.c.List(r.Context(), &nodes))
	dir := r.TempDir()
	pv := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{GenerateName: "khook-e2e-"}, Spec: corev1.PersistentVolumeSpec{
		Capacity:                      corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("2Gi")},
		AccessModes:                   []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
		ClaimRef:                      &corev1.ObjectReference{Namespace: r.ns, Name: "khook-history"},
		PersistentVolumeSource:        corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: dir}},
		NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{nodes.Items[0].Labels[corev1.LabelHostname]}}},
		}}}},
	}}
	r.must(r.c.Create(r.Context(), pv))
	r.Cleanup(func() { _ = r.c.Delete(context.Background(), pv) })
	return true
}

// helm runs helm in khook's namespace.
func (r *release) helm(args ...string) string {
	r.Helper()
	cmd := exec.CommandContext(r.Context(), os.Getenv("HELM"), append(args, "-n", r.ns)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// install installs or upgrades khook, and waits until it is ready.
func (r *release) install(more ...string) string {
	r.Helper()
	// The test's node does not account for local storage: nothing that asks for some would find a place on it.
	args := []string{"upgrade", "--install", "khook", chart, "--wait", "--timeout", "5m", "--set", "resources.requests.ephemeral-storage=null,resources.limits.ephemeral-storage=null"}
	for _, file := range append(slices.Clone(r.files), r.values) {
		args = append(args, "-f", file)
	}
	return r.helm(append(args, more...)...)
}

// pod is khook's Pod that is not about to end, if it is ready.
func (r *release) pod() *corev1.Pod {
	var pods corev1.PodList
	if err := r.c.List(r.Context(), &pods, client.InNamespace(r.ns), client.MatchingLabels{"app.kubernetes.io/name": "khook"}); err != nil {
		return nil
	}
	for _, p := range pods.Items {
		ready := slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
		if p.DeletionTimestamp == nil && ready {
			return &p
		}
	}
	return nil
}

// kill ends khook's Pod as the loss of a node would: another one comes while it may still run.
func (r *release) kill() {
	r.Helper()
	pod := r.pod()
	if pod == nil {
		r.Fatal("there is no khook to kill")
	}
	r.mindItsRights()
	r.must(r.c.Delete(r.Context(), pod, client.GracePeriodSeconds(0)))
	await(r.T, "another Pod is ready", func() error {
		if p := r.pod(); p == nil || p.UID == pod.UID {
			return fmt.Errorf("it is %v", p)
		}
		return nil
	})
}

// mindItsRights holds that khook was refused nothing: the chart's Roles are enough.
func (r *release) mindItsRights() {
	r.Helper()
	out, err := exec.CommandContext(r.Context(), "kubectl", "-n", r.ns, "logs", "deploy/khook").CombinedOutput()
	if err != nil {
		r.Fatalf("%v: %s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		// With rights in some namespaces only it can't ask who the cluster is, and says what that means.
		expected := strings.Contains(line, "being terminated") || strings.Contains(line, "name it by --cluster-uid")
		if strings.Contains(line, "orbidden") && !expected {
			r.Errorf("it lacks a right: %s", line)
		}
	}
}

// reader makes an account with one of the cluster's roles, and returns its token.
func (r *release) reader(ns, role string) string {
	r.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: r.ns, GenerateName: "reader-"}}
	r.must(r.c.Create(r.Context(), account))
	subjects := []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: r.ns, Name: account.Name}}
	if ns == "" {
		ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}
		binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: account.Name}, Subjects: subjects, RoleRef: ref}
		r.must(r.c.Create(r.Context(), binding))
		r.Cleanup(func() { _ = r.c.Delete(context.Background(), binding) })
	} else {
		ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role}
		r.must(r.c.Create(r.Context(), &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: account.Name}, Subjects: subjects, RoleRef: ref}))
	}
	out, err := exec.CommandContext(r.Context(), "kubectl", "-n", r.ns, "create", "token", account.Name).Output()
	r.must(err)
	return strings.TrimSpace(string(out))
}

// ask runs khook's command line through the kube context, as a person would.
func (r *release) ask(token string, args ...string) (string, error) {
	args = append(args, "--khook-namespace", r.ns, "--token", token)
	out, err := exec.CommandContext(r.Context(), cmp.Or(os.Getenv("KHOOK"), "../../bin/khook"), args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("khook %s: %w: %s", args[0], err, out)
	}
	return string(out), nil
}

// apply applies a file of manifests in a namespace ("" for those that are in none).
func (r *release) apply(ns, file string) {
	r.Helper()
	args := []string{"apply", "-f", file}
	if ns != "" {
		args = append(args, "-n", ns)
	}
	if out, err := exec.CommandContext(r.Context(), "kubectl", args...).CombinedOutput(); err != nil {
		r.Fatalf("kubectl apply -f %s: %v: %s", file, err, out)
	}
}

// gone says that an object is there no more.
func gone(ctx context.Context, c client.Client, obj client.Object) error {
	err := c.Get(ctx, client.ObjectKeyFromObject(obj), obj)
	if apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("%s is still there: %w", obj.GetName(), err)
}
