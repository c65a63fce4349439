package kube

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/kagent-dev/khook/internal/detect"
	"github.com/kagent-dev/khook/internal/incident"
)

const notReady = "Readiness probe failed: HTTP probe failed with statuscode: 503"

// failingPod is a Pod without a readiness probe, and the Event that its readiness probe failed: each
// version of the Event is an occurrence of its own to a detector that knows only the Pod.
func failingPod() (*corev1.Pod, *eventsv1.Event) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "6ab22e5b-35a4-4b0c-8a3b-4f1d7cf6a0d1", CreationTimestamp: metav1.NewTime(noon)},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning},
	}
	ev := &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: "web.18a", Namespace: "shop", UID: "e1"},
		Type:       corev1.EventTypeWarning, Reason: "Unhealthy", Note: notReady, DeprecatedCount: 1,
		DeprecatedFirstTimestamp: metav1.NewTime(noon), DeprecatedLastTimestamp: metav1.NewTime(noon),
		Regarding: corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: "web", UID: pod.UID, FieldPath: "spec.containers{app}"},
	}
	return pod, ev
}

// unconnected is a source that is never run.
func unconnected(t *testing.T) *Source {
	t.Helper()
	client, err := kubernetes.NewForConfig(&rest.Config{Host: "https://unused.invalid"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{
		Client: client, Clock: clocktesting.NewFakeClock(noon.Add(time.Minute)),
		Sink: func(_ context.Context, signals []incident.Signal) (int, error) { return len(signals), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A second list brings Events that the watch has brought; what they are about may be forgotten.
func TestAListAfterABreakTellsOnlyTheEventsThatChanged(t *testing.T) {
	s := unconnected(t)
	events := s.watches[1]
	pod, ev := failingPod()
	handle := func(kind messageKind, version string) int {
		newer := ev.DeepCopy()
		newer.ResourceVersion = version
		return len(s.handle(message{watch: events, kind: kind, obj: newer, list: []any{newer}}))
	}
	if got := handle(msgReplace, "10"); got != 0 {
		t.Errorf("the first list tells %d signals of a Pod that is gone", got)
	}
	for _, step := range []struct {
		what    string
		kind    messageKind
		version string
		want    int
	}{
		{"an update of the watch", msgPut, "12", 1},
		{"a list with what the watch has brought", msgReplace, "12", 0},
		{"a list with what has changed since", msgReplace, "13", 1},
		{"a version that can't be compared", msgReplace, "x", 1},
	} {
		s.detector = detect.New(detect.Timing{Start: noon}) // it has forgotten what it told
		s.detector.Pod(noon, watch.Modified, pod, false)
		if got := handle(step.kind, step.version); got != step.want {
			t.Errorf("%s tells %d signals, want %d", step.what, got, step.want)
		}
	}
}

func TestAnEventThatIsListedAgainTellsNothingOfAPodThatCameAndWent(t *testing.T) {
	s := unconnected(t)
	events := s.watches[1]
	events.firstListTaken = true
	_, ev := failingPod()
	if signals := s.seeAll(noon.Add(time.Hour), message{watch: events, list: []any{ev}}); len(signals) != 0 {
		t.Errorf("told %+v", signals)
	}
	if due, ok := s.detector.Next(); ok {
		t.Errorf("something is to come at %s", due)
	}
}

// TestOnlyAPodThatIsSeenToBeMadeIsNew has a khook whose clock is 61 s ahead, and a Pod that is told by a watch that is up, one
// that is back after a break, and a list.
func TestOnlyAPodThatIsSeenToBeMadeIsNew(t *testing.T) {
	for name, tc := range map[string]struct {
		kind    messageKind
		watched bool
		late    bool
	}{
		"by the watch":               {msgAdd, true, false},
		"by a watch that was broken": {msgAdd, false, true},
		"by a list":                  {msgReplace, true, true},
	} {
		s := unconnected(t)
		clock := clocktesting.NewFakeClock(noon.Add(61 * time.Second))
		s.detector = detect.New(detect.Timing{Start: noon})
		s.cfg.Clock, s.watches[0].firstListTaken = clock, true
		if tc.watched {
			s.since = noon
		}
		pod, _ := failingPod()
		pod.Status.Phase = corev1.PodPending
		signals := s.handle(message{watch: s.watches[0], kind: tc.kind, obj: pod, list: []any{pod}})
		clock.Step(10 * time.Second)
		signals = append(signals, s.detector.Tick(clock.Now())...)
		if late := len(signals) > 0; late != tc.late {
			t.Errorf("%s: it waits for too long at once: %v", name, late)
		}
		clock.Step(51 * time.Second)
		if signals = append(signals, s.detector.Tick(clock.Now())...); len(signals) != 1 || signals[0].Type != incident.PodPending {
			t.Errorf("%s: after a minute it is told: %+v", name, signals)
		}
	}
}
