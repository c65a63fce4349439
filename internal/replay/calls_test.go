package replay

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/hook"
)

// oneAgent is a Hook that calls one agent for one event type.
func oneAgent(eventType string, edit func(*v1alpha2.Hook, *v1alpha2.EventConfiguration)) *v1alpha2.Hook {
	medic, h := "kagent/medic", &v1alpha2.Hook{}
	h.Name = "one"
	h.Spec.EventConfigurations = []v1alpha2.EventConfiguration{{EventType: eventType, AgentId: &medic, Prompt: "look at it"}}
	edit(h, &h.Spec.EventConfigurations[0])
	return h
}

func lasting(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }

// calledAndNot is what a story says of calls: when which one was made, and when which one was not, and why.
func calledAndNot(s *Story) []string {
	var lines []string
	for _, d := range s.Deliveries {
		lines = append(lines, fmt.Sprintf("%g calls for %s of %s, due at %g", d.At, d.EventType, d.Group, d.DueAt))
	}
	for _, n := range s.NotCalled {
		lines = append(lines, fmt.Sprintf("%g does not call for %s of %s: %s", n.At, n.EventType, n.Group, n.Reason))
	}
	return lines
}

// TestACallIsMadeWhenTheControllerWouldMakeIt: a call that waits is made later, or not at all if there is nothing left to
// call for; what a budget or the loop guard holds back is made when they let it.
func TestACallIsMadeWhenTheControllerWouldMakeIt(t *testing.T) {
	type configuration = v1alpha2.EventConfiguration
	often := func(_ *v1alpha2.Hook, c *configuration) { c.DedupWindow = lasting(time.Second) }
	for name, tc := range map[string]struct {
		recording string
		hook      *v1alpha2.Hook
		options   Options
		want      []string
	}{
		"groupWait passes": {"13-oom-once-then-fine", oneAgent("oom-kill", func(_ *v1alpha2.Hook, c *configuration) { c.GroupWait = lasting(30 * time.Second) }), Options{},
			[]string{"42.5 calls for oom-kill of DaemonSet/fb, due at 12.5"}},
		"it recovers while it waits": {"13-oom-once-then-fine", oneAgent("oom-kill", func(_ *v1alpha2.Hook, c *configuration) { c.GroupWait = lasting(10 * time.Minute) }), Options{},
			[]string{"612.5 does not call for oom-kill of DaemonSet/fb: recovered-before"}},
		"it is called for all the same": {"13-oom-once-then-fine", oneAgent("oom-kill", func(_ *v1alpha2.Hook, c *configuration) {
			c.GroupWait, c.EvenIfRecovered = lasting(10*time.Minute), true
		}), Options{}, []string{"612.5 calls for oom-kill of DaemonSet/fb, due at 12.5"}},
		"it waits for longer than the replay": {"crash-loop-goes-on", oneAgent("oom-kill", func(_ *v1alpha2.Hook, c *configuration) { c.GroupWait = lasting(time.Hour) }), Options{Settle: time.Minute},
			[]string{"8.564 does not call for oom-kill of Deployment/oom-hog: waiting"}},
		"the budget of an hour": {"crash-loop-goes-on", oneAgent("oom-kill", func(h *v1alpha2.Hook, c *configuration) {
			often(h, c)
			h.Spec.MaxCallsPerHour = new(int32(1))
		}), Options{Settle: 2 * time.Hour, QuietAfter: 3 * time.Hour}, []string{
			"8.564 calls for oom-kill of Deployment/oom-hog, due at 8.564",
			"3615 calls for oom-kill of Deployment/oom-hog, due at 3615",
			"14.688 does not call for oom-kill of Deployment/oom-hog: over-budget",
		}},
		"the budget of all Hooks": {"crash-loop-goes-on", oneAgent("oom-kill", often), Options{MaxCallsPerHour: 1}, []string{
			"8.564 calls for oom-kill of Deployment/oom-hog, due at 8.564",
			"14.688 does not call for oom-kill of Deployment/oom-hog: over-budget",
		}},
		"the loop guard": {"crash-loop-goes-on", oneAgent("oom-kill", func(_ *v1alpha2.Hook, c *configuration) { c.DedupWindow = lasting(50 * time.Second) }), Options{}, []string{
			"8.564 calls for oom-kill of Deployment/oom-hog, due at 8.564",
			"67.136 calls for oom-kill of Deployment/oom-hog, due at 67.136",
			"119.364 calls for oom-kill of Deployment/oom-hog, due at 119.364",
			"225 calls for oom-kill of Deployment/oom-hog, due at 225",
			"454.69 calls for oom-kill of Deployment/oom-hog, due at 454.69",
			"214.69 does not call for oom-kill of Deployment/oom-hog: loop-guard",
			"694.69 does not call for oom-kill of Deployment/oom-hog: loop-guard",
		}},
		"a suspended Hook": {"13-oom-once-then-fine", oneAgent("oom-kill", func(h *v1alpha2.Hook, _ *configuration) { h.Spec.Suspend = true }), Options{}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			tc.options.Policy = hook.Policy{AgentNamespaces: []string{"kagent"}}
			story, err := Run(t.Context(), []string{filepath.Join(cases, tc.recording+".jsonl")}, []*v1alpha2.Hook{tc.hook}, tc.options)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, calledAndNot(story)); diff != "" {
				t.Error(diff)
			}
			for _, n := range story.NotCalled {
				if n.Why == "" || n.Agent != "kagent/medic" || n.Hook != "shop/one" {
					t.Errorf("the story does not say who is not called and why: %+v", n)
				}
			}
		})
	}
}

// TestAFailureWithoutAnEventTypeIsTold: that khook does not detect it is no reason to say that nothing failed.
func TestAFailureWithoutAnEventTypeIsTold(t *testing.T) {
	story := run(t, "08-evicted-status-unknown", everything())
	if len(story.Undetected) != 1 || story.Undetected[0].At != 21 || !strings.HasPrefix(story.Undetected[0].Message, "Evicted: Pod ephemeral local storage") {
		t.Errorf("of a Pod that was evicted the story tells %+v", story.Undetected)
	}
	if story := run(t, "06-job-never-oom", everything()); len(story.Undetected) != 0 {
		t.Errorf("a Pod that an incident is about is told as not detected: %+v", story.Undetected)
	}
}
