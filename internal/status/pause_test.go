package status

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/delivery"
)

// TestEachEventSaysWhatWasDone: the API server refuses Events without an action.
func TestEachEventSaysWhatWasDone(t *testing.T) {
	for _, reason := range Reasons() {
		if actions[reason] == "" {
			t.Errorf("Events %s have no action: none would ever be written", reason)
		}
	}
}

func TestTheConditionPausedSaysWhoPausedAndWhatColumnsShow(t *testing.T) {
	at := time.Date(2026, 1, 15, 10, 0, 0, 0, time.UTC)
	p := delivery.Pause{PauseScope: delivery.PauseScope{Namespace: "shop"}, By: "ann", Reason: "it does harm", At: at, Ends: at.Add(time.Hour)}
	if c := pausedCalls(p, true); c.Status != metav1.ConditionTrue || c.Message != "calls of all Hooks of namespace shop are paused by ann since 2026-01-15T10:00:00Z, until 2026-01-15T11:00:00Z: it does harm" {
		t.Errorf("%+v", c)
	}
	if c := pausedCalls(delivery.Pause{}, false); c.Status != metav1.ConditionFalse || strings.Contains(c.Message, "are paused") {
		t.Errorf("%+v", c)
	}
	suspended := &v1alpha2.Hook{Spec: v1alpha2.HookSpec{Suspend: true}}
	for want, got := range map[string]string{
		"paused": suspendedBy(suspended, true), "spec.suspend": suspendedBy(suspended, false), "": suspendedBy(&v1alpha2.Hook{}, false),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
