package detect

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kagent-dev/khook/internal/incident"
)

// conditions sets those that say whether the Pod's node is heard of.
func (s *scene) conditions(ready, containers corev1.ConditionStatus) {
	s.pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}, {Type: corev1.ContainersReady, Status: containers}}
	s.put()
}

// count is how many signals of a kind there are.
func (s *scene) count(kind incident.SignalKind) int {
	n := 0
	for _, sig := range s.signals {
		if sig.Kind == kind {
			n++
		}
	}
	return n
}

// TestNothingEndsWhileNothingIsHeardOfTheNode has each kind of failure on a node that is lost, as the node's controller shows
// it, and comes back.
func TestNothingEndsWhileNothingIsHeardOfTheNode(t *testing.T) {
	for name, tc := range map[string]struct {
		containers []corev1.Container
		fails      func(*scene)
		told       string
	}{
		"a restart":        {nil, func(s *scene) { s.crash("app", 1, "Error", oneSecond) }, "pod-restart web app x1"},
		"an OOM kill":      {nil, func(s *scene) { s.end("app", 137, "OOMKilled") }, "oom-kill web app x1"},
		"a liveness probe": {withLiveness(httpProbe(1, 10, 0)), func(s *scene) { s.wait(time.Minute); s.probe("app", notAlive, 1); s.run("app") }, "probe-failed web app x1"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, tc.containers...)
			s.put()
			s.run("app")
			s.conditions(corev1.ConditionTrue, corev1.ConditionTrue)
			tc.fails(s)
			if name == "an OOM kill" {
				s.run("app")
				s.signals = s.signals[:1]
			}
			s.ready("app", true) // the last that was heard
			s.conditions(corev1.ConditionFalse, corev1.ConditionTrue)
			s.wait(time.Hour)
			if ends := s.count(incident.Healthy); ends > 0 {
				t.Fatalf("it ended while nothing was heard of its node: %v", summaries(s.signals))
			}
			if s.count(incident.Unheard) < 10 || s.count(incident.Ongoing) > 0 {
				t.Errorf("it is kept by %d signs that nothing is heard, and by %d that it goes on", s.count(incident.Unheard), s.count(incident.Ongoing))
			}
			s.conditions(corev1.ConditionTrue, corev1.ConditionTrue)
			s.wait(5 * time.Minute)
			if ends := s.count(incident.Healthy); ends == 0 || !strings.HasPrefix(summaries(s.signals)[0], tc.told) {
				t.Errorf("when the node is back: %v", summaries(s.signals))
			}
		})
	}
}

func TestANodeIsHeardOfUnlessItsControllerSaysOtherwise(t *testing.T) {
	yes, no, unknown := corev1.ConditionTrue, corev1.ConditionFalse, corev1.ConditionUnknown
	for name, tc := range map[string]struct {
		ready, containers, gate corev1.ConditionStatus
		reason                  string
		was, lost               bool
	}{
		"all is well":                      {yes, yes, "", "", false, false},
		"a container is not ready":         {no, no, "", "ContainersNotReady", false, false},
		"lost":                             {no, yes, "", "", false, true},
		"unknown":                          {unknown, yes, "", "", false, true},
		"a gate is not met":                {no, yes, no, "ReadinessGatesNotReady", false, false},
		"a gate is not set":                {no, yes, "none", "ReadinessGatesNotReady", false, false},
		"a gate was met a moment ago":      {no, yes, yes, "ReadinessGatesNotReady", false, false},
		"a gate is not met, says somebody": {no, yes, no, "", false, false},
		"lost, with a gate":                {no, yes, yes, "", false, true},
		"lost, then a gate is not met":     {no, yes, no, "", true, true},
		"back, and a gate is not met":      {no, yes, no, "ReadinessGatesNotReady", true, false},
		"back, and a container ended":      {no, no, "", "ContainersNotReady", true, false},
		"no conditions yet":                {"", "", "", "", false, false},
	} {
		pod, before := &corev1.Pod{}, &podState{}
		if tc.was {
			before.flags = podNodeLost
		}
		for of, status := range map[corev1.PodConditionType]corev1.ConditionStatus{corev1.PodReady: tc.ready, corev1.ContainersReady: tc.containers, "gate": tc.gate} {
			if status != "" && status != "none" {
				pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: of, Status: status})
				if of == corev1.PodReady {
					pod.Status.Conditions[len(pod.Status.Conditions)-1].Reason = tc.reason
				}
			}
		}
		if tc.gate != "" {
			pod.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "gate"}}
		}
		if got := nodeLost(pod, before); got != tc.lost {
			t.Errorf("%s: lost %v", name, got)
		}
	}
}

// TestATimeThatCantBeIsNotTold restarts a container whose node or runtime tells times that can't be.
func TestATimeThatCantBeIsNotTold(t *testing.T) {
	for name, tc := range map[string]struct{ started, finished, want time.Duration }{ // since noon; the restart is seen after 60 s
		"as it was":                  {50 * oneSecond, 45 * oneSecond, 50 * oneSecond},
		"started in 1970":            {-60 * 365 * 24 * time.Hour, 45 * oneSecond, 45 * oneSecond},
		"started before it was made": {-time.Minute, 45 * oneSecond, 45 * oneSecond},
		"both before it was made":    {-20 * time.Minute, -21 * time.Minute, time.Minute},
		"both in the future":         {time.Hour, time.Hour, time.Minute},
	} {
		s := newScene(t)
		s.put()
		s.run("app")
		s.wait(time.Minute)
		s.endQuietly("app", 1, "Error")
		st := s.status("app")
		st.LastTerminationState, st.ContainerID, st.RestartCount = st.State, "containerd://next", 1
		st.LastTerminationState.Terminated.FinishedAt = metav1.NewTime(noon.Add(tc.finished))
		st.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(noon.Add(tc.started))}}
		s.put()
		if got := s.observed(); len(got) != 1 || got[0].At.Sub(noon) != tc.want {
			t.Errorf("%s: told %d restarts, at %s", name, len(got), got[0].At.Sub(noon))
		}
	}
}

func TestARestartIsFoundWhateverItsCountDoes(t *testing.T) {
	tell(t, []story{
		{"the count goes down with another instance", nil, func(s *scene) {
			s.run("app")
			for range 3 {
				s.wait(oneSecond)
				s.run("app")
			}
			s.wait(oneSecond)
			st := s.status("app")
			st.RestartCount, st.ContainerID = 0, "containerd://after-the-remains-were-deleted"
			s.put()
		}, []string{"pod-restart web app x4"}},
		{"the count grows before there is another instance", nil, func(s *scene) {
			s.run("app")
			st := s.status("app")
			st.RestartCount, st.ContainerID, st.State = 1, "", corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}
			s.put()
			s.says()
			s.wait(3 * oneSecond)
			st.ContainerID, st.State = "containerd://next", corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(s.now)}}
			s.put()
			s.put()
		}, []string{"pod-restart web app x1"}},
	})
}

// TestAStartBetweenTwoInstancesFindsTheRestartOnce starts khook while the container has no instance.
func TestAStartBetweenTwoInstancesFindsTheRestartOnce(t *testing.T) {
	s := newScene(t)
	st := s.status("app")
	st.RestartCount, st.State.Waiting = 5, &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}
	s.list()
	s.wait(3 * oneSecond)
	st.ContainerID, st.State = "containerd://next", corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(s.now)}}
	s.pod.Status.Phase = corev1.PodRunning
	s.put()
	s.put()
	if got := s.observed(); len(got) != 1 || got[0].Type != incident.PodRestart || got[0].Count != 1 {
		t.Errorf("told %+v", got)
	}
}

// TestALivenessLoopStaysOpenWhenTheKubeletTellsNoMore: its recorder holds Events back after 25 of them.
func TestALivenessLoopStaysOpenWhenTheKubeletTellsNoMore(t *testing.T) {
	for _, reason := range []string{"CrashLoopBackOff", "ImagePullBackOff", "CreateContainerConfigError"} {
		s := newScene(t, withLiveness(httpProbe(1, 10, 0))...)
		s.put()
		s.run("app")
		s.wait(time.Minute)
		s.probe("app", notAlive, 1)
		s.end("app", 137, "Error")
		s.run("app")
		s.end("app", 137, "Error")
		s.waits("app", reason)
		s.signals = nil
		s.wait(9 * time.Minute)
		signs := map[incident.EventType]int{}
		for _, sig := range s.signals {
			if sig.Kind == incident.Ongoing {
				signs[sig.Type]++
			}
		}
		if signs[incident.ProbeFailed] < 2 || signs[incident.PodRestart] < 2 || s.count(incident.Healthy) > 0 {
			t.Errorf("%s: told %v", reason, signs)
		}
	}
}

// TestAPodThatNeverRanWaitsSinceItWasMade has one container that crashes while another waits for its image: the Pod is Pending
// all the time, and is told once, whenever khook starts.
func TestAPodThatNeverRanWaitsSinceItWasMade(t *testing.T) {
	s := newScene(t, corev1.Container{Name: "app"}, corev1.Container{Name: "log"})
	s.put()
	s.run("app")
	s.waits("log", "ImagePullBackOff")
	s.crash("app", 1, "Error", oneSecond)
	s.wait(2 * time.Minute)
	keysOf := func() []string {
		var all []string
		for _, sig := range s.observed() {
			if sig.Type == incident.PodPending {
				all = append(all, sig.Key)
			}
		}
		return all
	}
	first := keysOf()
	for range 2 {
		s.wait(5 * time.Minute)
		s.restartKhook()
		s.signals = nil
		s.list()
		s.wait(10 * oneSecond)
		if again := keysOf(); len(first) != 1 || len(again) != 1 || again[0] != first[0] {
			t.Errorf("it is told as %v, and then as %v", first, again)
		}
	}
}

func TestContainersThatHaveDoneTheirWorkKeepNothingOpen(t *testing.T) {
	never := corev1.ContainerRestartPolicyNever
	s := newScene(t, corev1.Container{Name: "app"}, corev1.Container{Name: "once", RestartPolicy: &never})
	s.put()
	s.run("app", "once")
	s.end("once", 0, "Completed")
	s.crash("app", 1, "Error", oneSecond)
	s.wait(5 * time.Minute)
	s.says("pod-restart web app x1 then healthy")
}

func TestTheLimitOfAPodIsToldWhereItsContainerHasNone(t *testing.T) {
	s := newScene(t)
	s.pod.Spec.Resources = &corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")}}
	s.put()
	s.run("app")
	s.end("app", 137, "OOMKilled")
	if got := s.observed(); len(got) != 1 || !strings.Contains(got[0].Message, "memory limit 1Gi of the whole Pod") {
		t.Errorf("told %+v", got)
	}
}

// TestAStaticPodIsKnownByItsFile gives Events the UID that the kubelet has for a static Pod, before and after the Pod is
// known, and deletes the mirror Pod.
func TestAStaticPodIsKnownByItsFile(t *testing.T) {
	const file types.UID = "4f2e8c1d9ab37765e0c4d8f6a1b2c3d4"
	s := newScene(t, withReadiness(httpProbe(3, 10, 0))...)
	s.pod.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: string(file)}
	own := s.pod.UID
	fails := func(n int32) {
		s.pod.UID = file
		s.probe("app", notReady, n)
		s.pod.UID = own
	}
	fails(1)
	s.put()
	s.run("app")
	s.ready("app", true)
	s.wait(time.Minute)
	s.signals = nil
	for range 3 {
		fails(1)
		s.wait(10 * oneSecond)
	}
	s.says("probe-failed web app x1")
	if got := s.observed(); len(got) != 1 || got[0].Resource.UID != string(own) || got[0].Node != "n1" {
		t.Errorf("told %+v", got)
	}
	if !s.d.Knows(file) {
		t.Error("the file's UID is not known")
	}
	s.remove()
	if len(s.d.mirrors) > 0 {
		t.Error("a mirror Pod that is gone is remembered")
	}
}

// TestEventsOfManyPodsThatComeLateAreNotLost lets Events come before their Pods, again and again, for more Pods than can
// wait at once.
func TestEventsOfManyPodsThatComeLateAreNotLost(t *testing.T) {
	s := newScene(t, withReadiness(httpProbe(1, 10, 0))...)
	s.put()
	s.run("app")
	s.ready("app", true)
	s.wait(time.Minute)
	for n := range 3 * maxEarlyPods {
		s.pod.UID = types.UID(fmt.Sprintf("00000000-0000-4000-8000-%012d", n))
		s.events = map[string]*eventsv1.Event{}
		s.signals = nil
		s.probe("app", notReady, 1)
		s.put()
		if len(s.observed()) != 1 {
			t.Fatalf("the failure of Pod %d is lost: %v", n, summaries(s.signals))
		}
	}
	if len(s.d.early.waits) > maxEarlyPods {
		t.Errorf("%d wait", len(s.d.early.waits))
	}
}

func TestTheNewestEndSaysWhyAContainerWasKilled(t *testing.T) {
	for reason, caused := range map[string]bool{"Error": true, "": true, "RestartingAllContainers": false, "ContainerCannotRun": false} {
		s := newScene(t)
		s.put()
		s.run("app")
		s.crash("app", 137, "OOMKilled", oneSecond)
		s.wait(10 * oneSecond)
		s.crash("app", 137, reason, oneSecond)
		last := s.observed()[len(s.observed())-1]
		if last.Type != incident.PodRestart || (len(last.Causes) > 0) != caused {
			t.Errorf("%q: %s by %v", reason, last.Type, last.Causes)
		}
	}
}
