package detect

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kagent-dev/khook/internal/incident"
)

func TestProbesThatCannotBeMade(t *testing.T) {
	const noCommand = `Readiness probe errored and resulted in unknown state: rpc error: code = Unknown desc = exec: "nope": executable file not found`
	tell(t, []story{
		{"a readiness probe that can't be made keeps its container from ever being ready", withReadiness(httpProbe(3, 10, 0)), func(s *scene) {
			s.run("app")
			s.wait(5 * oneSecond)
			s.probes("app", noCommand, 5, 10*oneSecond)
		}, []string{"probe-failed web app x1"}},
		{"a startup probe that can't be made keeps its container from ever being started", withStartup(httpProbe(3, 10, 0)), func(s *scene) {
			s.run("app")
			s.wait(5 * oneSecond)
			s.probes("app", "Startup probe errored: no such command", 4, 10*oneSecond)
		}, []string{"probe-failed web app x1"}},
		{"one that can't be made any more changes nothing for a container that is ready", withReadiness(httpProbe(3, 10, 0)), func(s *scene) {
			s.run("app")
			s.ready("app", true)
			s.wait(time.Minute)
			s.probes("app", noCommand, 6, 10*oneSecond)
		}, nil},
		{"a liveness probe that can't be made kills nothing", withLiveness(httpProbe(3, 10, 0)), func(s *scene) {
			s.run("app")
			s.wait(time.Minute)
			s.probes("app", "Liveness probe errored: no such command", 6, 10*oneSecond)
		}, nil},
	})
}

func TestNotesThatTheKubeletCombines(t *testing.T) {
	tell(t, []story{
		{"failures with a new wording each are combined after the tenth, and go on to be counted", withReadiness(httpProbe(3, 10, 0)), func(s *scene) {
			s.run("app")
			s.ready("app", true)
			s.wait(time.Minute)
			s.probes("app", "(combined from similar events): Readiness probe failed: took 1.043 s", 3, 10*oneSecond)
			s.ready("app", false)
			if got := s.observed()[0].Message; got != "Readiness probe failed: took 1.043 s" {
				s.t.Errorf("it says %q", got)
			}
		}, []string{"probe-failed web app x1"}},
	})
}

func TestWhichRestartsAFailedProbeCauses(t *testing.T) {
	tell(t, []story{
		{"one that its container's grace period puts off by minutes", withLiveness(httpProbe(3, 10, 0)), func(s *scene) {
			s.run("app")
			s.wait(time.Minute)
			s.probes("app", notAlive, 3, 10*oneSecond)
			s.wait(5 * time.Minute)
			s.crash("app", 137, "Error", oneSecond)
		}, []string{"probe-failed web app x1", "pod-restart web app x1 by probe-failed"}},
		{"one that waits in CrashLoopBackOff", withLiveness(httpProbe(3, 10, 0)), func(s *scene) {
			s.run("app")
			s.wait(time.Minute)
			s.probes("app", notAlive, 3, 10*oneSecond)
			s.end("app", 137, "Error")
			s.waits("app", "CrashLoopBackOff")
			s.wait(160 * oneSecond)
			s.run("app")
		}, []string{"probe-failed web app x1", "pod-restart web app x1 by probe-failed"}},
		{"not the next one, which is a crash of its own", withLiveness(httpProbe(3, 10, 0)), func(s *scene) {
			s.run("app")
			s.wait(time.Minute)
			s.probes("app", notAlive, 3, 10*oneSecond)
			s.crash("app", 137, "Error", oneSecond)
			s.wait(10 * oneSecond)
			s.crash("app", 1, "Error", oneSecond)
			if all := s.observed(); len(all[2].Causes) != 0 {
				s.t.Errorf("the crash is caused by %v", all[2].Causes)
			}
		}, []string{"probe-failed web app x1", "pod-restart web app x2 by probe-failed"}},
	})
}

func TestACrashAfterANodeWasLostIsNoRestartOfItsOwn(t *testing.T) {
	s := newScene(t)
	s.put()
	s.run("app")
	s.wait(10 * oneSecond)
	st := s.status("app")
	st.RestartCount, st.ContainerID = 1, "containerd://after"
	st.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "ContainerStatusUnknown"}
	s.end("app", 1, "Error")
	s.says()
}

func TestAProbeThatFailsEachSecondIsNotToldEachSecond(t *testing.T) {
	s := newScene(t, withReadiness(httpProbe(1, 1, 0))...)
	s.put()
	s.run("app")
	s.ready("app", true)
	s.wait(time.Minute)
	s.probe("app", notReady, 1)
	s.ready("app", false)
	s.wait(oneSecond)
	s.probes("app", notReady, 60, oneSecond)
	if n := len(s.observed()); n < 4 || n > 8 {
		t.Errorf("it was told %d times within a minute", n)
	}
}

func TestAProblemGoesOnBeingToldWhenTheClusterIsWatchedAgain(t *testing.T) {
	s := newScene(t)
	s.put()
	s.wait(2 * time.Minute)
	s.d.SetLive(false)
	s.wait(8 * time.Minute)
	s.signals = nil
	s.d.SetLive(true)
	s.wait(5 * time.Minute)
	if len(s.signals) == 0 || s.signals[0].Kind != incident.Ongoing {
		t.Errorf("told %+v", s.signals)
	}
}

func TestIncidentsOfOtherSourcesAreLeftAlone(t *testing.T) {
	d := New(Timing{Start: noon})
	d.Seed([]*incident.Incident{{Type: "disk-full", Observation: incident.Observation{Resource: incident.Resource{Kind: "Host", Namespace: "shop", Name: "db1", UID: "db1"}}}})
	if signals := d.Listed(noon, "", nil); len(signals) != 0 {
		t.Errorf("told %+v", signals)
	}
}

func TestAnEventThatOvertakesItsPodIsHeldUntilThatComes(t *testing.T) {
	s := newScene(t, withReadiness(httpProbe(3, 10, 20))...)
	s.probe("app", notReady, 1)
	s.wait(oneSecond)
	s.run("app")
	s.wait(time.Hour)
	s.says()
}

// TestAnEventIsNeverJudgedWithoutItsPod holds that nobody guesses a threshold, however long the Pods take to be listed.
func TestAnEventIsNeverJudgedWithoutItsPod(t *testing.T) {
	s := newScene(t, withReadiness(httpProbe(3, 10, 20))...)
	s.probes("app", notReady, 3, oneSecond)
	s.wait(time.Minute)
	s.says()
	s.run("app")
	s.says()
	late := newScene(t)
	late.probes("app", notReady, 3, oneSecond)
	late.wait(2 * podLag)
	late.says()
	if len(late.d.early.events) > 0 || len(late.d.early.waits) > 0 {
		t.Error("Events are kept of a Pod that never came")
	}
}

func TestAStartOfKhookTellsNothingOfContainersThatStartedAsTheyMay(t *testing.T) {
	s := newScene(t, withReadiness(httpProbe(3, 10, 20))...)
	s.put()
	s.run("app")
	s.wait(20 * oneSecond)
	s.probes("app", notReady, 3, 10*oneSecond)
	s.wait(5 * oneSecond)
	s.ready("app", true)
	s.wait(10 * time.Minute)
	s.restartKhook()
	s.list()
	for _, ev := range s.events {
		s.see(ev, true)
	}
	s.wait(time.Hour)
	s.says()
}

func TestFailuresFromBeforeAContainerWasReadyDoNotAddUpWithThoseAfterAStartOfKhook(t *testing.T) {
	s := newScene(t, withReadiness(httpProbe(3, 10, 20))...)
	s.put()
	s.run("app")
	s.wait(20 * oneSecond)
	s.probes("app", notReady, 3, 10*oneSecond)
	s.wait(oneSecond)
	s.ready("app", true)
	s.restartKhook()
	s.list()
	for _, ev := range s.events {
		s.see(ev, true)
	}
	s.wait(9 * oneSecond)
	s.probe("app", notReady, 1)
	s.wait(time.Hour)
	s.says()
}

func TestFailuresThatTheKubeletHoldsBackAreNotTakenToBeInARow(t *testing.T) {
	tell(t, []story{
		{"a liveness probe that now and then fails, and kills nothing", withLiveness(httpProbe(3, 10, 0)), func(s *scene) {
			s.run("app")
			s.wait(time.Minute)
			s.probe("app", notAlive, 1)
			for range 5 {
				s.wait(5 * time.Minute)
				s.probe("app", notAlive, 4)
			}
		}, nil},
		{"a readiness probe that now and then fails, and is ready", withReadiness(httpProbe(3, 10, 0)), func(s *scene) {
			s.run("app")
			s.ready("app", true)
			s.wait(time.Minute)
			s.probe("app", notReady, 1)
			for range 5 {
				s.wait(5 * time.Minute)
				s.probe("app", notReady, 4)
			}
		}, nil},
	})
}
