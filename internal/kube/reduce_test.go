package kube

import (
	"fmt"
	"maps"
	"runtime"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kagent-dev/khook/internal/detect"
	"github.com/kagent-dev/khook/internal/incident"
)

// hostilePod is as large as etcd takes: who writes it wants khook's memory.
func hostilePod(n int) *corev1.Pod {
	text := func() string { return strings.Repeat(fmt.Sprintf("%08d", n), 8<<10) }
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprint("hostile-", n), UID: "u", Labels: map[string]string{"pod-template-hash": "5d9"}, Annotations: map[string]string{"a": text()}}}
	for i := range 1000 {
		p.Labels[fmt.Sprintf("a%d.example.com/%04d", n, i)] = strings.Repeat("v", 63)
	}
	terminated := func() corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled", Message: text()}}
	}
	p.Spec.Containers = []corev1.Container{{Name: "app", Args: []string{text()}}}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", RestartCount: 1, ContainerID: "containerd://1", Image: text(), State: terminated(), LastTerminationState: terminated()}}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse, Message: text()}}
	return p
}

func TestAHostilePodTakesLittleWhileItWaits(t *testing.T) {
	const pods, each = 50, 40 << 10
	var held []*corev1.Pod
	before := heapInUse()
	for n := range pods {
		p := hostilePod(n)
		Reduce(p)
		held = append(held, p)
	}
	if took := (heapInUse() - before) / pods; took > each {
		t.Errorf("each of %d Pods takes %d bytes, want at most %d", len(held), took, each)
	}
	runtime.KeepAlive(held)
}

func TestOfTooManyLabelsTheFirstByNameAreLookedAt(t *testing.T) {
	labels := hostilePod(7).Labels
	kept := boundedLabels(labels)
	bytes := 0
	for k, v := range kept {
		if bytes += len(k) + len(v); labels[k] != v {
			t.Errorf("%s became %q", k, v)
		}
	}
	if len(kept) < 50 || len(kept) > maxPodLabels || bytes > maxPodLabelBytes || kept["pod-template-hash"] != "5d9" || kept["a7.example.com/0000"] == "" {
		t.Errorf("%d labels of %d bytes", len(kept), bytes)
	}
	if again := boundedLabels(labels); !maps.Equal(kept, again) {
		t.Error("the second time it keeps others")
	}
	few := map[string]string{"app": "cart", "tier": "front"}
	if got := boundedLabels(few); len(got) != 2 {
		t.Errorf("of few it keeps %v", got)
	}
}

func TestAReducedPodTellsTheSame(t *testing.T) {
	var want []string
	for _, reduced := range []bool{false, true} {
		p := hostilePod(1)
		p.Labels = map[string]string{"app": "cart"}
		p.Status.ContainerStatuses[0].LastTerminationState.Terminated.Message = strings.Repeat("x", 3000)
		if reduced {
			Reduce(p)
		}
		d := detect.New(detect.Timing{Start: noon})
		var told []string
		for _, s := range d.Pod(noon, "MODIFIED", p, false) {
			told = append(told, fmt.Sprint(s.Type, s.Key, s.Reason, len(s.Message) <= incident.MaxMessage, s.Workload, s.Attributes.Pod.Labels))
		}
		if len(told) == 0 {
			t.Fatal("nothing is told")
		}
		if !reduced {
			want = told
			continue
		}
		if strings.Join(told, "\n") != strings.Join(want, "\n") {
			t.Errorf("%v, want %v", told, want)
		}
	}
}
