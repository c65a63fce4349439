package system

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/incident"
)

// namespace makes a namespace for one test, and deletes its Hooks and Pods at the end.
func namespace(t testing.TB) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "t-"}}
	if err := testCluster.client.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.Background()
		for _, obj := range []client.Object{&v1alpha2.Hook{}, &corev1.Pod{}} {
			if err := testCluster.client.DeleteAllOf(ctx, obj, client.InNamespace(ns.Name), client.GracePeriodSeconds(0)); err != nil {
				t.Error(err)
			}
		}
	})
	return ns.Name
}

// applyHook makes a Hook that calls agent kagent/medic for some event types.
func applyHook(t testing.TB, ns, name string, eventTypes ...incident.EventType) *v1alpha2.Hook {
	t.Helper()
	h := &v1alpha2.Hook{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
	for _, et := range eventTypes {
		id := "kagent/medic"
		h.Spec.EventConfigurations = append(h.Spec.EventConfigurations, v1alpha2.EventConfiguration{
			EventType: string(et), AgentId: &id, Prompt: "{{.EventType}} {{.ResourceName}} {{.Workload}}: {{.EventMessage}}",
		})
	}
	if err := testCluster.client.Create(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	return h
}

// newPod makes a Pod of a Deployment, bound to a node that nobody runs: the test plays the kubelet.
func newPod(t testing.TB, ns, deployment, name string) *corev1.Pod {
	t.Helper()
	yes := true
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: ns, Name: name, Labels: map[string]string{"app": deployment, "pod-template-hash": "abc"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: deployment + "-abc", UID: types.UID("u-" + deployment), Controller: &yes}},
		},
		Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "app", Image: "app:1"}}},
	}
	if err := testCluster.client.Create(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	return p
}

// becomes writes the Pod's status: its container runs, and has restarted so many times for a reason.
func becomes(t testing.TB, p *corev1.Pod, restarts int, reason string) {
	t.Helper()
	setStatus(p, restarts, reason)
	if err := testCluster.client.Status().Update(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

// crashLoops writes the Pod's status: its container was restarted so many times for a reason, and does
// not run again yet.
func crashLoops(t testing.TB, p *corev1.Pod, restarts int, reason string) {
	t.Helper()
	setStatus(p, restarts, reason)
	st := &p.Status.ContainerStatuses[0]
	st.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
	st.Ready = false
	p.Status.Conditions[0].Status = corev1.ConditionFalse
	if err := testCluster.client.Status().Update(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

func setStatus(p *corev1.Pod, restarts int, reason string) {
	now, yes := metav1.Now(), true
	st := corev1.ContainerStatus{
		Name: "app", Image: "app:1", Ready: true, Started: &yes, RestartCount: int32(restarts),
		ContainerID: fmt.Sprintf("containerd://%s-%d", p.UID, restarts),
		State:       corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
	}
	if restarts > 0 {
		code := int32(1)
		if reason == "OOMKilled" {
			code = 137
		}
		st.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{
			ExitCode: code, Reason: reason, FinishedAt: metav1.NewTime(now.Add(-time.Second)),
			StartedAt: metav1.NewTime(now.Add(-time.Minute)), ContainerID: fmt.Sprintf("containerd://%s-%d", p.UID, restarts-1),
		}
	}
	p.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{st},
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
	}
}
