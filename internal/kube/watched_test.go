package kube

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kagent-dev/khook/internal/incident"
)

// A second list brings Events that the watch has brought; what they are about may be forgotten.
func TestAListAfterABreakTellsOnlyTheEventsThatChanged(t *testing.T) {
	client, err := kubernetes.NewForConfig(&rest.Config{Host: "https://unused.invalid"})
	if err != nil {
		t.Fatal(err)
	}
	source, err := New(Config{Client: client, Sink: func(_ context.Context, signals []incident.Signal) (int, error) { return len(signals), nil }})
	if err != nil {
		t.Fatal(err)
	}
	events := source.watches[1]
	s := newScene(t, corev1.Container{Name: "app"})
	s.warn("Unhealthy", "spec.containers{app}", notReady, 1, true)
	ev := s.events["Unhealthy"+"spec.containers{app}"+notReady]
	ev.ResourceVersion = "10"
	handle := func(kind messageKind, version string) int {
		clear(source.detector.trouble) // what was told is forgotten
		ev := ev.DeepCopy()
		ev.ResourceVersion = version
		return len(source.handle(message{watch: events, kind: kind, obj: ev, list: []any{ev}}))
	}
	if got := handle(msgReplace, "10"); got != 0 {
		t.Errorf("the first list tells %d signals of a Pod that is gone", got)
	}
	source.detector.Pod(s.now, watch.Modified, s.pod, false)
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
		if got := handle(step.kind, step.version); got != step.want {
			t.Errorf("%s tells %d signals, want %d", step.what, got, step.want)
		}
	}
}
