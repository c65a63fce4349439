package detect

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kagent-dev/khook/internal/incident"
)

func TestRestarts(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	two := []corev1.Container{{Name: "app"}, {Name: "proxy"}}
	withInit := []corev1.Container{{Name: "init:migrate"}, {Name: "app"}}
	tell(t, []story{
		{"a first start is nothing", nil, func(s *scene) {
			s.run("app")
			s.wait(time.Hour)
		}, nil},
		{"one crash is told, and has recovered after a while", nil, func(s *scene) {
			s.run("app")
			s.wait(10 * oneSecond)
			s.crash("app", 1, "Error", oneSecond)
			s.wait(5 * time.Minute)
		}, []string{"pod-restart web app x1 then healthy"}},
		{"a container that is running both before and after restarted too", nil, func(s *scene) {
			s.run("app")
			s.wait(10 * oneSecond)
			s.endQuietly("app", 2, "Error")
			s.run("app")
		}, []string{"pod-restart web app x1"}},
		{"a crash loop goes on while it waits", nil, func(s *scene) {
			s.run("app")
			for range 5 {
				s.wait(5 * oneSecond)
				s.end("app", 1, "Error")
				s.wait(oneSecond)
				s.waits("app", "CrashLoopBackOff")
				s.wait(160 * oneSecond)
				s.run("app")
			}
		}, []string{"pod-restart web app x5"}},
		{"two containers of one Pod are two incidents", two, func(s *scene) {
			s.run("app", "proxy")
			s.wait(10 * oneSecond)
			s.crash("app", 1, "Error", oneSecond)
			s.crash("proxy", 2, "Error", oneSecond)
		}, []string{"pod-restart web app x1", "pod-restart web proxy x1"}},
		{"an init container that crashes", withInit, func(s *scene) {
			s.pod.Status.Phase = corev1.PodPending
			s.run("migrate")
			s.wait(2 * oneSecond)
			s.crash("migrate", 3, "Error", oneSecond)
			s.wait(2 * oneSecond)
			s.end("migrate", 0, "Completed")
			s.run("app")
			s.wait(5 * time.Minute)
		}, []string{"pod-restart web migrate x1 then healthy"}},
		{"an init container that is OOM-killed", withInit, func(s *scene) {
			s.run("migrate")
			s.wait(2 * oneSecond)
			s.crash("migrate", 137, "OOMKilled", oneSecond)
		}, []string{"oom-kill web migrate x1", "pod-restart web migrate x1 by oom-kill"}},
		{"a sidecar that restarts", []corev1.Container{{Name: "init:mesh", RestartPolicy: &always}, {Name: "app"}}, func(s *scene) {
			s.run("mesh", "app")
			s.wait(10 * oneSecond)
			s.crash("mesh", 1, "Error", oneSecond)
			s.wait(5 * time.Minute)
		}, []string{"pod-restart web mesh x1 then healthy"}},
		{"exit code 137 alone is no OOM kill", nil, func(s *scene) {
			s.run("app")
			s.crash("app", 137, "Error", oneSecond)
		}, []string{"pod-restart web app x1"}},
		{"a container that was OOM-killed and is killed again has one problem, whatever the runtime calls it", nil, func(s *scene) {
			s.run("app")
			s.wait(10 * oneSecond)
			s.crash("app", 137, "OOMKilled", oneSecond)
			s.wait(10 * oneSecond)
			s.crash("app", 137, "Error", oneSecond)
		}, []string{"oom-kill web app x1", "pod-restart web app x2 by oom-kill"}},
		{"a crash after an OOM kill is a problem of its own", nil, func(s *scene) {
			s.run("app")
			s.wait(10 * oneSecond)
			s.crash("app", 137, "OOMKilled", oneSecond)
			s.wait(10 * oneSecond)
			s.crash("app", 2, "Error", oneSecond)
			if last := s.observed()[len(s.observed())-1]; len(last.Causes) > 0 {
				s.t.Errorf("the crash is explained by %v", last.Causes)
			}
		}, []string{"oom-kill web app x1", "pod-restart web app x2 by oom-kill"}},
		{"an OOM kill is told once, by whichever state shows it", nil, func(s *scene) {
			s.run("app")
			s.wait(10 * oneSecond)
			s.end("app", 137, "OOMKilled")
			s.wait(oneSecond)
			s.waits("app", "CrashLoopBackOff")
			s.wait(10 * oneSecond)
			s.run("app")
			s.wait(5 * time.Minute)
		}, []string{"oom-kill web app x1 then healthy", "pod-restart web app x1 by oom-kill then healthy"}},
		{"an OOM kill that only the last state shows, and a count that jumps by two", nil, func(s *scene) {
			s.run("app")
			s.wait(10 * oneSecond)
			s.endQuietly("app", 1, "Error")
			s.status("app").RestartCount++
			s.status("app").ContainerID = "containerd://unseen"
			s.endQuietly("app", 137, "OOMKilled")
			s.run("app")
			if got := s.observed()[1].Count; got != 2 {
				s.t.Errorf("the restart stands for %d, want 2", got)
			}
		}, []string{"oom-kill web app x1", "pod-restart web app x1 by oom-kill"}},
		{"a count that went down and up again is a new restart", nil, func(s *scene) {
			s.run("app")
			s.wait(10 * oneSecond)
			s.crash("app", 1, "Error", oneSecond)
			s.wait(10 * oneSecond)
			s.status("app").RestartCount = 0
			s.put()
			s.crash("app", 1, "Error", oneSecond)
		}, []string{"pod-restart web app x2"}},
		{"a node that was lost makes no restart", nil, func(s *scene) {
			s.run("app")
			s.wait(10 * oneSecond)
			st := s.status("app")
			st.RestartCount, st.Ready = 1, false
			st.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "ContainerStatusUnknown"}}
			s.put()
			s.wait(10 * oneSecond)
			s.waits("app", "ContainerCreating")
		}, nil},
		{"a node that was rebooted does", nil, func(s *scene) {
			s.run("app")
			s.wait(10 * time.Minute)
			s.crash("app", 255, "Unknown", 0)
		}, []string{"pod-restart web app x1"}},
		{"a Job's container that crashes once and completes", nil, func(s *scene) {
			s.pod.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
			s.run("app")
			s.crash("app", 1, "Error", oneSecond)
			s.wait(10 * oneSecond)
			s.pod.Status.Phase = corev1.PodSucceeded
			s.end("app", 0, "Completed")
		}, []string{"pod-restart web app x1 then healthy"}},
		{"a Job's Pod that is never restarted", nil, func(s *scene) {
			s.pod.Spec.RestartPolicy = corev1.RestartPolicyNever
			s.run("app")
			s.wait(10 * oneSecond)
			s.pod.Status.Phase = corev1.PodFailed
			s.end("app", 4, "Error")
			s.wait(time.Hour)
			s.remove()
		}, nil},
		{"a Job's Pod that is never restarted and OOM-killed", nil, func(s *scene) {
			s.pod.Spec.RestartPolicy = corev1.RestartPolicyNever
			s.run("app")
			s.pod.Status.Phase = corev1.PodFailed
			s.end("app", 137, "OOMKilled")
			s.wait(time.Hour)
		}, []string{"oom-kill web app x1"}},
		{"a container that completed does not keep the others from recovering", two, func(s *scene) {
			s.pod.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
			s.run("app", "proxy")
			s.crash("app", 1, "Error", oneSecond)
			s.end("proxy", 0, "Completed")
			s.wait(5 * time.Minute)
		}, []string{"pod-restart web app x1 then healthy"}},
		{"one container that is not ready keeps the Pod from recovering", []corev1.Container{{Name: "app"}, {Name: "proxy", ReadinessProbe: httpProbe(3, 10, 0)}}, func(s *scene) {
			s.run("app", "proxy")
			s.crash("app", 1, "Error", oneSecond)
			s.wait(5 * time.Minute)
		}, []string{"pod-restart web app x1"}},
		{"a Pod that is deleted in a crash loop shows its last end again", nil, func(s *scene) {
			s.run("app")
			s.crash("app", 137, "OOMKilled", oneSecond)
			s.end("app", 137, "OOMKilled")
			s.wait(oneSecond)
			s.waits("app", "CrashLoopBackOff")
			s.wait(30 * oneSecond)
			st := s.status("app")
			st.State, st.LastTerminationState = st.LastTerminationState, corev1.ContainerState{}
			s.pod.Status.Phase = corev1.PodFailed
			s.remove()
		}, []string{"oom-kill web app x2 then gone", "pod-restart web app x1 by oom-kill then gone"}},
		{"a Pod that is evicted has not recovered", nil, func(s *scene) {
			s.run("app")
			s.crash("app", 1, "Error", oneSecond)
			s.pod.Status.Phase, s.pod.Status.Reason = corev1.PodFailed, "Evicted"
			s.end("app", 137, "ContainerStatusUnknown")
			s.wait(time.Hour)
		}, []string{"pod-restart web app x1"}},
	})
}

func TestARestartTellsWhatAUserWantsToKnow(t *testing.T) {
	s := newScene(t)
	s.pod.Labels = map[string]string{"app": "web", "tier": `"front"`}
	s.put()
	s.run("app")
	s.wait(10 * oneSecond)
	s.end("app", 3, "Error")
	s.status("app").State.Terminated.Message = "no\x00 database\n"
	s.wait(oneSecond)
	s.run("app")
	got := s.observed()[0]
	if want := "Container app restarted (restart 1): it had ended with exit code 3 (Error): no database"; got.Message != want {
		t.Errorf("message %q, want %q", got.Message, want)
	}
	pod := got.Attributes.PodOrZero()
	if got.Reason != "Error" || *pod.ExitCode != 3 || pod.RestartCount != 1 || got.Node != "n1" || pod.Labels["tier"] != `"front"` || !got.At.Equal(s.now) {
		t.Errorf("it tells %+v", got)
	}
	want := incident.Resource{Kind: "Pod", Namespace: "shop", Name: "web", UID: string(s.pod.UID)}
	if got.Resource != want {
		t.Errorf("it is about %+v", got.Resource)
	}
}

func TestANodeWhoseClockIsAheadDoesNotTellTheFuture(t *testing.T) {
	s := newScene(t, corev1.Container{Name: "app", ReadinessProbe: httpProbe(3, 10, 0)})
	s.put()
	s.now = s.now.Add(10 * time.Minute) // the node's clock
	s.run("app")
	s.ready("app", true)
	s.endQuietly("app", 137, "OOMKilled")
	s.again(s.status("app"))
	s.status("app").ContainerID = "containerd://ahead"
	s.status("app").State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(s.now)}}
	s.now = noon.Add(20 * oneSecond) // khook's
	s.put()
	for _, sig := range s.observed() {
		if sig.At.After(s.now) {
			t.Errorf("%s is at %s, which is to come", sig.Key, sig.At)
		}
	}
	s.wait(40 * oneSecond)
	s.probes("app", notReady, 3, 10*oneSecond)
	s.says("oom-kill web app x1", "pod-restart web app x1 by oom-kill", "probe-failed web app x1 by oom-kill,pod-restart")
}
