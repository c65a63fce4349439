package detect

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kagent-dev/khook/internal/incident"
)

// loseNode lets the node's controller say, after a lag, that nothing is heard of the Pod's node.
func (s *scene) loseNode(lag time.Duration) {
	s.pod.Status.Conditions = []corev1.PodCondition{
		{Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: metav1.NewTime(s.now.Add(-lag))},
		{Type: corev1.ContainersReady, Status: corev1.ConditionTrue},
	}
	s.put()
}

// heard tells the signs about the node, each with its time since noon, and the ends.
func heard(signals []incident.Signal) []string {
	lines := []string{}
	for _, sig := range signals {
		switch sig.Kind {
		case incident.Unheard, incident.Heard, incident.Healthy, incident.Gone:
			lines = append(lines, fmt.Sprintf("%s %s %s at %s", sig.Kind, sig.Type, sig.Container, sig.At.Sub(noon)))
		}
	}
	return lines
}

// crashedPod has a Pod with two containers, one of which has crashed and runs again.
func crashedPod(t *testing.T) *scene {
	s := newScene(t, corev1.Container{Name: "app"}, corev1.Container{Name: "log"})
	s.put()
	s.run("app", "log")
	s.crash("app", 1, "Error", oneSecond)
	s.crash("log", 1, "Error", oneSecond)
	s.conditions(corev1.ConditionTrue, corev1.ConditionTrue)
	s.wait(58 * oneSecond)
	s.signals = nil
	return s
}

func TestALostNodeIsToldAtOnceAndSoIsThatItIsBack(t *testing.T) {
	s := crashedPod(t)
	s.loseNode(5 * oneSecond)
	want := []string{"unheard pod-restart app at 55s", "unheard pod-restart log at 55s"}
	if diff := cmp.Diff(want, heard(s.signals)); diff != "" {
		t.Errorf("when it is lost (-want +got)\n%s", diff)
	}
	s.put() // such as another label
	s.wait(30 * time.Minute)
	s.signals = nil
	s.conditions(corev1.ConditionTrue, corev1.ConditionTrue)
	want = []string{"heard pod-restart app at 31m0s", "heard pod-restart log at 31m0s"}
	if diff := cmp.Diff(want, heard(s.signals)); diff != "" {
		t.Errorf("when it is back (-want +got)\n%s", diff)
	}
	s.signals = nil
	s.put()
	s.wait(2 * time.Minute)
	want = []string{"healthy pod-restart app at 33m0s", "healthy pod-restart log at 33m0s"}
	if diff := cmp.Diff(want, heard(s.signals)); diff != "" {
		t.Errorf("then (-want +got)\n%s", diff)
	}
}

func TestALostNodeIsToldSinceTheSameTimeAgainAndAgain(t *testing.T) {
	s := crashedPod(t)
	s.loseNode(5 * oneSecond)
	s.wait(9 * time.Minute)
	told := heard(s.signals)
	if len(told) != 6 {
		t.Errorf("within 9 minutes it is told: %q", told)
	}
	for i, line := range told {
		if line != told[i%2] {
			t.Errorf("at first it is %q, then %q", told[i%2], line)
		}
	}
}

// TestAKhookThatStartsWhileANodeIsLostTellsIt stops khook before the node is lost, or while it is.
func TestAKhookThatStartsWhileANodeIsLostTellsIt(t *testing.T) {
	for name, known := range map[string]bool{"it is news": false, "the history knows": true} {
		s := crashedPod(t)
		open := &incident.Incident{
			Type: incident.PodRestart, LastSeen: noon,
			Observation: incident.Observation{Resource: incident.Resource{Kind: "Pod", Namespace: "shop", Name: "web", UID: string(s.pod.UID)}, Container: "app"},
		}
		if known {
			open.UnheardSince = noon.Add(55 * oneSecond)
		}
		s.restartKhook(open)
		s.pod.Status.Conditions[0].Status, s.pod.Status.Conditions[0].LastTransitionTime = corev1.ConditionFalse, metav1.NewTime(noon.Add(55*oneSecond))
		s.list()
		told := heard(s.signals)
		if len(told) == 0 || told[0] != "unheard pod-restart app at 55s" {
			t.Errorf("%s: it tells %q", name, told)
		}
	}
}

func TestAKhookThatStartsWhenTheNodeIsBackTakesBackWhatTheHistoryHas(t *testing.T) {
	s := crashedPod(t)
	open := &incident.Incident{
		Type: incident.PodRestart, LastSeen: noon, UnheardSince: noon.Add(oneSecond),
		Observation: incident.Observation{Resource: incident.Resource{Kind: "Pod", Namespace: "shop", Name: "web", UID: string(s.pod.UID)}, Container: "app"},
	}
	s.restartKhook(open)
	s.list()
	if diff := cmp.Diff([]string{"heard pod-restart app at 1m0s"}, heard(s.signals)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestAPodThatIsDeletedOnALostNodeStaysUnheard is what becomes of Pods after five minutes: they are to be deleted, and nobody
// is there to do it.
func TestAPodThatIsDeletedOnALostNodeStaysUnheard(t *testing.T) {
	s := crashedPod(t)
	s.loseNode(0)
	s.wait(5 * time.Minute)
	s.terminate()
	s.signals = nil
	s.wait(time.Hour)
	if n := s.count(incident.Unheard); n < 20 {
		t.Errorf("within an hour it is told %d times", n)
	}
	s.signals = nil
	s.remove()
	if diff := cmp.Diff([]string{"gone   at 1h6m1s"}, heard(s.signals)); diff != "" {
		t.Errorf("when it is gone (-want +got)\n%s", diff)
	}
}

// TestTheEventThatANodeIsNotReadyTellsNothingMore: the condition has changed by then; and the Event stays when the node is back.
func TestTheEventThatANodeIsNotReadyTellsNothingMore(t *testing.T) {
	s := crashedPod(t)
	s.loseNode(0)
	s.conditions(corev1.ConditionTrue, corev1.ConditionTrue)
	s.signals = nil
	s.warn("NodeNotReady", "", "Node is not ready", 1, false)
	s.wait(3 * time.Minute)
	s.warn("NodeNotReady", "", "Node is not ready", 1, false)
	want := []string{"healthy pod-restart app at 3m0s", "healthy pod-restart log at 3m0s"}
	if diff := cmp.Diff(want, heard(s.signals)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestAnOccurrenceOnALostNodeIsFollowedByThatNothingIsHeard: an occurrence says that its incident was heard of.
func TestAnOccurrenceOnALostNodeIsFollowedByThatNothingIsHeard(t *testing.T) {
	s := newScene(t, withLiveness(httpProbe(1, 10, 0))...)
	s.put()
	s.run("app")
	s.wait(time.Minute)
	s.loseNode(0)
	for range 2 { // written before, and late
		s.signals = nil
		s.wait(20 * oneSecond)
		s.probe("app", notAlive, 1)
		if diff := cmp.Diff([]string{"observed probe-failed", "unheard probe-failed"}, kinds(s.signals)); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	}
}
