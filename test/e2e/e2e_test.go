//go:build e2e

// Package e2e runs khook against a cluster with a real node: real containers that are really
// OOM-killed, crash, fail their probes, and can't be scheduled or pulled.
//
// KUBECONFIG names the cluster; "make e2e" starts one. khook runs in it as a Pod, installed by helm
// from its chart with exactly the rights that the chart gives it. KHOOK names the program for the
// command line, KHOOK_E2E_IMAGE an image with a shell that the cluster's nodes have or can pull;
// newRelease says what else is needed.
package e2e

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	gocmp "github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/kagent-dev/khook/api/v1alpha2"
)

var image = cmp.Or(os.Getenv("KHOOK_E2E_IMAGE"), "localhost/busybox:1")

// patience is for how long a condition is awaited: a real kubelet takes its time.
const patience = 5 * time.Minute

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard()) // of controller-runtime's client
	os.Exit(m.Run())
}

// cluster is the one of KUBECONFIG.
func cluster(t *testing.T) *rest.Config {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatalf(`%v: run "make e2e", or set KUBECONFIG to a cluster with a node`, err)
	}
	return cfg
}

func connect(t *testing.T) client.WithWatch {
	t.Helper()
	cfg := cluster(t)
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	if err := v1alpha2.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c, err := client.NewWithWatch(cfg, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// namespace makes one, which is gone at the test's end: a khook that starts later would take up what
// failed in it.
func newNamespace(t *testing.T, c client.Client) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "khook-e2e-"}}
	if err := c.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Delete(context.Background(), ns)
		await(t, "the namespace "+ns.Name+" is gone", func() error { return gone(context.Background(), c, ns) })
	})
	return ns.Name
}

// installCRD makes the cluster know Hooks, for a khook that runs outside of it.
func installCRD(t *testing.T) {
	t.Helper()
	if _, err := envtest.InstallCRDs(cluster(t), envtest.CRDInstallOptions{Paths: []string{"../../config/crd"}, ErrorIfPathMissing: true}); err != nil {
		t.Fatal(err)
	}
}

// startKhook runs khook outside of the cluster until the test ends; kill ends it before, as a crash would.
func startKhook(t *testing.T, dir, kagent string, args ...string) (kill func()) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(dir, "khook.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	flags := []string{"controller", "--no-leader-elect", "--log-format", "text",
		"--kagent-url", kagent, "--database", filepath.Join(dir, "khook.db"), "--stabilization", "45s",
		"--metrics-bind-address", "127.0.0.1:0", "--health-probe-bind-address", "127.0.0.1:0", "--api-bind-address", "127.0.0.1:0"}
	cmd := exec.Command(cmp.Or(os.Getenv("KHOOK"), "../../bin/khook"), append(flags, args...)...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Cleanup(func() {
		kill()
		log.Close()
		if t.Failed() {
			text, _ := os.ReadFile(filepath.Join(dir, "khook.log"))
			t.Logf("log of khook:\n%s", text[max(0, len(text)-20000):])
		}
	})
	return kill
}

// container is a container of the test's image.
func container(script string, change ...func(*corev1.Container)) corev1.Container {
	c := corev1.Container{Name: "app", Image: image, ImagePullPolicy: corev1.PullIfNotPresent, Command: []string{"/bin/sh", "-c", script}}
	for _, do := range change {
		do(&c)
	}
	return c
}

func memory(limit string) func(*corev1.Container) {
	return func(c *corev1.Container) {
		c.Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(limit)}
	}
}

func deployment(ns, name string, replicas int32, spec corev1.PodSpec) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	grace := int64(1)
	spec.TerminationGracePeriodSeconds = &grace
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec},
		},
	}
}

// crashOnce fails once, and is well from then on.
func crashOnce(ns string) *appsv1.Deployment {
	return deployment(ns, "crash-once", 1, corev1.PodSpec{
		Containers: []corev1.Container{container("test -f /d/x && sleep 100000; touch /d/x; sleep 3; exit 7", func(c *corev1.Container) {
			c.VolumeMounts = []corev1.VolumeMount{{Name: "d", MountPath: "/d"}}
		})},
		Volumes: []corev1.Volume{{Name: "d", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
	})
}

// workloads are what fails, each in its own way.
func workloads(ns string) []*appsv1.Deployment {
	of := func(c corev1.Container) corev1.PodSpec { return corev1.PodSpec{Containers: []corev1.Container{c}} }
	return []*appsv1.Deployment{
		deployment(ns, "oom", 2, of(container("sleep 3; tail /dev/zero", memory("24Mi")))),
		crashOnce(ns),
		deployment(ns, "liveness", 1, of(container("touch /tmp/ok; sleep 10; rm /tmp/ok; sleep 100000", func(c *corev1.Container) {
			c.LivenessProbe = &corev1.Probe{PeriodSeconds: 2, FailureThreshold: 3, TimeoutSeconds: 10,
				ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"cat", "/tmp/ok"}}}}
		}))),
		deployment(ns, "readiness", 1, of(container("sleep 100000", func(c *corev1.Container) {
			c.ReadinessProbe = &corev1.Probe{PeriodSeconds: 3, FailureThreshold: 2,
				ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(8099)}}}
		}))),
		deployment(ns, "unschedulable", 1, of(container("sleep 100000", func(c *corev1.Container) {
			c.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("640")}
		}))),
		deployment(ns, "unpullable", 1, of(container("sleep 100000", func(c *corev1.Container) { c.Image = "localhost/no-such-image:1" }))),
		deployment(ns, "init", 1, corev1.PodSpec{
			InitContainers: []corev1.Container{container("sleep 1; exit 3", func(c *corev1.Container) { c.Name = "migrate" })},
			Containers:     []corev1.Container{container("sleep 100000")},
		}),
		deployment(ns, "healthy", 2, of(container("sleep 100000", func(c *corev1.Container) {
			c.LivenessProbe = &corev1.Probe{PeriodSeconds: 2, TimeoutSeconds: 30, ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}}}
		}))),
	}
}

// calls are the agent's calls that are right: one for each workload and cause.
var calls = []string{
	"oom-kill Deployment/oom", "pod-pending Deployment/unpullable", "pod-pending Deployment/unschedulable",
	"pod-restart Deployment/crash-once", "pod-restart Deployment/init",
	"probe-failed Deployment/liveness", "probe-failed Deployment/readiness",
}

// statusHas holds a Hook's active events, as "type workload", against what is expected of them.
func statusHas(c client.Client, hook *v1alpha2.Hook, want map[string]string) error {
	if err := c.Get(context.Background(), client.ObjectKeyFromObject(hook), hook); err != nil {
		return err
	}
	got := map[string]string{}
	for _, e := range hook.Status.ActiveEvents {
		parts := strings.Split(e.ResourceName, "-") // <deployment>-<hash>-<random>
		got[e.EventType+" "+strings.Join(parts[:len(parts)-2], "-")] = e.Status
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		return fmt.Errorf("(-want +got)\n%s", diff)
	}
	return nil
}

// checkStory looks at the Hook's condition and Kubernetes Events.
func checkStory(t *testing.T, c client.Client, hook *v1alpha2.Hook) {
	t.Helper()
	if len(hook.Status.Conditions) != 1 || hook.Status.Conditions[0].Status != metav1.ConditionTrue || hook.Status.LastFired == nil {
		t.Errorf("status %+v", hook.Status)
	}
	var events eventsv1.EventList
	if err := c.List(t.Context(), &events, client.InNamespace(hook.Namespace)); err != nil {
		t.Fatal(err)
	}
	reasons := map[string]int{}
	for _, e := range events.Items {
		if e.Regarding.Kind == "Hook" {
			reasons[e.Reason]++
		}
	}
	if reasons["EventFiring"] == 0 || reasons["AgentCallSuccess"] == 0 || reasons["EventResolved"] == 0 {
		t.Errorf("Events on the Hook: %v", reasons)
	}
}

// witness is what the cluster itself said, beside khook.
type witness struct {
	mu   sync.Mutex
	ends []string // each end of a container, in the order in which it was seen
}

// lookOn notes the ends of containers in a namespace until the test ends, and tells them if it fails.
func lookOn(t *testing.T, c client.WithWatch, namespace string) *witness {
	t.Helper()
	w := &witness{}
	watcher, err := c.Watch(t.Context(), &corev1.PodList{}, client.InNamespace(namespace))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ev := range watcher.ResultChan() {
			if pod, ok := ev.Object.(*corev1.Pod); ok {
				w.note(pod)
			}
		}
	}()
	t.Cleanup(func() {
		watcher.Stop()
		<-done
		if t.Failed() {
			t.Logf("ends of containers, as the cluster told them:\n%s", strings.Join(w.ends, "\n"))
		}
	})
	return w
}

func (w *witness) note(pod *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, st := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		end := st.LastTerminationState.Terminated
		if st.State.Terminated != nil {
			end = st.State.Terminated
		}
		if end == nil {
			continue
		}
		line := fmt.Sprintf("%s %s %s %d %s", end.FinishedAt.UTC().Format(time.RFC3339), pod.Name, end.Reason, end.ExitCode, end.ContainerID)
		if !slices.Contains(w.ends, line) {
			w.ends = append(w.ends, line)
		}
	}
}

// calls are those that are right. Some container runtimes tell an OOM kill as an Error with exit
// code 137 (containerd#8180): if a Pod's first one was told so, it is a restart to all who look on.
func (w *witness) calls() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	known := map[string]bool{}
	for _, end := range w.ends {
		parts := strings.Fields(end) // time, Pod, reason, code
		pod := parts[1]
		if strings.HasPrefix(pod, "oom-") && parts[2] != "OOMKilled" && !known[pod] {
			all := append(slices.Clone(calls), "pod-restart Deployment/oom")
			slices.Sort(all)
			return all
		}
		known[pod] = true
	}
	return calls
}

func await(t *testing.T, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s: %v", what, err)
		}
		time.Sleep(500 * time.Millisecond)
	}
}
