package detect

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kagent-dev/khook/internal/incident"
)

const (
	notReady   = "Readiness probe failed: HTTP probe failed with statuscode: 503"
	notAlive   = "Liveness probe failed: HTTP probe failed with statuscode: 500"
	notStarted = `Startup probe failed: Get "http://10.244.0.7:8080/started": dial tcp 10.244.0.7:8080: connect: connection refused`
)

func withReadiness(p *corev1.Probe) []corev1.Container {
	return []corev1.Container{{Name: "app", ReadinessProbe: p}}
}

func withLiveness(p *corev1.Probe) []corev1.Container {
	return []corev1.Container{{Name: "app", LivenessProbe: p}}
}

func withStartup(p *corev1.Probe) []corev1.Container {
	return []corev1.Container{{Name: "app", StartupProbe: p, ReadinessProbe: httpProbe(3, 10, 0)}}
}

func TestReadinessProbes(t *testing.T) {
	up := func(s *scene) { s.run("app"); s.wait(20 * oneSecond); s.ready("app", true); s.wait(time.Minute) }
	tell(t, []story{
		{"one that fails as often as its threshold is told, and is over when the container is ready", withReadiness(httpProbe(3, 10, 0)), func(s *scene) {
			up(s)
			s.probes("app", notReady, 3, 10*oneSecond)
			s.ready("app", false)
			s.wait(30 * oneSecond)
			s.ready("app", true)
		}, []string{"probe-failed web app x1 then healthy"}},
		{"one that fails less often than its threshold is nothing", withReadiness(httpProbe(3, 10, 0)), func(s *scene) {
			up(s)
			s.probes("app", notReady, 2, 10*oneSecond)
			s.wait(time.Hour)
		}, nil},
		{"a threshold of one is reached at once", withReadiness(httpProbe(1, 10, 0)), func(s *scene) {
			up(s)
			s.probe("app", notReady, 1)
			s.ready("app", false)
		}, []string{"probe-failed web app x1"}},
		{"failures spread over hours are nothing", withReadiness(httpProbe(3, 10, 0)), func(s *scene) {
			up(s)
			s.probes("app", notReady, 20, 25*time.Minute)
		}, nil},
		{"flapping is told each time", withReadiness(httpProbe(3, 5, 0)), func(s *scene) {
			up(s)
			for range 3 {
				s.probes("app", notReady, 3, 5*oneSecond)
				s.ready("app", false)
				s.wait(7 * oneSecond)
				s.ready("app", true)
				s.wait(40 * oneSecond)
			}
		}, []string{"probe-failed web app x3 then healthy,healthy,healthy"}},
		{"one failure, long after it was over, is nothing new", withReadiness(httpProbe(3, 10, 0)), func(s *scene) {
			up(s)
			s.probes("app", notReady, 5, 10*oneSecond)
			s.ready("app", false)
			s.ready("app", true)
			s.wait(30 * time.Minute)
			s.probe("app", notReady, 1)
			s.wait(2 * time.Hour)
			s.probe("app", notReady, 1)
		}, []string{"probe-failed web app x1 then healthy"}},
		{"a container that starts slowly is nothing", withReadiness(httpProbe(3, 10, 20)), func(s *scene) {
			s.run("app")
			s.wait(20 * oneSecond)
			s.probes("app", notReady, 3, 10*oneSecond) // allowed: 20 s and 3 times 10 s
			s.wait(5 * oneSecond)
			s.ready("app", true)
			s.wait(time.Hour)
		}, nil},
		{"one that never gets ready is told after the time for starting", withReadiness(httpProbe(3, 10, 20)), func(s *scene) {
			s.run("app")
			s.wait(20 * oneSecond)
			s.probes("app", notReady, 4, 10*oneSecond)
		}, []string{"probe-failed web app x1"}},
		{"a restarted container has time to start again", withReadiness(httpProbe(3, 10, 0)), func(s *scene) {
			up(s)
			s.crash("app", 1, "Error", 10*oneSecond)
			s.wait(5 * oneSecond)
			s.probes("app", notReady, 2, 10*oneSecond)
			s.wait(10 * oneSecond)
			s.ready("app", true)
			s.wait(5 * time.Minute)
		}, []string{"pod-restart web app x1 then healthy"}},
		{"with a startup probe the time begins when that has passed", []corev1.Container{{Name: "app", ReadinessProbe: httpProbe(3, 10, 0), StartupProbe: httpProbe(30, 10, 0)}}, func(s *scene) {
			s.run("app")
			s.wait(200 * oneSecond)
			started := true
			s.status("app").Started = &started
			s.put()
			s.probes("app", notReady, 2, 10*oneSecond)
			s.wait(5 * oneSecond)
			s.ready("app", true)
		}, nil},
		{"a new wording goes on with the same failures", withReadiness(httpProbe(4, 10, 0)), func(s *scene) {
			up(s)
			s.probes("app", notReady, 2, 10*oneSecond)
			s.wait(10 * oneSecond)
			s.probes("app", "Readiness probe failed: context deadline exceeded", 2, 10*oneSecond)
			s.ready("app", false)
		}, []string{"probe-failed web app x1"}},
		{"a first sight with a count of five is told", withReadiness(httpProbe(3, 10, 0)), func(s *scene) {
			up(s)
			s.ready("app", false)
			s.probe("app", notReady, 5)
		}, []string{"probe-failed web app x1"}},
		{"counts that stand still and jump are a failure that goes on", withReadiness(httpProbe(3, 5, 0)), func(s *scene) {
			up(s)
			s.ready("app", false)
			s.probes("app", notReady, 25, 5*oneSecond)
			n := len(s.signals)
			s.wait(190 * oneSecond)
			s.probe("app", notReady, 38)
			if len(s.observed()) == n {
				s.t.Error("the jump told nothing")
			}
			s.signals = s.observed()[:1]
			s.wait(9 * time.Minute)
			if len(s.signals) < 2 || s.signals[1].Kind != incident.Ongoing {
				s.t.Error("the problem does not go on")
			}
		}, []string{"probe-failed web app x1"}},
		{"an Event that comes before the Pod's status does not end at once", withReadiness(httpProbe(3, 10, 0)), func(s *scene) {
			up(s)
			s.probes("app", notReady, 3, 10*oneSecond)
			s.wait(3 * oneSecond)
			s.put()
			s.ready("app", false)
			s.wait(3 * time.Minute)
		}, []string{"probe-failed web app x1"}},
		{"a probe that is not known is told at once", nil, func(s *scene) {
			s.run("app")
			s.probe("app", notReady, 1)
		}, []string{"probe-failed web app x1"}},
	})
}

func TestLivenessProbes(t *testing.T) {
	tell(t, []story{
		{"one that kills its container causes the restart", withLiveness(httpProbe(3, 10, 15)), func(s *scene) {
			s.run("app")
			s.wait(time.Minute)
			s.probes("app", notAlive, 3, 10*oneSecond)
			s.wait(30 * oneSecond)
			s.crash("app", 137, "Error", 0)
			s.wait(10 * time.Minute)
		}, []string{"probe-failed web app x1 then healthy", "pod-restart web app x1 by probe-failed then healthy"}},
		{"one that kills every instance is told for each", withLiveness(httpProbe(3, 5, 0)), func(s *scene) {
			s.run("app")
			for range 3 {
				s.wait(20 * oneSecond)
				s.probes("app", notAlive, 3, 5*oneSecond)
				s.wait(2 * oneSecond)
				s.crash("app", 137, "Error", oneSecond)
			}
		}, []string{"probe-failed web app x3", "pod-restart web app x3 by probe-failed"}},
		{"one whose failures come late on a busy node causes the restart too", withLiveness(httpProbe(3, 2, 0)), func(s *scene) {
			s.run("app")
			s.wait(20 * oneSecond)
			s.probes("app", notAlive, 3, 2*oneSecond)
			s.crash("app", 137, "Error", oneSecond)
			s.wait(10 * oneSecond)
			s.probes("app", notAlive, 3, 7*oneSecond)
			s.crash("app", 137, "Error", 10*oneSecond)
		}, []string{"probe-failed web app x1", "pod-restart web app x2 by probe-failed"}},
		{"failures of two instances do not add up", withLiveness(httpProbe(3, 10, 0)), func(s *scene) {
			s.run("app")
			s.wait(time.Minute)
			s.probes("app", notAlive, 2, 10*oneSecond)
			s.crash("app", 1, "Error", oneSecond)
			s.wait(10 * oneSecond)
			s.probes("app", notAlive, 2, 10*oneSecond)
		}, []string{"pod-restart web app x1"}},
		{"one with a long initial delay has not recovered before it could fail again", withLiveness(httpProbe(3, 10, 300)), func(s *scene) {
			s.run("app")
			s.wait(310 * oneSecond)
			s.probes("app", notAlive, 3, 10*oneSecond)
			s.crash("app", 137, "Error", oneSecond)
			s.wait(200 * oneSecond)
			s.signals = s.observed()[:1]
		}, []string{"probe-failed web app x1"}},
	})
}

func TestStartupProbes(t *testing.T) {
	tell(t, []story{
		{"one that fails at first and passes is nothing", withStartup(httpProbe(30, 10, 0)), func(s *scene) {
			s.run("app")
			s.wait(10 * oneSecond)
			s.probes("app", notStarted, 20, 10*oneSecond)
			s.ready("app", true)
			s.wait(time.Hour)
		}, nil},
		{"one that reaches its threshold is told, and causes the restart", withStartup(httpProbe(5, 10, 0)), func(s *scene) {
			s.run("app")
			s.wait(10 * oneSecond)
			s.probes("app", notStarted, 5, 10*oneSecond)
			s.wait(30 * oneSecond)
			s.crash("app", 137, "Error", 0)
		}, []string{"probe-failed web app x1", "pod-restart web app x1 by probe-failed"}},
		{"an instance that starts has recovered from it", withStartup(httpProbe(3, 10, 0)), func(s *scene) {
			s.run("app")
			s.wait(10 * oneSecond)
			s.probes("app", notStarted, 3, 10*oneSecond)
			s.crash("app", 137, "Error", 0)
			s.wait(10 * oneSecond)
			s.ready("app", true)
			s.wait(5 * time.Minute)
		}, []string{"probe-failed web app x1 then healthy", "pod-restart web app x1 by probe-failed then healthy"}},
	})
}

func TestHowTheKubeletWordsAProbe(t *testing.T) {
	for note, reason := range map[string]string{
		`Liveness probe failed: service unhealthy (responded with "NOT_SERVING")`:                                                                 "LivenessProbeFailed",
		`Readiness probe failed: timeout: failed to connect service "10.244.0.9:5000" within 1s: context deadline exceeded`:                       "ReadinessProbeFailed",
		`Startup probe failed: error: this server does not implement the grpc health protocol (grpc.health.v1.Health)`:                            "StartupProbeFailed",
		`Liveness probe failed: Get "http://10.244.0.9:8080/healthz": context deadline exceeded (Client.Timeout exceeded while awaiting headers)`: "LivenessProbeFailed",
		`Readiness probe failed: dial tcp 10.244.0.9:5432: i/o timeout`:                                                                           "ReadinessProbeFailed",
		`Readiness probe failed: command timed out: "sh -c check" timed out after 1s`:                                                             "ReadinessProbeFailed",
		"Liveness probe failed: cat: can't open '/tmp/ok'\nsecond line\n":                                                                         "LivenessProbeFailed",
		"Liveness probe failed: ": "LivenessProbeFailed",
		`Readiness probe errored: rpc error: code = NotFound desc = failed to exec in container: container is not running`: "",
		`Liveness probe errored and resulted in Unknown state: rpc error: code = Unknown`:                                  "",
		`Readiness probe warning: Probe terminated redirects, Response body: <a href="/login">Found</a>.`:                  "",
		`Liveness Probe Failed`:                           "",
		`Container app is not Liveness probe failed: yet`: "",
	} {
		t.Run(note, func(t *testing.T) {
			s := newScene(t, corev1.Container{Name: "app", ReadinessProbe: httpProbe(1, 10, 0), LivenessProbe: httpProbe(1, 10, 0), StartupProbe: httpProbe(1, 10, 0)})
			s.run("app")
			s.ready("app", true)
			s.wait(time.Minute)
			s.probe("app", note, 1)
			got := ""
			if all := s.observed(); len(all) > 0 {
				got = all[0].Reason
				if !strings.HasPrefix(all[0].Message, strings.TrimSpace(strings.SplitN(note, "\n", 2)[0])) {
					t.Errorf("its message is %q", all[0].Message)
				}
			}
			if got != reason {
				t.Errorf("its reason is %q, want %q", got, reason)
			}
		})
	}
}

func TestProbesOfPodsThatAreOverAreNothing(t *testing.T) {
	for name, over := range map[string]func(s *scene){
		"terminating": func(s *scene) { s.terminate() },
		"deleted":     func(s *scene) { s.remove() },
		"evicted":     func(s *scene) { s.pod.Status.Phase, s.pod.Status.Reason = corev1.PodFailed, "Evicted"; s.put() },
		"completed":   func(s *scene) { s.pod.Status.Phase = corev1.PodSucceeded; s.put() },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, corev1.Container{Name: "app", ReadinessProbe: httpProbe(1, 10, 0), LivenessProbe: httpProbe(1, 10, 0)})
			s.run("app")
			s.ready("app", true)
			s.wait(time.Minute)
			over(s)
			s.probe("app", notReady, 1)
			s.probe("app", notAlive, 3)
			s.says()
		})
	}
}

func TestASidecarsProbeIsItsOwn(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	s := newScene(t, corev1.Container{Name: "init:proxy", RestartPolicy: &always, ReadinessProbe: httpProbe(2, 10, 0)}, corev1.Container{Name: "app"})
	s.run("proxy", "app")
	s.wait(time.Minute)
	s.status("proxy").Ready = false
	s.put()
	s.warn("Unhealthy", "spec.initContainers{proxy}", notReady, 1, false)
	s.says()
	s.wait(10 * oneSecond)
	s.warn("Unhealthy", "spec.initContainers{proxy}", notReady, 1, false)
	s.says("probe-failed web proxy x1")
}

// TestAnEventThatIsListedAgainIsNotJudgedByTheNextInstance: the failures were of an instance that was starting, and the time for
// starting of the next one is over when the Event comes once more.
func TestAnEventThatIsListedAgainIsNotJudgedByTheNextInstance(t *testing.T) {
	s := newScene(t, withReadiness(httpProbe(2, 10, 5))...)
	s.put()
	s.run("app")
	s.probe("app", notReady, 2)
	s.run("app")
	s.wait(25 * oneSecond)
	s.probe("app", notReady, 0)
	s.says("pod-restart web app x1")
}
