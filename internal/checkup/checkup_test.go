package checkup

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/kagent-dev/khook/config/crd"
	"github.com/kagent-dev/khook/internal/api/client"
	"github.com/kagent-dev/khook/internal/kubetest"
	"github.com/kagent-dev/khook/internal/skew"
)

// cluster is a real API server that the tests of this package share, one after another.
var cluster *kubetest.Env

func TestMain(m *testing.M) {
	os.Exit(withCluster(m))
}

func withCluster(m *testing.M) int {
	var err error
	if cluster, err = kubetest.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer cluster.Stop()
	return m.Run()
}

var errNobody = errors.New("nobody is there")

func options(cfg *rest.Config) Options {
	return Options{
		Cluster: cfg, Namespace: "kagent", Name: "khook", Version: "v1.2.3", Timeout: 20 * time.Second,
		Connect: func(context.Context) (*client.Client, error) { return nil, errNobody },
	}
}

// found are the findings of one check, as "RESULT TEXT".
func found(t *testing.T, check string, phase func(context.Context, Options) ([]Finding, error), o Options) []string {
	t.Helper()
	all, err := phase(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, f := range all {
		if f.Check == check {
			lines = append(lines, string(f.Result)+" "+f.Text)
		}
	}
	return lines
}

// says holds the findings of a check to what each must begin with and have in it.
func says(t *testing.T, got []string, want ...string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%q, want %q", got, want)
		return
	}
	for i, w := range want {
		result, text, _ := strings.Cut(w, " ")
		if !strings.HasPrefix(got[i], result+" ") || !strings.Contains(got[i], text) {
			t.Errorf("%q, want %q", got[i], w)
		}
	}
}

func kube(t *testing.T) *kubernetes.Clientset {
	t.Helper()
	c, err := kubernetes.NewForConfig(cluster.Config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// user is somebody with no rights but those of everybody.
func user(t *testing.T, name string) *rest.Config {
	t.Helper()
	added, err := cluster.AddUser(envtest.User{Name: name}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return added.Config()
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestWithoutAnAPIServerNothingElseIsClaimed(t *testing.T) {
	all, err := BeforeInstall(t.Context(), options(&rest.Config{Host: "https://127.0.0.1:1"}))
	if err != nil || len(all) != 5 || all[0].Result != Failed || !strings.Contains(all[0].Text, "does not answer") {
		t.Fatalf("%v %+v", err, all)
	}
	for _, f := range all[1:] {
		if f.Result != NotLookedAt || f.Text != "not looked at, because the API server does not answer" {
			t.Errorf("%+v", f)
		}
	}
}

func TestBeforeInstall(t *testing.T) {
	admin := options(cluster.Config)
	says(t, found(t, "api-server", BeforeInstall, admin), "ok Kubernetes v1.")
	says(t, found(t, "clock", BeforeInstall, admin), "ok less than ")
	says(t, found(t, "rights", BeforeInstall, admin), "ok you may create all that the chart installs")
	says(t, found(t, "crd", BeforeInstall, admin), "ok there is no hooks.kagent.dev yet")
	says(t, found(t, "namespace", BeforeInstall, admin), "ok helm install --create-namespace makes it")
	says(t, found(t, "storage", BeforeInstall, admin), "failed set persistence.storageClass")

	class := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "disk", Annotations: map[string]string{defaultClass: "true"}}, Provisioner: "example.com/disk"}
	must[*storagev1.StorageClass](t)(kube(t).StorageV1().StorageClasses().Create(t.Context(), class, metav1.CreateOptions{}))
	says(t, found(t, "storage", BeforeInstall, admin), "ok default storage class disk")

	nobody := options(user(t, "nobody"))
	says(t, found(t, "api-server", BeforeInstall, nobody), "ok Kubernetes v1.")
	says(t, found(t, "rights", BeforeInstall, nobody), "failed you may not create customresourcedefinitions.apiextensions.k8s.io")
	says(t, found(t, "crd", BeforeInstall, nobody), "not-looked-at because the API server refuses it")
	says(t, found(t, "storage", BeforeInstall, nobody), "not-looked-at because the API server refuses it")
	says(t, found(t, "namespace", BeforeInstall, nobody), "not-looked-at because the API server refuses it")
}

// TestWhoMayCreateRolesMayNotGiveWhatIsNotTheirs: the API server refuses a role with rights that its author has not.
func TestWhoMayCreateRolesMayNotGiveWhatIsNotTheirs(t *testing.T) {
	var rules []rbacv1.PolicyRule
	for _, r := range toInstall("") {
		rules = append(rules, rbacv1.PolicyRule{Verbs: []string{r.verb}, APIGroups: []string{r.group}, Resources: []string{r.resource}})
	}
	bind(t, "installer", rules)
	who := options(user(t, "installer"))
	says(t, found(t, "rights", BeforeInstall, who), "failed you may not give khook the rights that it needs, since you do not have them yourself: get namespaces, list pods")
	bind(t, "installer", append(rules, rbacv1.PolicyRule{Verbs: []string{"escalate"}, APIGroups: []string{rbacv1.GroupName}, Resources: []string{"clusterroles"}}))
	says(t, found(t, "rights", BeforeInstall, who), "ok you may create")
}

// bind gives a user exactly these rules.
func bind(t *testing.T, name string, rules []rbacv1.PolicyRule) {
	t.Helper()
	roles, bindings := kube(t).RbacV1().ClusterRoles(), kube(t).RbacV1().ClusterRoleBindings()
	_ = roles.Delete(t.Context(), name, metav1.DeleteOptions{})
	_ = bindings.Delete(t.Context(), name, metav1.DeleteOptions{})
	must[*rbacv1.ClusterRole](t)(roles.Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}, metav1.CreateOptions{}))
	must[*rbacv1.ClusterRoleBinding](t)(bindings.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: name}},
	}, metav1.CreateOptions{}))
	eventually(t, "the API server knows the role", func() bool {
		cfg := rest.CopyConfig(cluster.Config)
		cfg.Impersonate.UserName = name
		as, err := kubernetes.NewForConfig(cfg)
		if err != nil {
			t.Fatal(err)
		}
		last := rules[len(rules)-1]
		allowed, err := (&checkup{kube: as}).may(t.Context(), right{verb: last.Verbs[0], group: last.APIGroups[0], resource: last.Resources[0]})
		return err == nil && allowed
	})
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// TestTheRightsOfKhookAreThoseThatAreGenerated holds ofController and reviews to the role that is made from the code.
func TestTheRightsOfKhookAreThoseThatAreGenerated(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "config", "rbac", "role.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(string(text), "---\n"), "---\n")
	var role rbacv1.ClusterRole
	if err := yaml.UnmarshalStrict([]byte(first), &role); err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, rule := range role.Rules {
		for _, verb := range rule.Verbs {
			resource, sub, _ := strings.Cut(rule.Resources[0], "/")
			want = append(want, right{verb: verb, group: rule.APIGroups[0], resource: resource, subresource: sub}.String())
		}
	}
	for _, r := range append(ofController(""), reviews...) {
		got = append(got, r.String())
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) || len(want) == 0 {
		t.Errorf("%q, and config/rbac/role.yaml has %q", got, want)
	}
}

func TestTheDefinitionOfHooks(t *testing.T) {
	admin := options(cluster.Config)
	says(t, found(t, "crd", Installed, admin), "failed there is no hooks.kagent.dev, without which khook does not start")
	says(t, found(t, "hooks", Installed, admin), "not-looked-at the cluster does not serve Hooks")
	says(t, found(t, "agents", Installed, admin), "not-looked-at the Hooks are not known")
	crds := installHooks(t)
	says(t, found(t, "crd", Installed, admin), "ok served as v1alpha2, and has all fields")
	says(t, found(t, "crd", BeforeInstall, admin), "ok hooks.kagent.dev is there with v1alpha2, of no helm release")

	change := func(edit func(*apiextensionsv1.CustomResourceDefinition)) {
		t.Helper()
		now := must[*apiextensionsv1.CustomResourceDefinition](t)(crds.ApiextensionsV1().CustomResourceDefinitions().Get(t.Context(), hooksCRD, metav1.GetOptions{}))
		edit(now)
		must[*apiextensionsv1.CustomResourceDefinition](t)(crds.ApiextensionsV1().CustomResourceDefinitions().Update(t.Context(), now, metav1.UpdateOptions{}))
	}
	spec := func(d *apiextensionsv1.CustomResourceDefinition) map[string]apiextensionsv1.JSONSchemaProps {
		return d.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Properties
	}
	configuration := func(d *apiextensionsv1.CustomResourceDefinition) map[string]apiextensionsv1.JSONSchemaProps {
		return spec(d)["eventConfigurations"].Items.Schema.Properties
	}
	var own apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(crd.Hooks, &own); err != nil {
		t.Fatal(err)
	}
	budget := apiextensionsv1.JSONSchemaProps{}
	change(func(d *apiextensionsv1.CustomResourceDefinition) {
		budget = spec(d)["maxTokensPerDay"]
		delete(spec(d), "maxTokensPerDay")
	})
	says(t, found(t, "crd", Installed, admin), "failed it lacks spec.maxTokensPerDay, and the API server drops")
	change(func(d *apiextensionsv1.CustomResourceDefinition) {
		spec(d)["maxTokensPerDay"] = budget
		stall, types := configuration(d)["onStall"], configuration(d)["eventType"]
		stall.Enum, types.XValidations = stall.Enum[:2], types.XValidations[:len(types.XValidations)-1]
		configuration(d)["onStall"], configuration(d)["eventType"] = stall, types
	})
	says(t, found(t, "crd", Installed, admin), `failed it lacks spec.eventConfigurations[].eventType=(self in ['pod-restart', 'pod-pending', 'oom-kill', 'probe-failed']), spec.eventConfigurations[].onStall="retry", and`)
	change(func(d *apiextensionsv1.CustomResourceDefinition) {
		d.Spec = *own.Spec.DeepCopy()
		spec(d)["ofTomorrow"] = apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"x": {Type: "string"}}}
	})
	says(t, found(t, "crd", Installed, admin), "warning is newer than this program: it has spec.ofTomorrow;")
	change(func(d *apiextensionsv1.CustomResourceDefinition) {
		delete(spec(d), "ofTomorrow")
		old := *d.Spec.Versions[0].DeepCopy()
		old.Name, old.Storage = "v1alpha1", false
		d.Spec.Versions = append(d.Spec.Versions, old)
	})
	now := must[*apiextensionsv1.CustomResourceDefinition](t)(crds.ApiextensionsV1().CustomResourceDefinitions().Get(t.Context(), hooksCRD, metav1.GetOptions{}))
	now.Status.StoredVersions = []string{"v1alpha1", "v1alpha2"}
	must[*apiextensionsv1.CustomResourceDefinition](t)(crds.ApiextensionsV1().CustomResourceDefinitions().UpdateStatus(t.Context(), now, metav1.UpdateOptions{}))
	says(t, found(t, "crd", Installed, admin), "failed Hooks may still be stored as version v1alpha1")
	change(func(d *apiextensionsv1.CustomResourceDefinition) { d.Spec.Versions[0].Served = false })
	says(t, found(t, "crd", Installed, admin), "failed does not serve version v1alpha2")
}

// installHooks installs the CustomResourceDefinition of Hooks, until the test ends.
func installHooks(t *testing.T) *apiextensions.Clientset {
	t.Helper()
	install(t, crd.Hooks)
	return must[*apiextensions.Clientset](t)(apiextensions.NewForConfig(cluster.Config))
}

func install(t *testing.T, text []byte) {
	t.Helper()
	crds := must[*apiextensions.Clientset](t)(apiextensions.NewForConfig(cluster.Config)).ApiextensionsV1().CustomResourceDefinitions()
	var definition apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(text, &definition); err != nil {
		t.Fatal(err)
	}
	must[*apiextensionsv1.CustomResourceDefinition](t)(crds.Create(t.Context(), &definition, metav1.CreateOptions{}))
	t.Cleanup(func() {
		if err := crds.Delete(context.Background(), definition.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
		eventually(t, "the definition is gone", func() bool {
			_, err := crds.Get(context.Background(), definition.Name, metav1.GetOptions{})
			return err != nil
		})
	})
	served := schema.GroupVersionResource{Group: definition.Spec.Group, Version: definition.Spec.Versions[0].Name, Resource: definition.Spec.Names.Plural}
	eventually(t, "the API server serves "+definition.Name, func() bool {
		_, err := objects(t).Resource(served).List(t.Context(), metav1.ListOptions{})
		now, getErr := crds.Get(t.Context(), definition.Name, metav1.GetOptions{})
		return err == nil && getErr == nil && established(now)
	})
}

func objects(t *testing.T) *dynamic.DynamicClient {
	return must[*dynamic.DynamicClient](t)(dynamic.NewForConfig(cluster.Config))
}

const agentCRD = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: agents.kagent.dev}
spec:
  group: kagent.dev
  names: {kind: Agent, listKind: AgentList, plural: agents, singular: agent}
  scope: Namespaced
  versions:
  - name: v1alpha2
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

func create(t *testing.T, resource, text string) {
	t.Helper()
	var o unstructured.Unstructured
	if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
		t.Fatal(err)
	}
	of := objects(t).Resource(schema.GroupVersionResource{Group: "kagent.dev", Version: "v1alpha2", Resource: resource}).Namespace(o.GetNamespace())
	made := must[*unstructured.Unstructured](t)(of.Create(t.Context(), &o, metav1.CreateOptions{}))
	if status, ok := o.Object["status"]; ok && resource == "hooks" {
		made.Object["status"] = status
		must[*unstructured.Unstructured](t)(of.UpdateStatus(t.Context(), made, metav1.UpdateOptions{}))
	}
}

const oneHook = `apiVersion: kagent.dev/v1alpha2
kind: Hook
metadata: {name: %s, namespace: default}
spec:
  suspend: %v
  eventConfigurations:
  - {eventType: oom-kill, agentId: %s, prompt: look}
status:
  conditions:
  - {type: Ready, status: "%s", reason: X, message: "%s", observedGeneration: %d, lastTransitionTime: "2026-01-15T10:30:00Z"}
`

func TestHooksAndTheirAgents(t *testing.T) {
	admin := options(cluster.Config)
	installHooks(t)
	says(t, found(t, "hooks", Installed, admin), "warning there is no Hook")
	says(t, found(t, "agents", Installed, admin), "not-looked-at no Hook names any")
	create(t, "hooks", fmt.Sprintf(oneHook, "good", false, "default/medic", "True", "all is well", 1))
	says(t, found(t, "hooks", Installed, admin), "ok all are ready: 1 Hook")
	says(t, found(t, "agents", Installed, admin), "not-looked-at the cluster has no Agents of kagent")

	install(t, []byte(agentCRD))
	eventually(t, "discovery tells of Agents", func() bool {
		return !strings.Contains(strings.Join(found(t, "agents", Installed, admin), " "), "the cluster has no Agents")
	})
	says(t, found(t, "agents", Installed, admin), "failed there is no Agent default/medic in this cluster, which Hook default/good names")
	create(t, "agents", "{apiVersion: kagent.dev/v1alpha2, kind: Agent, metadata: {name: medic, namespace: default}, spec: {}}")
	says(t, found(t, "agents", Installed, admin), "ok all that Hooks name are there: 1 agent")

	create(t, "hooks", fmt.Sprintf(oneHook, "ill", true, "default/sick", "False", "prompt: unknown variable", 1))
	create(t, "hooks", fmt.Sprintf(oneHook, "stale", false, "default/medic", "True", "it was well", 0))
	create(t, "agents", "{apiVersion: kagent.dev/v1alpha2, kind: Agent, metadata: {name: sick, namespace: default}, spec: {}, status: {conditions: [{type: Ready, status: 'False'}]}}")
	says(t, found(t, "hooks", Installed, admin), "failed default/ill is not ready: prompt: unknown variable", "failed default/stale was changed, and khook has not seen the change", "warning 1 of 3 is suspended")
	says(t, found(t, "agents", Installed, admin), "failed Agent default/sick, which Hook default/ill names, is not ready")

	nobody := options(user(t, "stranger"))
	says(t, found(t, "hooks", Installed, nobody), "not-looked-at because the API server refuses it")
	says(t, found(t, "agents", Installed, nobody), "not-looked-at the Hooks are not known")
}

func TestTheDeployment(t *testing.T) {
	admin, api := options(cluster.Config), kube(t)
	admin.Namespace = "default"
	says(t, found(t, "deployment", Installed, admin), "failed there is no Deployment khook in namespace default")
	elsewhere := admin
	elsewhere.Elsewhere = true
	says(t, found(t, "deployment", Installed, elsewhere), "not-looked-at khook is where --server says")
	says(t, found(t, "api", Installed, admin), "failed nobody is there")
	for _, part := range partsOfAPI {
		says(t, found(t, part, Installed, admin), "not-looked-at khook was not reached")
	}

	labels := map[string]string{"app": "khook"}
	one := int32(1)
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{
		ServiceAccountName: "keeper", Containers: []corev1.Container{{Name: "khook", Image: "registry.example.com:5000/khook:1.2.3@sha256:" + strings.Repeat("0", 64)}},
	}}
	d := must[*appsv1.Deployment](t)(api.AppsV1().Deployments("default").Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "khook"},
		Spec:       appsv1.DeploymentSpec{Replicas: &one, Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template},
	}, metav1.CreateOptions{}))
	says(t, found(t, "deployment", Installed, admin), "failed Kubernetes has not taken up the newest change")
	says(t, found(t, "pods", Installed, admin), "failed has no Pods")
	status := func(edit func(*appsv1.DeploymentStatus)) {
		t.Helper()
		edit(&d.Status)
		d = must[*appsv1.Deployment](t)(api.AppsV1().Deployments("default").UpdateStatus(t.Context(), d, metav1.UpdateOptions{}))
	}
	status(func(s *appsv1.DeploymentStatus) {
		s.ObservedGeneration = d.Generation
		s.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Message: "exceeded quota: small"}}
	})
	says(t, found(t, "deployment", Installed, admin), "failed 0 of 1 Pods of Deployment default/khook are ready: exceeded quota: small")

	pod := must[*corev1.Pod](t)(api.CoreV1().Pods("default").Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "khook-1", Labels: labels}, Spec: template.Spec}, metav1.CreateOptions{}))
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "khook", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "no such image"}}}}
	pod = must[*corev1.Pod](t)(api.CoreV1().Pods("default").UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}))
	says(t, found(t, "pods", Installed, admin), "failed Pod khook-1 is not ready: container khook waits: ImagePullBackOff: no such image")
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	must[*corev1.Pod](t)(api.CoreV1().Pods("default").UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}))
	status(func(s *appsv1.DeploymentStatus) {
		s.Conditions, s.Replicas, s.ReadyReplicas, s.UpdatedReplicas = nil, 1, 1, 1
	})
	says(t, found(t, "deployment", Installed, admin), "ok 1 of 1 Pods of Deployment default/khook are ready")
	says(t, found(t, "pods", Installed, admin), "ok Pod khook-1 is ready")
	d.Spec.Replicas = new(int32)
	must[*appsv1.Deployment](t)(api.AppsV1().Deployments("default").Update(t.Context(), d, metav1.UpdateOptions{}))
	says(t, found(t, "deployment", Installed, admin), "failed khook is stopped")

	c := &checkup{Options: admin, kube: api}
	if account, tag, err := c.account(t.Context()); account != "keeper" || tag != "1.2.3" || err != nil {
		t.Errorf("%q %q %v", account, tag, err)
	}
}

// TestAClockThatIsOffIsToldByHowMuch: how far it is off is measured by skew.Meter.
func TestAClockThatIsOffIsToldByHowMuch(t *testing.T) {
	for by, want := range map[time.Duration]string{
		0: "ok less than 1s apart", 8 * time.Second: "ok less than 9s apart", -9 * time.Second: "ok less than 10s",
		time.Minute: "failed clock is 1m0s ahead of", -time.Hour: "failed clock is 1h0m0s behind",
	} {
		c := &checkup{}
		c.clock("this machine's", "", offset{by, 510 * time.Millisecond, true})
		says(t, []string{string(c.findings[0].Result) + " " + c.findings[0].Text}, want)
	}
	c := &checkup{skew: &skew.Meter{}}
	c.clock("this machine's", "", offset{})
	c.clock("this machine's", "", offset{within: time.Minute, known: true})
	c.khookClock(offset{known: true}) // and the API server has not said
	for i, want := range []string{"not-looked-at has no date", "not-looked-at took too long", "not-looked-at has no date"} {
		says(t, []string{string(c.findings[i].Result) + " " + c.findings[i].Text}, want)
	}
}

// TestTheClockOfKhookIsComparedWithTheAPIServers: this machine is a minute ahead of khook, and as exact as the API server, or off as khook is.
func TestTheClockOfKhookIsComparedWithTheAPIServers(t *testing.T) {
	for off, want := range map[time.Duration]string{0: "failed khook's clock is 1m0s behind", -time.Minute: "ok khook's clock and the API server's are less than"} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Date", time.Now().Add(off).UTC().Format(http.TimeFormat))
		}))
		c := &checkup{skew: &skew.Meter{}}
		resp, err := (&http.Client{Transport: c.skew.Wrap(http.DefaultTransport)}).Get(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		c.khookClock(offset{time.Minute, 500 * time.Millisecond, true})
		says(t, []string{string(c.findings[0].Result) + " " + c.findings[0].Text}, want)
		s.Close()
	}
}
