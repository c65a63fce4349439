package detect

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kagent-dev/khook/internal/incident"
)

// unscheduled takes the Pod off its node.
func (s *scene) unscheduled(reason, message string) {
	s.pod.Spec.NodeName = ""
	s.pod.Status.ContainerStatuses = nil
	s.pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: reason, Message: message}}
	s.put()
}

func TestPendingPods(t *testing.T) {
	tell(t, []story{
		{"one that starts within a minute is nothing", nil, func(s *scene) {
			s.wait(59 * oneSecond)
			s.run("app")
			s.wait(time.Hour)
		}, nil},
		{"one that never starts is told once, and goes on", nil, func(s *scene) {
			s.wait(time.Hour)
			ongoing := 0
			for _, sig := range s.signals {
				if sig.Kind == incident.Ongoing {
					ongoing++
				}
			}
			if ongoing < 6 {
				s.t.Errorf("it was told %d times within an hour that it goes on", ongoing)
			}
		}, []string{"pod-pending web x1"}},
		{"one that starts late has recovered at once", nil, func(s *scene) {
			s.wait(2 * time.Minute)
			s.run("app")
		}, []string{"pod-pending web x1 then healthy"}},
		{"one that is deleted is gone", nil, func(s *scene) {
			s.wait(2 * time.Minute)
			s.remove()
		}, []string{"pod-pending web x1 then gone"}},
		{"one that terminates before its minute is nothing", nil, func(s *scene) {
			s.wait(30 * oneSecond)
			s.terminate()
			s.wait(time.Hour)
		}, nil},
		{"one that fails has not recovered", nil, func(s *scene) {
			s.wait(2 * time.Minute)
			s.pod.Status.Phase, s.pod.Status.Reason = corev1.PodFailed, "Evicted"
			s.put()
			s.wait(time.Hour)
		}, []string{"pod-pending web x1"}},
		{"one that the node refuses is nothing", nil, func(s *scene) {
			s.wait(oneSecond)
			s.pod.Status.Phase, s.pod.Status.Reason = corev1.PodFailed, "OutOfcpu"
			s.put()
			s.wait(time.Hour)
		}, nil},
		{"one that is held by gates is nothing until they are lifted, then it has a minute", nil, func(s *scene) {
			s.pod.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "quota"}}
			s.unscheduled(corev1.PodReasonSchedulingGated, "Scheduling is blocked due to non-empty scheduling gates")
			s.wait(time.Hour)
			s.says()
			s.pod.Spec.SchedulingGates = nil
			s.unscheduled("Unschedulable", "0/3 nodes are available")
			s.wait(59 * oneSecond)
			s.says()
			s.wait(2 * oneSecond)
		}, []string{"pod-pending web x1"}},
		{"one of two containers that can't start keeps it", []corev1.Container{{Name: "app"}, {Name: "proxy"}}, func(s *scene) {
			s.run("app")
			s.waits("proxy", "ImagePullBackOff")
			s.wait(2 * time.Minute)
		}, []string{"pod-pending web x1"}},
		{"one whose init container crashes says what keeps it", []corev1.Container{{Name: "init:migrate"}, {Name: "app"}}, func(s *scene) {
			s.run("migrate")
			s.crash("migrate", 1, "Error", oneSecond)
			s.end("migrate", 1, "Error")
			s.waits("migrate", "CrashLoopBackOff")
			s.wait(2 * time.Minute)
			if got := s.observed()[1]; got.CauseContainer != "migrate" || got.Reason != "CrashLoopBackOff" {
				s.t.Errorf("it is kept by %q for %q", got.CauseContainer, got.Reason)
			}
		}, []string{"pod-restart web migrate x1", "pod-pending web x1 by oom-kill,pod-restart"}},
		{"one that waits again, as after its node's reboot, is told again", []corev1.Container{{Name: "init:migrate"}, {Name: "app"}}, func(s *scene) {
			s.wait(2 * time.Minute)
			s.run("migrate")
			s.end("migrate", 0, "Completed")
			s.run("app")
			s.wait(time.Hour)
			s.pod.Status.Phase = corev1.PodPending
			s.put()
			s.wait(2 * time.Minute)
		}, []string{"pod-pending web x2 then healthy"}},
	})
}

func TestAPendingPodTellsWhy(t *testing.T) {
	for reason, happens := range map[string]func(s *scene){
		"Unschedulable": func(s *scene) { s.unscheduled("Unschedulable", "0/3 nodes are available: 3 Insufficient cpu.") },
		"NotScheduled":  func(s *scene) { s.pod.Spec.NodeName, s.pod.Status.ContainerStatuses = "", nil; s.put() },
		"ImagePullBackOff": func(s *scene) {
			s.waits("app", "ErrImagePull")
			s.wait(20 * oneSecond)
			s.waits("app", "ImagePullBackOff")
		},
		"ErrImagePull":               func(s *scene) { s.waits("app", "ErrImagePull") },
		"InvalidImageName":           func(s *scene) { s.waits("app", "InvalidImageName") },
		"ErrImageNeverPull":          func(s *scene) { s.waits("app", "ErrImageNeverPull") },
		"CreateContainerConfigError": func(s *scene) { s.waits("app", "CreateContainerConfigError") },
		"ContainerCreating":          func(*scene) {},
		"FailedMount": func(s *scene) {
			s.warn("FailedMount", "", `MountVolume.SetUp failed for volume "certs" : secret "tls" not found`, 1, false)
		},
		"FailedAttachVolume": func(s *scene) {
			s.warn("FailedAttachVolume", "", `Multi-Attach error for volume "pvc-1"`, 1, false)
		},
		"FailedCreatePodSandBox": func(s *scene) {
			s.warn("FailedCreatePodSandBox", "", "Failed to create pod sandbox: no IP addresses available", 1, false)
		},
	} {
		t.Run(reason, func(t *testing.T) {
			s := newScene(t)
			s.put()
			happens(s)
			s.warn("Failed", "spec.containers{app}", "Error: ImagePullBackOff", 5, false)
			s.wait(10 * time.Minute)
			s.says("pod-pending web x1")
			got := s.observed()[0]
			if got.Reason != reason || !got.At.Equal(noon.Add(time.Minute)) {
				t.Errorf("it tells %s at %s: %s", got.Reason, got.At, got.Message)
			}
			if !strings.HasPrefix(got.Message, "Pod is Pending for longer than 1m: ") {
				t.Errorf("it says %q", got.Message)
			}
		})
	}
}

func TestNormalEventsAndOtherObjectsTellNothing(t *testing.T) {
	s := newScene(t)
	s.run("app")
	s.warn("BackOff", "spec.containers{app}", "Back-off restarting failed container app in pod web", 3, false)
	ev := s.events["BackOff"+"spec.containers{app}"+"Back-off restarting failed container app in pod web"].DeepCopy()
	ev.Reason, ev.Note, ev.Type = "Unhealthy", notReady, corev1.EventTypeNormal
	s.see(ev, false)
	ev.Type, ev.Regarding.Kind = corev1.EventTypeWarning, "Node"
	s.see(ev, false)
	ev.Regarding.Kind, ev.Regarding.UID = "Pod", ""
	s.see(ev, false)
	ev.Regarding.UID, ev.Regarding.FieldPath = s.pod.UID, ""
	s.see(ev, false)
	s.says()
}

func TestAPodThatIsPendingAtTheStartTellsTheVolumeThatItsEventsName(t *testing.T) {
	s := newScene(t)
	s.now = noon.Add(20 * time.Minute)
	s.restartKhook()
	s.list()
	s.warn("FailedMount", "", `MountVolume.SetUp failed for volume "certs"`, 4, true)
	s.wait(time.Minute)
	s.says("pod-pending web x1")
	if got := s.observed()[0]; got.Reason != "FailedMount" || !got.CatchUp {
		t.Errorf("it tells %s (catch-up: %v)", got.Reason, got.CatchUp)
	}
}
