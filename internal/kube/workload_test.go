package kube

import (
	"context"
	"errors"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kagent-dev/khook/internal/detect"
	"github.com/kagent-dev/khook/internal/incident"
)

// workloadHealth is that of a workload whose namespace was listed.
func workloadHealth(pods, healthy int) WorkloadHealth {
	return WorkloadHealth{WorkloadHealth: detect.WorkloadHealth{Pods: pods, Healthy: healthy}, Synced: true}
}

func TestARunningSourceTellsHowAWorkloadIs(t *testing.T) {
	w := watchCluster(t)
	w.awaitSynced()
	web := incident.Workload{Kind: "Pod", Name: "web"}
	is := func(want WorkloadHealth) func() bool {
		return func() bool {
			got, err := w.source.Workload(t.Context(), w.namespace, web)
			return err == nil && got == want
		}
	}
	w.await("there is none", is(WorkloadHealth{Synced: true}))
	pod := w.start(w.namespace, "web")
	w.await("it is healthy", is(workloadHealth(1, 1)))
	pod.Status.ContainerStatuses[0].Ready = false
	w.must(w.admin.CoreV1().Pods(w.namespace).UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}))
	w.await("it is not", is(workloadHealth(1, 0)))
	w.remove(pod)
	w.await("it is gone", is(WorkloadHealth{Synced: true}))

	if got, err := w.source.Workload(t.Context(), "elsewhere", web); err != nil || got.Synced {
		t.Errorf("of a namespace that is not watched: %+v, %v", got, err)
	}
	w.stop()
	if _, err := w.source.Workload(t.Context(), w.namespace, web); err == nil {
		t.Error("a source that has ended answers")
	}
}

func TestAQuestionIsNotSyncedBeforeTheFirstList(t *testing.T) {
	w := watchCluster(t, func(_ *Config, w *watching) { w.wire.fell() })
	got, err := w.source.Workload(t.Context(), w.namespace, incident.Workload{Kind: "Pod", Name: "web"})
	if err != nil || got != (WorkloadHealth{}) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestAQuestionWaitsNoLongerThanItsContext(t *testing.T) {
	w := watchCluster(t)
	w.awaitSynced()
	w.stop()
	w.source.ended = make(chan struct{}) // as if detection went on, and had no time
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Millisecond, errCut)
	defer cancel()
	if _, err := w.source.Workload(ctx, w.namespace, incident.Workload{}); !errors.Is(err, errCut) {
		t.Error(err)
	}
}
