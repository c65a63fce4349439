package detect

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kagent-dev/khook/internal/incident"
)

// progress tells a Normal Event about the Pod.
func (s *scene) progress(reason, path, note string) { s.progressAt(s.now, reason, path, note, false) }

func (s *scene) progressAt(at time.Time, reason, path, note string, catchUp bool) {
	s.see(&eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("web.%x", hash(reason+path+at.String())), Namespace: "shop", CreationTimestamp: metav1.NewTime(at)},
		Type:       corev1.EventTypeNormal, Reason: reason, Note: note, DeprecatedFirstTimestamp: metav1.NewTime(at), DeprecatedLastTimestamp: metav1.NewTime(at),
		Regarding: corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: "web", UID: s.pod.UID, FieldPath: path},
	}, catchUp)
}

func (s *scene) pulls(container string) {
	s.progress("Pulling", "spec.containers{"+container+"}", `Pulling image "registry.example.com/app:1"`)
}

// until lets time go on to a time since noon.
func (s *scene) until(since time.Duration) { s.wait(noon.Add(since).Sub(s.now)) }

// scheduled gives the Pod its node.
func (s *scene) scheduled() {
	s.pod.Spec.NodeName = "n2"
	s.pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(s.now)}}
	s.pod.Status.ContainerStatuses = nil
	for _, c := range s.pod.Spec.Containers {
		s.pod.Status.ContainerStatuses = append(s.pod.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: c.Name, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}},
		})
	}
	s.put()
}

const noRoom = "0/3 nodes are available: 3 Insufficient cpu."

// TestAPodThatWaitsWhileSomethingIsDoneIsToldLater has what is done for a Pod, and when it is told as Pending: "" is never.
func TestAPodThatWaitsWhileSomethingIsDoneIsToldLater(t *testing.T) {
	two := []corev1.Container{{Name: "app"}, {Name: "log"}}
	for name, tc := range map[string]struct {
		containers []corev1.Container
		happens    func(*scene)
		told, says string // after how long, and with which words
	}{
		"nothing is done": {nil, func(s *scene) {}, "1m0s", "Pod is Pending for longer than 1m: container app waits: ContainerCreating"},
		"a slow pull": {nil, func(s *scene) {
			s.until(5 * oneSecond)
			s.pulls("app")
			s.until(4 * time.Minute)
			s.run("app")
		}, "", ""},
		"a pull without an end": {nil, func(s *scene) { s.until(5 * oneSecond); s.pulls("app") },
			"5m5s", `Pod is Pending for longer than 5m5s: Pulling since 2026-03-01T12:00:05Z (Pulling image "registry.example.com/app:1"): container app waits`},
		"a pull that fails within the minute": {nil, func(s *scene) {
			s.pulls("app")
			s.until(30 * oneSecond)
			s.waits("app", "ErrImagePull")
		}, "1m0s", "Pod is Pending for longer than 1m: container app waits: ErrImagePull"},
		"a pull that fails later": {nil, func(s *scene) {
			s.pulls("app")
			s.until(3 * time.Minute)
			s.waits("app", "ErrImagePull")
		}, "3m0s", "container app waits: ErrImagePull"},
		"a pull beside a container that can't be made": {two, func(s *scene) {
			s.pulls("app")
			s.waits("log", "CreateContainerConfigError")
		}, "1m0s", "container log waits: CreateContainerConfigError"},
		"two pulls, one after the other": {two, func(s *scene) {
			s.pulls("app")
			s.until(4 * time.Minute)
			s.run("app")
			s.wait(oneSecond)
			s.pulls("log")
			s.until(8 * time.Minute)
			s.run("log")
		}, "", ""},
		"a pull, and then nothing": {two, func(s *scene) {
			s.pulls("app")
			s.until(4 * time.Minute)
			s.run("app")
		}, "5m0s", "Pod is Pending for longer than 5m: container log waits: ContainerCreating"},
		"pull upon pull": {two, func(s *scene) {
			for s.now.Before(noon.Add(20 * time.Minute)) {
				s.pulls("app")
				s.wait(4 * time.Minute)
			}
		}, "15m0s", "Pod is Pending for longer than 15m: Pulling since"},
		"a volume that fails after the pull began": {nil, func(s *scene) {
			s.pulls("app")
			s.until(20 * oneSecond)
			s.warn("FailedMount", "", "MountVolume.SetUp failed", 1, false)
		}, "1m0s", "Pod is Pending for longer than 1m: MountVolume.SetUp failed"},
		"a pull after a volume that failed at first": {nil, func(s *scene) {
			s.warn("FailedMount", "", "MountVolume.SetUp failed", 1, false)
			s.until(20 * oneSecond)
			s.pulls("app")
		}, "5m20s", `Pulling since 2026-03-01T12:00:20Z (Pulling image "registry.example.com/app:1"): container app waits`},
		"a pull beside a container that restarts, and pulls each time": {two, func(s *scene) {
			s.pulls("log")
			s.until(20 * oneSecond)
			s.run("app")
			s.until(40 * oneSecond)
			s.pulls("app")
			s.run("app")
			s.until(4 * time.Minute)
			s.run("log")
		}, "", ""},
		"an init container that restarts, and pulls each time": {[]corev1.Container{{Name: "init:seed"}, {Name: "app"}}, func(s *scene) {
			for s.now.Before(noon.Add(3 * time.Minute)) {
				s.progress("Pulling", "spec.initContainers{seed}", "Pulling image")
				s.wait(oneSecond)
				s.run("seed")
				s.wait(20 * oneSecond)
				s.endQuietly("seed", 1, "Error")
			}
		}, "1m0s", "Pod is Pending for longer than 1m: container app waits: ContainerCreating"},
		"a node of a clock that is behind pulls": {nil, func(s *scene) {
			s.until(5 * oneSecond)
			s.progressAt(noon.Add(-20*time.Minute), "Pulling", "spec.containers{app}", "", false)
		}, "5m5s", "Pulling since 2026-03-01T12:00:05Z (no more is said)"},

		"no room": {nil, func(s *scene) { s.unscheduled("Unschedulable", noRoom) }, "1m0s", "Pod is Pending for longer than 1m: " + noRoom},
		"a node is made": {nil, func(s *scene) {
			s.unscheduled("Unschedulable", noRoom)
			s.until(20 * oneSecond)
			s.progress("TriggeredScaleUp", "", "pod triggered scale-up: [{pool 1->2 (max: 5)}]")
			s.until(6 * time.Minute)
			s.scheduled()
			s.until(6*time.Minute + 40*oneSecond)
			s.pulls("app")
			s.until(9 * time.Minute)
			s.run("app")
		}, "", ""},
		"a node of Karpenter's": {nil, func(s *scene) {
			s.unscheduled("Unschedulable", noRoom)
			s.until(20 * oneSecond)
			s.progress("Nominated", "", "Pod should schedule on: nodeclaim/default-x7k2p")
			s.until(4 * time.Minute)
			s.scheduled()
			s.wait(30 * oneSecond)
			s.run("app")
		}, "", ""},
		"a node that never comes": {nil, func(s *scene) {
			s.unscheduled("Unschedulable", noRoom)
			s.until(20 * oneSecond)
			s.progress("TriggeredScaleUp", "", "pod triggered scale-up")
		}, "10m20s", "Pod is Pending for longer than 10m20s: TriggeredScaleUp since 2026-03-01T12:00:20Z (pod triggered scale-up): " + noRoom},
		"a node that is not made after all": {nil, func(s *scene) {
			s.unscheduled("Unschedulable", noRoom)
			s.until(20 * oneSecond)
			s.progress("TriggeredScaleUp", "", "pod triggered scale-up")
			s.until(4 * time.Minute)
			s.progress("NotTriggerScaleUp", "", "pod didn't trigger scale-up: 1 max node group size reached")
			s.put()
		}, "4m0s", "Pod is Pending for longer than 1m: " + noRoom},
		"a node that does not start it": {nil, func(s *scene) {
			s.unscheduled("Unschedulable", noRoom)
			s.until(20 * oneSecond)
			s.progress("TriggeredScaleUp", "", "pod triggered scale-up")
			s.until(4 * time.Minute)
			s.scheduled()
		}, "5m0s", "Pod is Pending for longer than 5m: container app waits: ContainerCreating"},
		"a node that can't have its configuration": {nil, func(s *scene) {
			s.unscheduled("Unschedulable", noRoom)
			s.until(20 * oneSecond)
			s.progress("TriggeredScaleUp", "", "pod triggered scale-up")
			s.until(4 * time.Minute)
			s.scheduled()
			s.wait(oneSecond)
			s.waits("app", "CreateContainerConfigError")
		}, "4m1s", "container app waits: CreateContainerConfigError"},
		"what was said before, and comes late": {nil, func(s *scene) {
			s.unscheduled("Unschedulable", noRoom)
			s.until(40 * oneSecond)
			s.progress("NotTriggerScaleUp", "", "pod didn't trigger scale-up")
			s.progressAt(noon.Add(20*oneSecond), "TriggeredScaleUp", "", "", false)
		}, "1m0s", noRoom},
		"what others write": {nil, func(s *scene) {
			s.progress("Pulling", "", "Pulling image")
			s.progress("Synced", "spec.containers{app}", "Pulling image")
			s.warn("Pulling", "spec.containers{app}", "Pulling image", 1, false)
		}, "1m0s", "container app waits"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, tc.containers...)
			s.put()
			tc.happens(s)
			s.until(40 * time.Minute)
			told := ""
			for _, sig := range s.observed() {
				if sig.Type != incident.PodPending {
					continue
				}
				told += s.told[sig.Key].Sub(noon).String()
				if !strings.Contains(sig.Message, tc.says) {
					t.Errorf("it says %q, want %q", sig.Message, tc.says)
				}
			}
			if told != tc.told {
				t.Errorf("it is told after %q, want %q", told, tc.told)
			}
		})
	}
}

// TestAKhookThatStartsWhileSomethingIsDoneFindsIt starts khook while a Pod waits for its node, or for its image: the Pods are
// listed before the Events.
func TestAKhookThatStartsWhileSomethingIsDoneFindsIt(t *testing.T) {
	for name, tc := range map[string]struct {
		listed func(*scene)
		told   string
	}{
		"a node": {func(s *scene) {
			s.unscheduled("Unschedulable", noRoom)
			s.restartKhook()
			s.list()
			s.wait(oneSecond)
			s.progressAt(noon.Add(20*oneSecond), "TriggeredScaleUp", "", "pod triggered scale-up", true)
		}, "10m20s"},
		"an image": {func(s *scene) {
			s.restartKhook()
			s.list()
			s.wait(oneSecond)
			s.progressAt(noon.Add(20*oneSecond), "Pulling", "spec.containers{app}", "Pulling image", true)
		}, "5m20s"},
		"nothing": {func(s *scene) { s.restartKhook(); s.list() }, "3m5s"},
	} {
		s := newScene(t)
		s.now = noon.Add(3 * time.Minute)
		tc.listed(s)
		s.wait(20 * time.Minute)
		s.says("pod-pending web x1")
		for key, at := range s.told {
			if got := at.Sub(noon).String(); got != tc.told || key != "pod-pending/"+string(s.pod.UID) {
				t.Errorf("%s: it is told after %s as %s, want after %s", name, got, key, tc.told)
			}
		}
	}
}
