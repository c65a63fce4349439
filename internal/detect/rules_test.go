package detect

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"pgregory.net/rapid"

	"github.com/kagent-dev/khook/internal/incident"
)

// kinds tells what was told, in order.
func kinds(signals []incident.Signal) []string {
	lines := []string{}
	for _, s := range signals {
		lines = append(lines, fmt.Sprintf("%s %s", s.Kind, s.Type))
	}
	return lines
}

func TestTheOrderOfTheRules(t *testing.T) {
	t.Run("a cause is told before its effect", func(t *testing.T) {
		s := newScene(t)
		s.put()
		s.run("app")
		s.wait(10 * oneSecond)
		s.endQuietly("app", 137, "OOMKilled")
		s.signals = nil
		s.run("app")
		want := []string{"observed oom-kill", "observed pod-restart"}
		if diff := cmp.Diff(want, kinds(s.signals)); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
	t.Run("a version that shows a problem again does not end it", func(t *testing.T) {
		s := newScene(t)
		s.put()
		s.run("app")
		s.crash("app", 1, "Error", oneSecond)
		s.put()
		s.now = s.now.Add(time.Hour) // it was well for long enough, but no timer has fired yet
		s.signals = nil
		s.endQuietly("app", 1, "Error")
		s.run("app")
		want := []string{"observed pod-restart"}
		if diff := cmp.Diff(want, kinds(s.signals)); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
	t.Run("a timer that finds a problem again does not end it", func(t *testing.T) {
		s := newScene(t, corev1.Container{Name: "app", LivenessProbe: httpProbe(3, 10, 0), ReadinessProbe: httpProbe(3, 10, 300)})
		s.put()
		s.run("app")
		s.probes("app", notAlive, 3, 10*oneSecond)
		s.crash("app", 137, "Error", oneSecond)
		s.now = s.now.Add(300 * oneSecond) // the new instance has not failed its liveness probe
		for range 3 {
			s.probe("app", notReady, 1)
			s.now = s.now.Add(10 * oneSecond)
		}
		s.signals = nil
		s.now = s.now.Add(10 * oneSecond) // nor got ready in the time for starting
		s.signals = s.d.Tick(s.now)
		want := []string{"observed probe-failed"}
		if diff := cmp.Diff(want, kinds(s.signals)); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}

// acts are what a kubelet or an API server may tell of a Pod at one moment.
var acts = []func(s *scene){
	func(s *scene) { s.run("app") },
	func(s *scene) { s.end("app", 1, "Error") },
	func(s *scene) { s.end("app", 137, "OOMKilled") },
	func(s *scene) { s.endQuietly("app", 137, "Error"); s.run("app") },
	func(s *scene) { s.waits("app", "CrashLoopBackOff") },
	func(s *scene) { s.ready("app", true) },
	func(s *scene) { s.ready("app", false) },
	func(s *scene) { s.probe("app", notReady, 1) },
	func(s *scene) { s.probe("app", notAlive, 2) },
	func(s *scene) { s.warn("FailedMount", "", "MountVolume.SetUp failed", 1, false) },
	func(s *scene) { s.pod.Status.Phase = corev1.PodPending; s.put() },
	func(s *scene) { s.pulls("app") },
	func(s *scene) { s.progress("TriggeredScaleUp", "", "pod triggered scale-up") },
	func(s *scene) { s.loseNode(oneSecond) },
	func(s *scene) { s.conditions(corev1.ConditionTrue, corev1.ConditionTrue) },
	func(s *scene) { s.terminate() },
	func(s *scene) { s.feed(watch.Deleted, false) },
}

// round is what happens after a pause: an act of each Pod, in some order.
type round struct {
	pause time.Duration
	acts  []int // by Pod
	order []int // of the Pods
}

func drawRounds(t *rapid.T, pods int) []round {
	all := make([]int, pods)
	for i := range all {
		all[i] = i
	}
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) round {
		return round{
			pause: time.Duration(rapid.IntRange(0, 200).Draw(t, "pause")) * oneSecond,
			acts:  rapid.SliceOfN(rapid.IntRange(0, len(acts)-1), pods, pods).Draw(t, "acts"),
			order: rapid.Permutation(all).Draw(t, "order"),
		}
	}), 1, 30).Draw(t, "rounds")
}

// perform lets some of the Pods act before one detector, and returns what is told of each, by UID.
func perform(t testing.TB, rounds []round, pods ...int) map[types.UID][]incident.Signal {
	d := New(Timing{Start: noon})
	scenes := map[int]*scene{}
	for _, i := range pods {
		s := newScene(t, corev1.Container{Name: "app", LivenessProbe: httpProbe(3, 10, 5), ReadinessProbe: httpProbe(2, 10, 5)})
		s.d, s.pod.UID = d, types.UID(fmt.Sprintf("6ab22e5b-35a4-4b0c-8a3b-4f1d7cf6%04d", i))
		scenes[i] = s
	}
	told := map[types.UID][]incident.Signal{}
	note := func(signals []incident.Signal) {
		for _, sig := range signals {
			uid := types.UID(sig.Resource.UID)
			told[uid] = append(told[uid], sig)
		}
	}
	now := noon
	for _, r := range rounds {
		until := now.Add(r.pause)
		for due, ok := d.Next(); ok && !due.After(until); due, ok = d.Next() {
			now = latest(now, due)
			note(d.Tick(now))
		}
		now = until
		for _, i := range r.order {
			if s := scenes[i]; s != nil {
				s.now, s.signals = now, nil
				acts[r.acts[i]](s)
				note(s.signals)
			}
		}
	}
	return told
}

func TestWhatIsToldOfAPodDoesNotDependOnOthers(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rounds := drawRounds(rt, 3)
		together := perform(t, rounds, 0, 1, 2)
		for i := range 3 {
			for uid, alone := range perform(t, rounds, i) {
				if diff := cmp.Diff(alone, together[uid]); diff != "" {
					rt.Fatalf("Pod %d (-alone +among others)\n%s", i, diff)
				}
			}
		}
	})
}

func TestTheSameVersionTwiceTellsNothingNew(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newScene(t, corev1.Container{Name: "app", LivenessProbe: httpProbe(3, 10, 5), ReadinessProbe: httpProbe(2, 10, 5)})
		s.run("app")
		for _, r := range drawRounds(rt, 1) {
			s.wait(r.pause)
			acts[r.acts[0]](s)
			if !s.d.Knows(s.pod.UID) {
				s.put() // it was deleted: begin anew
			}
			s.signals = nil
			s.put()
			for _, ev := range s.events {
				s.see(ev, false)
			}
			if got := s.observed(); len(got) > 0 {
				rt.Fatalf("told a second time: %q", keys(got))
			}
		}
	})
}

// A rule that changes what it is given would disturb the rules after it, and Pods that share it.
func TestRulesChangeNothingThatTheyAreGiven(t *testing.T) {
	every := slices.Concat(versionRules, timeRules, eventRules)
	show := func(known state) string {
		if known.problems == nil {
			return fmt.Sprintf("%+v", *known.pod)
		}
		p := *known.problems
		pending := pendingState{}
		if p.pending != nil {
			pending = *p.pending
		}
		p.pending = nil
		return fmt.Sprintf("%+v %+v %+v", *known.pod, p, pending)
	}
	rapid.Check(t, func(rt *rapid.T) {
		s := newScene(t, corev1.Container{Name: "app", LivenessProbe: httpProbe(3, 10, 5), ReadinessProbe: httpProbe(2, 10, 5)})
		s.put()
		key := keyOf(string(s.pod.UID))
		for _, r := range drawRounds(rt, 1) {
			s.wait(r.pause)
			acts[r.acts[0]](s)
			known, seen := s.d.known(key), s.d.look(key, s.now.Add(r.pause))
			if known.pod == nil {
				continue
			}
			next := s.pod.DeepCopy()
			next.Status.ContainerStatuses[0].RestartCount++
			next.Status.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{Reason: reasonOOMKilled, ContainerID: "containerd://next"}
			seen.pod, seen.before = next, known.pod
			seen.failure = &probeFailure{probe: probe{"app", readiness}, event: "e", count: int32(len(s.signals)) + 1, first: noon, last: seen.now}
			seen.warning = &volumeWarning{warning: warning{"FailedMount", "x"}}
			seen.progress = &progress{kind: pulling, reason: "Pulling", container: "app", at: seen.now}
			before := show(known)
			for i, rule := range every {
				_, first := rule(known, seen)
				_, second := rule(known, seen)
				if after := show(known); after != before {
					rt.Fatalf("rule %d changed\n%s\nto\n%s", i, before, after)
				}
				if diff := cmp.Diff(first, second); diff != "" {
					rt.Fatalf("rule %d tells another thing the second time (-first +second)\n%s", i, diff)
				}
			}
		}
	})
}
