package replay

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
)

const cases = "../../test/cases"

// everything is a Hook for all event types.
func everything() *v1alpha2.Hook {
	h := &v1alpha2.Hook{}
	h.Name = "all"
	for _, kind := range incident.EventTypes() {
		agent := "kagent/" + string(kind)
		h.Spec.EventConfigurations = append(h.Spec.EventConfigurations, v1alpha2.EventConfiguration{
			EventType: string(kind), AgentId: &agent,
			Prompt: "{{.EventMessage}} exit={{.ExitCode}} restarts={{.RestartCount}} reason={{.Reason}} at {{.EventTime}}",
		})
	}
	return h
}

func run(t *testing.T, name string, hooks ...*v1alpha2.Hook) *Story {
	t.Helper()
	story, err := Run(t.Context(), []string{filepath.Join(cases, name+".jsonl")}, hooks, Options{
		Policy: hook.Policy{AgentNamespaces: []string{"kagent"}}, Settle: 15 * time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	return story
}

// told is what a user sees of an incident: type, container, when it was first seen, how many events, its cause, its end.
// "open" stands for quiet too where the recording ends while the failure goes on.
func told(i Incident) string {
	end, cause := "open", ""
	if i.Resolution != nil && *i.Resolution != string(incident.Quiet) {
		end = *i.Resolution
	}
	if i.CausedBy != nil {
		cause = " by " + *i.CausedBy
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s at %g x%d%s %s", i.EventType, i.Container, i.FirstSeen, i.Events, cause, end))
}

func TestWhatPeopleReportedIsToldAsItWas(t *testing.T) {
	staticRestart := []string{
		"probe-failed kube-apiserver at 100 x1 recovered",
		"pod-restart kube-apiserver at 132 x1 by probe-failed recovered",
	}
	for name, want := range map[string][]string{
		"01-starterror-1970":                    {"pod-restart app at 3 x5 open"},
		"01c-control-cannotrun":                 {"pod-restart app at 2 x5 open"},
		"01d-starterror-khook-runs-long":        {"pod-restart app at 1003 x8 open"},
		"01e-control-cannotrun-khook-runs-long": {"pod-restart app at 1002 x8 open"},
		"02a-static-one-blip":                   nil,
		"02a2-control-own-uid-one-blip":         nil,
		"02b-static-liveness-restart":           staticRestart,
		"02b2-control-own-uid-liveness-restart": staticRestart,
		"03-node-lost-no-reason":                {"pod-restart app at 12 x1 open"},
		"03b-control-reason-set":                {"pod-restart app at 12 x1 open"},
		"03c-control-node-fine":                 {"pod-restart app at 12 x1 recovered"},
		"04-resize-infeasible":                  {"oom-kill app at 29 x1 recovered", "pod-restart app at 31 x1 by oom-kill recovered"},
		"06-job-never-oom":                      {"oom-kill job at 39 x1 open"},
		"07-init-oom-exit0":                     {"oom-kill seed at 2 x1 recovered"},
		"08-evicted-status-unknown":             nil,
		"08c-evicted-unknown-hours-after-oom":   nil,
		"08d-control-no-old-oom":                nil,
		"09-liveness-137-no-oom":                {"probe-failed wk at 30 x1 recovered", "pod-restart wk at 61 x1 by probe-failed recovered"},
		"10-init-oom-loop": {
			"oom-kill seed at 5 x4 recovered", "pod-restart seed at 15 x4 by oom-kill recovered", "pod-pending  at 60 x1 by oom-kill recovered",
		},
		"13-oom-once-then-fine":     {"oom-kill app at 10 x1 recovered", "pod-restart app at 12 x1 by oom-kill recovered"},
		"14-two-kills-one-version":  {"oom-kill app at 11 x1 recovered", "pod-restart app at 12 x1 by oom-kill recovered"},
		"15-restart-all-containers": {"pod-restart setup at 33 x1 recovered", "pod-restart proxy at 36 x1 recovered", "pod-restart worker at 36 x1 recovered"},
		"15b-restart-all-after-oom": {
			"oom-kill proxy at 9 x1 recovered", "pod-restart proxy at 10 x2 by oom-kill recovered",
			"pod-restart setup at 33 x1 recovered", "pod-restart worker at 36 x1 recovered",
		},
		"17-node-reboot":              {"pod-restart wait at 101 x1 recovered", "pod-restart app at 105 x1 recovered"},
		"18-sandbox":                  {"pod-pending  at 60 x1 open"},
		"19-sidecar-of-completed-job": nil,
		"27-control-readiness-gate":   {"pod-restart app at 11 x1 recovered"},
		"28-two-containers-oom": {
			"oom-kill log at 10 x1 recovered", "oom-kill web at 10 x1 recovered",
			"pod-restart log at 12 x1 by oom-kill recovered", "pod-restart web at 12 x1 by oom-kill recovered",
		},
		"37-mirror-pod-deleted": {"oom-kill lb at 10 x1 recovered", "pod-restart lb at 11 x1 by oom-kill recovered"},
	} {
		t.Run(name, func(t *testing.T) {
			story := run(t, name, everything())
			var got []string
			for _, i := range story.Incidents {
				got = append(got, told(i))
			}
			slices.Sort(got)
			if diff := cmp.Diff(slices.Sorted(slices.Values(want)), got); diff != "" {
				t.Error(diff)
			}
			for _, d := range story.Deliveries {
				if strings.Contains(d.Prompt, "1970") || strings.Contains(d.Prompt, "0001-01-01") {
					t.Errorf("the agent is told of a time that can't be: %s", d.Prompt)
				}
			}
		})
	}
}

func TestEachCaseIsHeld(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join(cases, "*.jsonl"))
	if err != nil || len(paths) != 31 { // those above, and the two below
		t.Errorf("%d cases: %v", len(paths), err)
	}
}

func TestTheMemoryLimitThatIsInForceIsTold(t *testing.T) {
	story := run(t, "04-resize-infeasible", everything())
	if p := story.Deliveries[0].Prompt; !strings.Contains(p, "memory limit 256Mi; 8Gi is specified, and not in force") {
		t.Errorf("the agent is told: %s", p)
	}
}

// TestAContainerThatIsRestartedWithAllOthersCallsForItself: that one of them was OOM-killed before is not why.
func TestAContainerThatIsRestartedWithAllOthersCallsForItself(t *testing.T) {
	story := run(t, "15b-restart-all-after-oom", everything())
	calls := 0
	for _, d := range story.Deliveries {
		if d.EventType == string(incident.PodRestart) {
			calls++
		}
	}
	if calls != 1 {
		t.Errorf("%d calls for the restart: %+v", calls, story.Deliveries)
	}
}

// TestWhatGoesOnIsToldByItsTrueFacts plays failures that go on for long: they never end as quiet while they are still
// seen, and second calls and match expressions see the facts of the incident.
func TestWhatGoesOnIsToldByItsTrueFacts(t *testing.T) {
	for name, tc := range map[string]struct{ hooks, each string }{
		"crash-loop-goes-on": {"ongoing-hook", "container hog exit=137 restarts="},
		"still-pending":      {"pending-hook", "unschedulable-cpu: "},
	} {
		t.Run(name, func(t *testing.T) {
			story := run(t, name, hooksOf(t, tc.hooks)...)
			if len(story.Deliveries) < 2 {
				t.Fatalf("calls: %+v", story.Deliveries)
			}
			for _, d := range story.Deliveries {
				if d.Agent == "kagent/not-for-137" || !strings.Contains(d.Prompt, tc.each) || strings.Contains(d.Prompt, "restarts=0 reason= msg=") || strings.HasSuffix(d.Prompt, ": ") {
					t.Errorf("at %g agent %s is told: %s", d.At, d.Agent, d.Prompt)
				}
			}
			last := story.Deliveries[len(story.Deliveries)-1].At
			for _, i := range story.Incidents {
				if i.ResolvedAt != nil && *i.ResolvedAt < last {
					t.Errorf("%s ended at %g, and was called for at %g", i.EventType, *i.ResolvedAt, last)
				}
			}
		})
	}
}

func hooksOf(t *testing.T, file string) []*v1alpha2.Hook {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(cases, file+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var hooks []*v1alpha2.Hook
	for part := range strings.SplitSeq(string(text), "\n---\n") {
		h := &v1alpha2.Hook{}
		if err := yaml.UnmarshalStrict([]byte(part), h); err != nil {
			t.Fatal(err)
		}
		hooks = append(hooks, h)
	}
	return hooks
}
