package kube

import (
	"encoding/json"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

const (
	memoryPods      = 10_000
	memoryWorkloads = 100
	memoryAim       = 400 // bytes a Pod
)

// realPod is a healthy two-container Pod as a cluster shows it, decoded from JSON as a client does,
// so that nothing of it is shared with another.
func realPod(t testing.TB, i int) (*corev1.Pod, int) {
	t.Helper()
	now := metav1.NewTime(noon)
	app, hash := fmt.Sprintf("service-%02d", i%memoryWorkloads), fmt.Sprintf("%010x", uint64(i%memoryWorkloads)*2654435761)
	yes := true
	pod := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("%s-%s-%05x", app, hash, i), GenerateName: app + "-" + hash + "-", Namespace: fmt.Sprintf("team-%d", i%10),
			UID: types.UID(uuid.NewString()), ResourceVersion: fmt.Sprint(100000 + i), CreationTimestamp: now,
			Labels:          map[string]string{"app.kubernetes.io/name": app, "app.kubernetes.io/part-of": "shop", "pod-template-hash": hash, "team": "payments"},
			Annotations:     map[string]string{"prometheus.io/scrape": "true", "checksum/config": hash + hash + hash + hash, "kubectl.kubernetes.io/restartedAt": "2026-03-01T12:00:00Z"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: app + "-" + hash, UID: types.UID(uuid.NewString()), Controller: &yes}},
			ManagedFields: []metav1.ManagedFieldsEntry{
				{Manager: "kube-controller-manager", Operation: "Update", APIVersion: "v1", Time: &now, FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:metadata":{"f:generateName":{},"f:labels":{".":{},"f:app":{},"f:pod-template-hash":{}},"f:ownerReferences":{".":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"app\"}":{".":{},"f:env":{".":{}},"f:image":{},"f:name":{},"f:resources":{}}},"f:restartPolicy":{}}}`)}},
				{Manager: "kubelet", Operation: "Update", APIVersion: "v1", Time: &now, Subresource: "status", FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:status":{"f:conditions":{"k:{\"type\":\"Ready\"}":{".":{},"f:lastTransitionTime":{},"f:status":{}}},"f:containerStatuses":{},"f:hostIP":{},"f:phase":{},"f:podIP":{}}}`)}},
			},
		},
		Spec: corev1.PodSpec{
			NodeName: fmt.Sprintf("node-%03d", i%200), ServiceAccountName: app, RestartPolicy: corev1.RestartPolicyAlways,
			Volumes: []corev1.Volume{{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: app}}}}, {Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: fmt.Sprintf("10.%d.%d.7", i/250, i%250), HostIP: "192.168.0.7", StartTime: &now, QOSClass: corev1.PodQOSBurstable},
	}
	for _, c := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady} {
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: c, Status: corev1.ConditionTrue, LastTransitionTime: now})
	}
	for _, name := range []string{"app", "proxy"} {
		probe := corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/ready", Port: intstr.FromInt32(8080)}}, PeriodSeconds: 10, FailureThreshold: 3, TimeoutSeconds: 1}
		c := corev1.Container{
			Name: name, Image: "registry.example.com/shop/" + app + ":v1.2.3", ReadinessProbe: &probe, LivenessProbe: &probe,
			Resources:    corev1.ResourceRequirements{Limits: corev1.ResourceList{"memory": resource.MustParse("256Mi")}, Requests: corev1.ResourceList{"cpu": resource.MustParse("100m")}},
			VolumeMounts: []corev1.VolumeMount{{Name: "config", MountPath: "/etc/config"}, {Name: "tmp", MountPath: "/tmp"}},
		}
		for v := range 6 {
			c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("SETTING_%d", v), Value: fmt.Sprintf("value-%d-of-%s", v, app)})
		}
		pod.Spec.Containers = append(pod.Spec.Containers, c)
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: name, Ready: true, Started: &yes, Image: c.Image, ImageID: c.Image + "@sha256:" + hash, ContainerID: "containerd://" + uuid.NewString() + uuid.NewString(),
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
		})
	}
	raw, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	out := &corev1.Pod{}
	if err := json.Unmarshal(raw, out); err != nil {
		t.Fatal(err)
	}
	return out, len(raw)
}

// heapOf is how many bytes of heap what fill builds keeps.
func heapOf(fill func() any) float64 {
	measure := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := measure()
	kept := fill()
	after := measure()
	runtime.KeepAlive(kept)
	return float64(int64(after) - int64(before))
}

// detectorHeap and informerHeap are what a healthy Pod costs khook's detector, and the store of a
// plain shared informer, in bytes.
func detectorHeap(t testing.TB, pods int) float64 {
	return heapOf(func() any {
		d := NewDetector(Rules{Start: noon.Add(time.Hour)})
		for i := range pods {
			pod, _ := realPod(t, i)
			if signals := d.Pod(noon.Add(time.Hour), watch.Added, pod, true); len(signals) > 0 {
				t.Fatalf("a healthy Pod tells %+v", signals)
			}
		}
		return d
	}) / float64(pods)
}

func informerHeap(t testing.TB, pods int) float64 {
	return heapOf(func() any {
		store := cache.NewIndexer(cache.DeletionHandlingMetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
		for i := range pods {
			pod, _ := realPod(t, i)
			if err := store.Add(pod); err != nil {
				t.Fatal(err)
			}
		}
		return store
	}) / float64(pods)
}

func BenchmarkPodMemory(b *testing.B) {
	var ours, plain float64
	for b.Loop() {
		ours, plain = detectorHeap(b, memoryPods), informerHeap(b, memoryPods)
	}
	_, size := realPod(b, 1)
	b.ReportMetric(ours, "khook-B/pod")
	b.ReportMetric(plain, "informer-B/pod")
	b.ReportMetric(plain/ours, "ratio")
	b.ReportMetric(float64(size), "JSON-B/pod")
	b.ReportMetric(0, "ns/op")
}

func TestAHealthyPodNeedsLittleMemory(t *testing.T) {
	if got := detectorHeap(t, 5000); got > memoryAim {
		t.Errorf("a healthy Pod of two containers needs %.0f bytes, want at most %d", got, memoryAim)
	}
}
