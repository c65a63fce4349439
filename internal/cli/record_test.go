package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/kagent-dev/khook/internal/kubetest"
	"github.com/kagent-dev/khook/internal/recorder"
	"github.com/kagent-dev/khook/internal/replay"
)

// taped is a khook record that runs.
type taped struct {
	t     *testing.T
	file  string
	errs  *lockedBuffer
	seen  chan recorder.Record
	end   context.CancelFunc
	ended chan error
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// record starts a recording, which observes what it records.
func record(t *testing.T, c recordCmd) *taped {
	t.Helper()
	r := &taped{t: t, file: filepath.Join(t.TempDir(), "of-mine.jsonl"), errs: &lockedBuffer{}, seen: make(chan recorder.Record, 1000), ended: make(chan error, 1)}
	var ctx context.Context
	ctx, r.end = context.WithCancel(t.Context())
	t.Cleanup(r.end)
	c.Output, c.observe = r.file, func(next recorder.Record) { r.seen <- next }
	go func() { r.ended <- c.Run(ctx, Env{Out: r.errs, Err: r.errs, Version: "test"}) }()
	return r
}

// await waits until something is recorded.
func (r *taped) await(what string, holds func(recorder.Record) bool) recorder.Record {
	r.t.Helper()
	limit := time.After(time.Minute)
	for {
		select {
		case next := <-r.seen:
			if holds(next) {
				return next
			}
		case err := <-r.ended:
			r.t.Fatalf("it ended before %s: %v\n%s", what, err, r.errs)
		case <-limit:
			r.t.Fatalf("waited in vain until %s\n%s", what, r.errs)
		}
	}
}

// stop ends the recording as Ctrl-C does, and returns what is in it.
func (r *taped) stop() string {
	r.t.Helper()
	r.end()
	if err := <-r.ended; err != nil {
		r.t.Fatalf("%v\n%s", err, r.errs)
	}
	text, err := os.ReadFile(r.file)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(text)
}

// shop is a namespace of a real API server in which a Pod can be made to fail, as a kubelet tells it.
type shop struct {
	t    *testing.T
	kube *kubernetes.Clientset
}

func (s shop) create() *corev1.Pod {
	s.t.Helper()
	controls, probe := true, &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"check", "hunter2"}}}, PeriodSeconds: 5}
	pod, err := s.kube.CoreV1().Pods("shop").Create(s.t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "cart-7d4b9c-x2x9k", Labels: map[string]string{"app": "cart", "pod-template-hash": "7d4b9c"}, Annotations: map[string]string{"note": "hunter2"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "cart-7d4b9c", UID: "x", Controller: &controls}},
		},
		Spec: corev1.PodSpec{NodeName: "worker-17", Containers: []corev1.Container{{
			Name: "app", Image: "registry.example.com/acme/cart:1.2.3", Command: []string{"run", "hunter2"}, LivenessProbe: probe,
			Env: []corev1.EnvVar{{Name: "PASSWORD", Value: "hunter2"}, {Name: "KEY", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
				LocalObjectReference: corev1.LocalObjectReference{Name: "db-credentials"}, Key: "password"}}}},
		}}},
	}, metav1.CreateOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	return pod
}

// again is the Pod as it is, once the API server answers.
func (s shop) again() *corev1.Pod {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		pod, err := s.kube.CoreV1().Pods("shop").Get(s.t.Context(), "cart-7d4b9c-x2x9k", metav1.GetOptions{})
		if err == nil {
			return pod
		}
		if time.Now().After(deadline) {
			s.t.Fatal(err)
		}
	}
}

// status writes the next version of the Pod's status.
func (s shop) status(pod *corev1.Pod, restarts int32, ready bool, last *corev1.ContainerStateTerminated) *corev1.Pod {
	s.t.Helper()
	pod.Status.Phase = corev1.PodRunning
	of := corev1.ConditionFalse
	if ready {
		of = corev1.ConditionTrue
	}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: of}, {Type: corev1.ContainersReady, Status: of}}
	started := true
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "app", RestartCount: restarts, Ready: ready, Started: &started, ContainerID: fmt.Sprintf("containerd://%d", restarts),
		State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}, LastTerminationState: corev1.ContainerState{Terminated: last},
	}}
	next, err := s.kube.CoreV1().Pods("shop").UpdateStatus(s.t.Context(), pod, metav1.UpdateOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	return next
}

func (s shop) event(pod *corev1.Pod, reason, message string) {
	s.t.Helper()
	_, err := s.kube.CoreV1().Events("shop").Create(s.t.Context(), &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: pod.Name + "." + strings.ToLower(reason)},
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: pod.Name, UID: pod.UID, FieldPath: "spec.containers{app}"},
		Reason:         reason, Message: message, Type: "Warning", Source: corev1.EventSource{Component: "kubelet", Host: "worker-17"},
		Count: 1, FirstTimestamp: metav1.Now(), LastTimestamp: metav1.Now(),
	}, metav1.CreateOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
}

const shopHook = `apiVersion: kagent.dev/v1alpha2
kind: Hook
metadata: {name: restarts}
spec:
  eventConfigurations:
  - {eventType: pod-restart, agentId: kagent/medic, prompt: "{{.ResourceName}} on {{.Node}}: {{.EventMessage}}"}
`

// TestWhatIsRecordedOfAClusterCanBeReplayed makes a Pod of a real API server fail while it is recorded, and tries a Hook on
// the recording; then it records once more what is left of that, by other names, and as who may read less.
func TestWhatIsRecordedOfAClusterCanBeReplayed(t *testing.T) {
	env, err := kubetest.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer env.Stop()
	s := shop{t, kubernetes.NewForConfigOrDie(env.Config)}
	for _, name := range []string{"shop", "bank"} {
		if _, err := s.kube.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	admin := write(t, "admin.kubeconfig", string(env.KubeConfig))
	hook := write(t, "hook.yaml", shopHook)

	pod := s.status(s.create(), 0, true, nil)
	r := record(t, recordCmd{Namespaces: []string{"shop"}, Kubeconfig: admin})
	first := r.await("the Pod is listed", func(next recorder.Record) bool { return next.Pod != nil })
	if !first.Listed || first.Pod.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("%+v", first)
	}
	died := metav1.NewTime(time.Now().Truncate(time.Second))
	pod = s.status(pod, 1, false, &corev1.ContainerStateTerminated{ExitCode: 3, Reason: "Error", ContainerID: "containerd://0", StartedAt: pod.CreationTimestamp, FinishedAt: died, Message: `secret "db-credentials" is wrong`})
	s.event(pod, "FailedMount", `MountVolume.SetUp failed for volume "x" : secret "db-credentials" not found`)
	r.await("the restart is recorded", func(next recorder.Record) bool {
		return next.Pod != nil && next.Pod.Status.ContainerStatuses[0].RestartCount == 1
	})
	r.await("the Event is recorded", func(next recorder.Record) bool { return next.Event != nil && next.Event.Reason == "FailedMount" })
	text := r.stop()
	if told := r.errs.String(); !strings.Contains(told, "recorded 1 Pod (2 versions) and 1 Event in ") {
		t.Errorf("%s", told)
	}
	holdsNone(t, text, "hunter2", "db-credentials", "PASSWORD")
	replayed(t, hook, r.file, "shop/restarts calls kagent/medic: pod-restart of Deployment/cart", "cart-7d4b9c-x2x9k on worker-17: ⟦Container app restarted (restart 1): it had ended with exit code 3 (Error): secret \"secret-1\" is wrong⟧")
	if code, _, errs := khook(t, "record", "-n", "shop", "--kubeconfig", admin, "-o", r.file, "--for", "1ms"); code != 1 || !strings.Contains(errs, "exists") {
		t.Errorf("it writes over a file: %d %s", code, errs)
	}

	t.Run("by other names", func(t *testing.T) {
		r := record(t, recordCmd{AllNamespaces: true, Selector: "app=cart", Anonymize: true, Kubeconfig: admin})
		r.await("the Event is recorded", func(next recorder.Record) bool { return next.Event != nil && next.Event.Reason == "FailedMount" })
		text := r.stop()
		holdsNone(t, text, "hunter2", "db-credentials", "cart", "shop", "worker-17", "registry.example.com", "acme", "1.2.3")
		replayed(t, hook, r.file, "namespace-1/restarts calls kagent/medic: pod-restart of Deployment/workload-1", "workload-1-7d4b9c-x2x9k on node-1: ⟦Container app restarted")
	})
	t.Run("by who may read less", func(t *testing.T) {
		reader := podsReader(t, env, s.kube, "pods-only")
		r := record(t, recordCmd{Namespaces: []string{"shop", "bank"}, Kubeconfig: reader})
		r.await("the Pod is listed", func(next recorder.Record) bool { return next.Pod != nil })
		text := r.stop()
		for _, forbidden := range []string{"you may not list events in namespace shop: they are left out: failing probes", "you may not list pods in namespace bank: they are left out"} {
			if !strings.Contains(r.errs.String(), forbidden) || !strings.Contains(text, forbidden) {
				t.Errorf("it does not say %q:\n%s\n%s", forbidden, r.errs, text)
			}
		}
		code, _, errs := khook(t, "record", "-n", "bank", "--kubeconfig", reader, "-o", filepath.Join(t.TempDir(), "none.jsonl"))
		if code != 1 || !strings.Contains(errs, "there is nothing that you may record") {
			t.Errorf("%d %s", code, errs)
		}
	})
	t.Run("over a restart of the API server", func(t *testing.T) {
		r := record(t, recordCmd{Namespaces: []string{"shop"}, Kubeconfig: admin})
		r.await("the Pod is listed", func(next recorder.Record) bool { return next.Pod != nil })
		server := env.ControlPlane.GetAPIServer()
		if err := server.Stop(); err != nil {
			t.Log(err)
		}
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		s.status(s.again(), 2, false, &corev1.ContainerStateTerminated{ExitCode: 4, Reason: "Error", ContainerID: "containerd://1", StartedAt: died, FinishedAt: metav1.Now()})
		next := r.await("the next restart is recorded", func(next recorder.Record) bool {
			return next.Pod != nil && next.Pod.Status.ContainerStatuses[0].RestartCount == 2
		})
		if r.stop(); next.Type != watch.Modified || next.Listed {
			t.Errorf("%+v", next)
		}
	})
	t.Run("nothing", func(t *testing.T) {
		none := filepath.Join(t.TempDir(), "none.jsonl")
		if code, _, errs := khook(t, "record", "-n", "bank", "--kubeconfig", admin, "-o", none, "--for", "100ms"); code != 1 || !strings.Contains(errs, "no Pod and no Event was seen") {
			t.Errorf("%d %s", code, errs)
		}
		if _, err := os.Stat(none); err == nil {
			t.Error("it leaves a file without a recording")
		}
		for args, says := range map[string]string{"-n nowhere": "there is no namespace nowhere", "-A -n shop": "leave out -n, or -A", "-l a=b=c": "--selector", "--for=-1s": "--for is -1s"} {
			if code, _, errs := khook(t, append([]string{"record", "--kubeconfig", admin, "-o", none}, strings.Fields(args)...)...); code == 0 || !strings.Contains(errs, says) {
				t.Errorf("%s: %d %s", args, code, errs)
			}
		}
	})
}

func holdsNone(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, word := range words {
		if strings.Contains(text, word) {
			t.Errorf("%s is in the recording:\n%s", word, text)
		}
	}
}

// replayed holds the one call of a recording, and its prompt, to what they should be.
func replayed(t *testing.T, hook, file, call, prompt string) {
	t.Helper()
	code, out, errs := khook(t, "replay", "-o", "json", "--hook", hook, file)
	var told replay.Story
	if err := json.Unmarshal([]byte(out), &told); err != nil {
		t.Fatalf("%d %s %v", code, errs, err)
	}
	if len(told.Deliveries) != 1 {
		t.Fatalf("%d calls: %s", len(told.Deliveries), out)
	}
	d := told.Deliveries[0]
	if got := fmt.Sprintf("%s calls %s: %s of %s", d.Hook, d.Agent, d.EventType, d.Group); got != call || !strings.Contains(d.Prompt, prompt) {
		t.Errorf("%s\n%s\nwant %s, %s", got, d.Prompt, call, prompt)
	}
}

// podsReader is the kubeconfig of somebody who may read the Pods of shop, and no more.
func podsReader(t *testing.T, env *kubetest.Env, kube *kubernetes.Clientset, name string) string {
	t.Helper()
	meta := metav1.ObjectMeta{Name: name}
	_, err := kube.RbacV1().Roles("shop").Create(t.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list", "watch"}}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = kube.RbacV1().RoleBindings("shop").Create(t.Context(), &rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
		Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: name}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	user, err := env.AddUser(envtest.User{Name: name}, nil)
	if err != nil {
		t.Fatal(err)
	}
	as, err := kubernetes.NewForConfig(user.Config())
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if _, err = as.CoreV1().Pods("shop").List(t.Context(), metav1.ListOptions{}); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	config, err := user.KubeConfig()
	if err != nil {
		t.Fatal(err)
	}
	return write(t, name+".kubeconfig", string(config))
}
