package detect

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kagent-dev/khook/internal/incident"
)

// owned makes the scene's Pod one of a workload's.
func (s *scene) owned(kind, name string) {
	controller := true
	s.pod.OwnerReferences = []metav1.OwnerReference{{Kind: kind, Name: name, Controller: &controller}}
}

// another goes on with a further Pod of the same workload; the former stays as it is.
func (s *scene) another(n int) {
	fresh := newScene(s.t)
	fresh.pod.Name, fresh.pod.OwnerReferences, fresh.pod.CreationTimestamp = fmt.Sprintf("web-%d", n), s.pod.OwnerReferences, metav1.NewTime(s.now)
	fresh.pod.UID = types.UID(fmt.Sprintf("6ab22e5b-35a4-4b0c-8a3b-4f1d7cf6%04d", n))
	s.pod = fresh.pod
	s.put()
}

// ended ends the Pod.
func (s *scene) ended(as corev1.PodPhase) {
	s.pod.Status.Phase = as
	s.put()
}

func TestAWorkloadIsAsItsPodsAre(t *testing.T) {
	for name, c := range map[string]struct {
		kind          string
		happens       func(s *scene)
		pods, healthy int
	}{
		"running":              {"StatefulSet", func(s *scene) { s.run("app") }, 1, 1},
		"being made":           {"StatefulSet", func(*scene) {}, 1, 0},
		"not ready":            {"StatefulSet", func(s *scene) { s.run("app"); s.ready("app", false) }, 1, 0},
		"crashed":              {"StatefulSet", func(s *scene) { s.run("app"); s.end("app", 1, "Error") }, 1, 0},
		"and back":             {"StatefulSet", func(s *scene) { s.run("app"); s.crash("app", 1, "Error", oneSecond) }, 1, 1},
		"two":                  {"StatefulSet", func(s *scene) { s.run("app"); s.another(2) }, 2, 1},
		"terminating":          {"StatefulSet", func(s *scene) { s.run("app"); s.terminate() }, 0, 0},
		"replaced":             {"StatefulSet", func(s *scene) { s.terminate(); s.another(2); s.run("app") }, 1, 1},
		"deleted":              {"StatefulSet", func(s *scene) { s.run("app"); s.remove() }, 0, 0},
		"evicted":              {"StatefulSet", func(s *scene) { s.ended(corev1.PodFailed) }, 0, 0},
		"evicted and replaced": {"StatefulSet", func(s *scene) { s.ended(corev1.PodFailed); s.another(2); s.run("app") }, 1, 1},

		"a Job that works":       {"Job", func(s *scene) { s.run("app") }, 1, 1},
		"a Job that is done":     {"Job", func(s *scene) { s.ended(corev1.PodSucceeded) }, 1, 1},
		"a Job that failed":      {"Job", func(s *scene) { s.ended(corev1.PodFailed) }, 1, 0},
		"a Job that tries again": {"Job", func(s *scene) { s.ended(corev1.PodFailed); s.wait(oneSecond); s.another(2) }, 1, 0},
		"a Job done at the second try": {"Job", func(s *scene) {
			s.ended(corev1.PodFailed)
			s.wait(oneSecond)
			s.another(2)
			s.ended(corev1.PodSucceeded)
		}, 1, 1},
		"a run that failed at last": {"Job", func(s *scene) {
			s.ended(corev1.PodSucceeded)
			s.wait(oneSecond)
			s.another(2)
			s.ended(corev1.PodFailed)
		}, 1, 0},
		"one of two at once failed": {"Job", func(s *scene) { s.ended(corev1.PodFailed); s.another(2); s.ended(corev1.PodSucceeded) }, 1, 0},

		"a bare Pod":              {"", func(s *scene) { s.run("app") }, 1, 1},
		"a bare Pod that failed":  {"", func(s *scene) { s.ended(corev1.PodFailed) }, 1, 0},
		"a bare Pod that is done": {"", func(s *scene) { s.ended(corev1.PodSucceeded) }, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			w := incident.Workload{Kind: "Pod", Name: "web"}
			if c.kind != "" {
				w = incident.Workload{Kind: c.kind, Name: "front"}
				s.owned(w.Kind, w.Name)
			}
			s.put()
			c.happens(s)
			if got := s.d.Workload("shop", w); got.Pods != c.pods || got.Healthy != c.healthy {
				t.Errorf("%d of %d Pods are healthy, want %d of %d", got.Healthy, got.Pods, c.healthy, c.pods)
			}
		})
	}
}

func TestOnlyTheWorkloadsOwnPodsCount(t *testing.T) {
	s := newScene(t)
	s.owned("DaemonSet", "front")
	s.put()
	s.run("app")
	for _, other := range []struct{ namespace, kind, name string }{{"bar", "DaemonSet", "front"}, {"shop", "StatefulSet", "front"}, {"shop", "DaemonSet", "back"}} {
		if got := s.d.Workload(other.namespace, incident.Workload{Kind: other.kind, Name: other.name}); got != (WorkloadHealth{}) {
			t.Errorf("%+v: %+v", other, got)
		}
	}
}

// BenchmarkWorkload asks about one of 1,000 workloads with 10 Pods each.
func BenchmarkWorkload(b *testing.B) {
	d := New(Timing{Start: noon})
	s := newScene(b)
	for i := range 10_000 {
		s.owned("DaemonSet", fmt.Sprint("front-", i/10))
		s.pod.UID = types.UID(fmt.Sprintf("6ab22e5b-35a4-4b0c-8a3b-4f1d7cf6%04d", i))
		d.Pod(noon, watch.Modified, s.pod, false)
	}
	w := incident.Workload{Kind: "DaemonSet", Name: "front-500"}
	for b.Loop() {
		if d.Workload("shop", w).Pods != 10 {
			b.Fatal("they are not all there")
		}
	}
}
