package detect

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kagent-dev/khook/internal/incident"
)

// What is detected, and what is not, where one could think either: docs/hooks.md says it under "What is detected, and what is
// not".

// TestWhatIsNotDetected has what nobody is told of.
func TestWhatIsNotDetected(t *testing.T) {
	tell(t, []story{
		{"an ephemeral container that fails", nil, func(s *scene) {
			s.run("app")
			s.pod.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug"}}}
			s.pod.Status.EphemeralContainerStatuses = []corev1.ContainerStatus{{Name: "debug", ContainerID: "containerd://debug", State: corev1.ContainerState{
				Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: reasonOOMKilled, ContainerID: "containerd://debug", FinishedAt: metav1.NewTime(s.now)},
			}}}
			s.put()
			s.warn("Unhealthy", "spec.ephemeralContainers{debug}", notAlive, 3, false)
			s.wait(time.Hour)
		}, nil},
		{"a Job's Pod that fails, and is not to be tried again", nil, func(s *scene) {
			s.pod.Spec.RestartPolicy = corev1.RestartPolicyNever
			s.run("app")
			s.pod.Status.Phase = corev1.PodFailed
			s.end("app", 1, "Error")
			s.wait(time.Hour)
		}, nil},
		{"a Pod that is stuck while it is deleted", nil, func(s *scene) {
			s.run("app")
			s.terminate()
			s.warn("FailedKillPod", "", "error killing pod", 30, false)
			s.wait(time.Hour)
		}, nil},
		{"an eviction for want of memory or disk on the node", withReadiness(httpProbe(1, 10, 0)), func(s *scene) {
			s.run("app")
			s.ready("app", true)
			s.wait(time.Minute)
			s.pod.Status.Phase, s.pod.Status.Reason = corev1.PodFailed, "Evicted" // while its containers still run
			s.put()
			s.probe("app", notReady, 3)
			s.ready("app", false)
			s.wait(30 * oneSecond)
			s.end("app", 137, "Error")
			s.wait(time.Hour)
		}, nil},
		{"a drained node", []corev1.Container{{Name: "app", ReadinessProbe: httpProbe(1, 10, 0), LivenessProbe: httpProbe(1, 10, 0)}}, func(s *scene) {
			s.run("app")
			s.ready("app", true)
			s.wait(time.Minute)
			s.terminate()
			s.probe("app", notReady, 3)
			s.probe("app", notAlive, 3)
			s.ready("app", false)
			s.wait(30 * oneSecond)
			s.end("app", 143, "Error")
			s.remove()
		}, nil},
	})
}

func TestADrainedNodeEndsWhatFailsOnItAsGone(t *testing.T) {
	tell(t, []story{{"a crash before", nil, func(s *scene) {
		s.run("app")
		s.crash("app", 1, "Error", oneSecond)
		s.terminate()
		s.wait(30 * oneSecond)
		s.end("app", 143, "Error")
		s.remove()
	}, []string{"pod-restart web app x1 then gone"}}})
}

// resized is what a kubelet does for a resize with the policy RestartContainer: it ends the container, and starts it anew.
func (s *scene) resized(code int32) {
	s.pod.Spec.Containers[0].ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: corev1.ResourceMemory, RestartPolicy: corev1.RestartContainer}}
	s.pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodResizeInProgress, Status: corev1.ConditionTrue}}
	s.end("app", code, "Error")
	s.wait(oneSecond)
	s.pod.Status.Conditions = nil
	s.run("app")
}

// TestARestartByAResizeIsARestart: nothing in the status says that somebody asked for it, and the container was down. One that
// is to help against OOM kills is put down to them, and calls nobody.
func TestARestartByAResizeIsARestart(t *testing.T) {
	tell(t, []story{
		{"of a container that is well", nil, func(s *scene) {
			s.run("app")
			s.wait(time.Hour)
			s.resized(143)
			s.wait(5 * time.Minute)
		}, []string{"pod-restart web app x1 then healthy"}},
		{"after an OOM kill", nil, func(s *scene) {
			s.run("app")
			s.crash("app", 137, reasonOOMKilled, oneSecond)
			s.wait(time.Minute)
			s.resized(137)
			if last := s.observed()[len(s.observed())-1]; len(last.Causes) != 1 || last.Causes[0] != incident.OOMKill {
				s.t.Errorf("the resize's restart is put down to %v", last.Causes)
			}
			s.wait(5 * time.Minute)
		}, []string{"oom-kill web app x1 then healthy", "pod-restart web app x2 by oom-kill then healthy"}},
	})
}

// TestARuntimeThatLostItsStateIsNoRestart has a container that its runtime does not know any more, and the one that the kubelet
// makes in its place.
func TestARuntimeThatLostItsStateIsNoRestart(t *testing.T) {
	s := newScene(t)
	s.put()
	s.run("app")
	s.wait(time.Hour)
	s.endQuietly("app", 137, reasonStatusUnknown)
	st := s.status("app")
	st.State.Terminated.StartedAt, st.State.Terminated.FinishedAt = metav1.Time{}, metav1.Time{}
	st.RestartCount++
	s.put()
	s.wait(2 * oneSecond)
	st.LastTerminationState, st.ContainerID = st.State, "containerd://made-anew"
	st.State, st.Ready = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(s.now)}}, true
	s.put()
	s.says()
	s.wait(time.Minute)
	s.crash("app", 1, "Error", oneSecond)
	s.says("pod-restart web app x1")
}

// TestAContainerThatIsOOMKilledBeforeItBeginsIsAnOOMKill: its memory limit is too low for runc itself.
func TestAContainerThatIsOOMKilledBeforeItBeginsIsAnOOMKill(t *testing.T) {
	const said = "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: " +
		"unable to start container process: container init was OOM-killed (memory limit too low?): unknown"
	for name, tc := range map[string]struct {
		reason, message string
		oom             bool
	}{
		"runc's words":                    {"StartError", said, true},
		"another error":                   {"StartError", "exec: \"serve\": executable file not found in $PATH: unknown", false},
		"a program that says the same":    {"Error", said, false},
		"an OOM kill with words like any": {reasonOOMKilled, "", true},
	} {
		s := newScene(t)
		s.put()
		for range 2 {
			s.endQuietly("app", 128, tc.reason)
			st := s.status("app")
			st.State.Terminated.Message, st.State.Terminated.StartedAt = tc.message, metav1.NewTime(time.Unix(0, 0))
			s.run("app")
			s.wait(10 * oneSecond)
		}
		var kills, caused int
		for _, sig := range s.observed() {
			switch {
			case sig.Type == incident.OOMKill:
				kills++
				if sig.Reason != reasonOOMKilled || strings.Contains(sig.Message, "while it was started") != (tc.reason == "StartError") {
					t.Errorf("%s: told as %s: %s", name, sig.Reason, sig.Message)
				}
			case sig.Type == incident.PodRestart && len(sig.Causes) > 0:
				caused++
			}
		}
		if (kills > 0) != tc.oom || (caused > 0) != tc.oom {
			t.Errorf("%s: %d OOM kills, of which %d restarts come", name, kills, caused)
		}
	}
}

// TestASlowStarterHasTheTimeThatItsProbesAllow: without a startup probe that is what the others allow. A readiness probe that
// fails for longer is told; a liveness probe, for which the kubelet ends the container, at once.
func TestASlowStarterHasTheTimeThatItsProbesAllow(t *testing.T) {
	starts := func(after time.Duration) func(*scene) {
		return func(s *scene) {
			s.run("app")
			for s.now.Before(noon.Add(after)) {
				s.wait(10 * oneSecond)
				s.probe("app", notReady, 1)
			}
			s.ready("app", true)
			s.wait(time.Minute)
		}
	}
	tell(t, []story{
		{"within the time of its readiness probe", withReadiness(httpProbe(6, 10, 30)), starts(80 * oneSecond), nil},
		{"after it", withReadiness(httpProbe(3, 10, 0)), starts(80 * oneSecond), []string{"probe-failed web app x2 then healthy"}},
		{"with a liveness probe that does not wait", withLiveness(httpProbe(3, 10, 0)), func(s *scene) {
			s.run("app")
			s.wait(10 * oneSecond)
			s.probes("app", notAlive, 3, 10*oneSecond)
			s.crash("app", 137, "Error", oneSecond)
		}, []string{"probe-failed web app x1", "pod-restart web app x1 by probe-failed"}},
	})
}
