package replay

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/hook"
)

func TestAStorySaysWhatKeptAHookFromItsTypes(t *testing.T) {
	selecting := func(labels map[string]string) func(*v1alpha2.Hook, *v1alpha2.EventConfiguration) {
		return func(_ *v1alpha2.Hook, ec *v1alpha2.EventConfiguration) {
			ec.Selector = &metav1.LabelSelector{MatchLabels: labels}
		}
	}
	for name, tc := range map[string]struct {
		hook *v1alpha2.Hook
		want []string
	}{
		"a label":      {oneAgent("oom-kill", selecting(map[string]string{"track": "canary"})), []string{"1 oom-kill: selector track=canary, the Pod has none"}},
		"it fits":      {oneAgent("oom-kill", func(*v1alpha2.Hook, *v1alpha2.EventConfiguration) {}), nil},
		"another type": {oneAgent("probe-failed", selecting(map[string]string{"track": "canary"})), nil},
		"suspended":    {oneAgent("oom-kill", func(h *v1alpha2.Hook, _ *v1alpha2.EventConfiguration) { h.Spec.Suspend = true }), nil},
		"the nearest of two": {oneAgent("oom-kill", func(h *v1alpha2.Hook, ec *v1alpha2.EventConfiguration) {
			far := *ec
			far.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"track": "canary"}}
			ec.Match = `event.container == "other"`
			h.Spec.EventConfigurations = append(h.Spec.EventConfigurations, far)
		}), []string{`1 oom-kill: match event.container == "other" is false: event.container is "hog"`}},
	} {
		t.Run(name, func(t *testing.T) {
			options := Options{
				Policy: hook.Policy{AgentNamespaces: []string{"kagent"}}, PendingAfter: time.Minute, Stabilization: 2 * time.Minute,
				QuietAfter: 10 * time.Minute, CatchUp: time.Hour, Settle: 15 * time.Minute,
			}
			story, err := Run(t.Context(), []string{filepath.Join("..", "..", "test", "recordings", "oom-hog.jsonl")}, []*v1alpha2.Hook{tc.hook}, options)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, n := range story.NotFitted {
				got = append(got, fmt.Sprintf("%d %s: %s %s", n.Incidents, n.EventType, n.Step, n.Why))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
