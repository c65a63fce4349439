package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kagent-dev/khook/internal/detect"
	"github.com/kagent-dev/khook/internal/incident"
)

// noon is when the tests begin.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// realisticPod is the i-th healthy Pod of a cluster: 50 replicas of each workload, two containers,
// 5 to 6 KB as JSON.
func realisticPod(i int) *corev1.Pod {
	app, template := fmt.Sprintf("payments-%d", i/50), fmt.Sprintf("%09x", 0x5d9f8b6c0+i/50)
	created, yes := metav1.NewTime(noon.Add(time.Duration(i)*time.Second)), true
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("%s-%s-%05x", app, template, 0x12345+i), GenerateName: app + "-" + template + "-", Namespace: fmt.Sprintf("team-%d", i%20),
			UID: types.UID(fmt.Sprintf("%08x-35a4-4b0c-8a3b-4f1d7cf6a0d1", i)), ResourceVersion: fmt.Sprint(1000 + i), CreationTimestamp: created,
			Labels: map[string]string{
				"app.kubernetes.io/name": app, "app.kubernetes.io/part-of": "shop", "app.kubernetes.io/version": "2.14.3",
				"pod-template-hash": template, "topology.kubernetes.io/zone": fmt.Sprintf("zone-%d", i%3),
			},
			Annotations: map[string]string{
				"checksum/config": fmt.Sprintf("%064x", i), "prometheus.io/scrape": "true", "prometheus.io/port": "9090",
				"sidecar.example.com/status": `{"containers":["proxy"],"volumes":["certs","envoy"],"revision":"1-24-3"}`,
			},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: app + "-" + template, UID: "f2b8a1c4-35a4-4b0c-8a3b-4f1d7cf6a0d1", Controller: &yes}},
			ManagedFields: []metav1.ManagedFieldsEntry{
				{Manager: "kube-controller-manager", Operation: "Update", APIVersion: "v1", Time: &created, FieldsType: "FieldsV1", FieldsV1: managed("f:spec", 8)},
				{Manager: "kubelet", Operation: "Update", APIVersion: "v1", Time: &created, FieldsType: "FieldsV1", Subresource: "status", FieldsV1: managed("f:status", 6)},
			},
		},
		Spec: corev1.PodSpec{
			NodeName: fmt.Sprintf("node-%d", i%100), RestartPolicy: corev1.RestartPolicyAlways, ServiceAccountName: app,
			Containers: []corev1.Container{realisticContainer("app", app), realisticContainer("proxy", "envoy")},
		},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, HostIP: "10.0.0.7", PodIP: fmt.Sprintf("10.244.%d.%d", i/250%250, i%250), StartTime: &created, QOSClass: corev1.PodQOSBurstable},
	}
	for _, v := range []string{"config", "certs", "tmp", "kube-api-access"} {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: v, VolumeSource: corev1.VolumeSource{
			ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: app + "-" + v}},
		}})
	}
	for _, c := range []corev1.PodConditionType{"PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"} {
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: c, Status: corev1.ConditionTrue, LastTransitionTime: created})
	}
	for _, c := range pod.Spec.Containers {
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: c.Name, Image: c.Image, ImageID: "registry.example.com/shop/" + c.Name + "@sha256:" + fmt.Sprintf("%064x", 7), Ready: true, Started: &yes,
			ContainerID: fmt.Sprintf("containerd://%s%059x", c.Name, i), State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: created}},
		})
	}
	return pod
}

func managed(of string, fields int) *metav1.FieldsV1 {
	var b strings.Builder
	fmt.Fprintf(&b, `{%q:{`, of)
	for i := range fields {
		fmt.Fprintf(&b, `"k:{\"name\":\"field-%d\"}":{".":{},"f:name":{},"f:value":{}},`, i)
	}
	b.WriteString(`"f:last":{}}}`)
	return metav1.NewFieldsV1(b.String())
}

func realisticContainer(name, app string) corev1.Container {
	probe := &corev1.Probe{
		FailureThreshold: 3, PeriodSeconds: 10, InitialDelaySeconds: 5, TimeoutSeconds: 1,
		ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromInt32(8080)}},
	}
	c := corev1.Container{
		Name: name, Image: "registry.example.com/shop/" + app + ":2.14.3", Args: []string{"serve", "--port=8080"}, LivenessProbe: probe, ReadinessProbe: probe,
		Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("512Mi")}},
		Ports:     []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
	}
	for i := range 8 {
		c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("SETTING_%d", i), Value: fmt.Sprintf("value-of-%s-%d", app, i)})
	}
	for _, v := range []string{"config", "certs", "tmp", "kube-api-access"} {
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: v, MountPath: "/var/run/" + v, ReadOnly: true})
	}
	return c
}

// heapInUse is what is in use after a garbage collection, in bytes.
func heapInUse() int64 {
	for range 3 {
		runtime.GC() // interned values go with a second one
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

const manyPods = 10_000

func TestAHealthyPodTakesAtMost400Bytes(t *testing.T) {
	if size, _ := json.Marshal(realisticPod(1)); len(size) < 3000 || len(size) > 7000 {
		t.Fatalf("a realistic Pod has %d bytes of JSON", len(size))
	}
	before := heapInUse()
	d := detect.New(detect.Timing{Start: noon})
	for i := range manyPods {
		d.Pod(noon.Add(24*time.Hour), watch.Modified, realisticPod(i), true)
	}
	perPod := (heapInUse() - before) / manyPods
	if _, watched := d.Next(); perPod > 400 || watched || !d.Knows(realisticPod(manyPods-1).UID) {
		t.Errorf("a healthy Pod takes %d bytes (one of them is taken for unhealthy: %v)", perPod, watched)
	}
	runtime.KeepAlive(d)
}

// BenchmarkPodMemory shows the heap that a healthy Pod of two containers takes in khook, beside
// what it takes in a plain shared informer. Both watch the same API server.
func BenchmarkPodMemory(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(serveManyPods))
	defer server.Close()
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	startedInformer(ctx, b, client) // what is made once in a process counts for neither
	cancel()
	b.Run("khook", func(b *testing.B) {
		benchmarkPerPod(b, func(ctx context.Context) any { return startedSource(ctx, b, client) })
	})
	b.Run("informer", func(b *testing.B) {
		benchmarkPerPod(b, func(ctx context.Context) any { return startedInformer(ctx, b, client) })
	})
}

// benchmarkPerPod reports the heap that what start returns keeps.
func benchmarkPerPod(b *testing.B, start func(context.Context) any) {
	var total int64
	for b.Loop() {
		ctx, cancel := context.WithCancel(context.Background())
		before := heapInUse()
		kept := start(ctx)
		total += heapInUse() - before
		runtime.KeepAlive(kept)
		cancel()
	}
	b.ReportMetric(float64(total)/float64(b.N)/manyPods, "B/Pod")
}

func startedSource(ctx context.Context, b *testing.B, client kubernetes.Interface) *Source {
	s, err := New(Config{Client: client, Log: logr.Discard(), Sink: func(_ context.Context, signals []incident.Signal) (int, error) { return len(signals), nil }})
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = s.Run(ctx, nil) }()
	for !s.Synced() {
		time.Sleep(time.Millisecond)
	}
	if last := realisticPod(manyPods - 1); !s.detector.Knows(last.UID) {
		b.Fatalf("khook does not know the Pod %s", last.Name)
	}
	return s
}

func startedInformer(ctx context.Context, b *testing.B, client kubernetes.Interface) any {
	factory := informers.NewSharedInformerFactory(client, 0)
	informer := factory.Core().V1().Pods().Informer()
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	if known := len(informer.GetStore().ListKeys()); known != manyPods {
		b.Fatalf("the informer knows %d Pods", known)
	}
	return factory
}

// serveManyPods answers as an API server with many Pods and no Events does, as a stream or a list.
func serveManyPods(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	out := json.NewEncoder(w)
	count, kind, version := 0, "Event", "events.k8s.io/v1"
	if strings.HasSuffix(r.URL.Path, "/pods") {
		count, kind, version = manyPods, "Pod", "v1"
	}
	query := r.URL.Query()
	if query.Get("watch") == "" {
		w.WriteHeader(http.StatusNotImplemented) // both stream
		return
	}
	if query.Get("sendInitialEvents") == "true" {
		for i := range count {
			pod := realisticPod(i)
			pod.TypeMeta = metav1.TypeMeta{Kind: kind, APIVersion: version}
			_ = out.Encode(map[string]any{"type": watch.Added, "object": pod})
		}
		_ = out.Encode(map[string]any{"type": watch.Bookmark, "object": map[string]any{
			"kind": kind, "apiVersion": version,
			"metadata": map[string]any{"resourceVersion": "20000", "annotations": map[string]string{metav1.InitialEventsAnnotationKey: "true"}},
		}})
	}
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}
