package lint

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kagent-dev/khook/config/crd"
	"github.com/kagent-dev/khook/internal/detect"
	"github.com/kagent-dev/khook/internal/incident"
)

func TestAReasonThatIsNotKnownIsWarnedOf(t *testing.T) {
	for name, tc := range map[string]struct {
		eventType incident.EventType
		match     string
		want      []string // the beginnings of the warnings
	}{
		"known":               {incident.OOMKill, "event.reason == 'OOMKilled'", nil},
		"known, the others":   {incident.PodPending, "!(event.reason in ['ErrImagePull', 'ImagePullBackOff']) && event.count > 1", nil},
		"no reason":           {incident.PodRestart, "event.name == 'Crash' && event.message.contains('x')", nil},
		"a part of one":       {incident.PodPending, "event.reason.startsWith('Failed')", nil},
		"in another spelling": {incident.OOMKill, "event.reason == 'OomKilled'", []string{`"OomKilled" is not known as a reason of oom-kill (is OOMKilled meant?): known are OOMKilled`}},
		"with a slip":         {incident.PodPending, "'ImagePullBackoffs' == event.reason", []string{`"ImagePullBackoffs" is not known as a reason of pod-pending (is ImagePullBackOff meant?): known are Unschedulable, `}},
		"of another type":     {incident.PodRestart, "event.reason != 'Unschedulable'", []string{`"Unschedulable" is not known as a reason of pod-restart (it is one of pod-pending): known are Error, `}},
		"of a runtime": {incident.PodRestart, "event.reason == 'VmCrashed'", []string{
			`"VmCrashed" is not known as a reason of pod-restart: known are Error, OOMKilled, Completed, StartError, ContainerCannotRun, RestartingAllContainers, Unknown, ContainerRestarted; Kubernetes and container runtimes may have others`,
		}},
		"two of three, deep inside": {incident.ProbeFailed, "event.count > 3 ? (event.count > 5 && event.reason in ['ReadinessProbeFailed', 'Readiness', 'Liveness']) : true", []string{
			`"Liveness" is not known as a reason of probe-failed: known are LivenessProbeFailed, ReadinessProbeFailed, StartupProbeFailed`, `"Readiness" is not known`,
		}},
		"the same twice": {incident.OOMKill, "event.reason == 'x' || event.reason == 'x'", []string{`"x" is not known`}},
		"very many":      {incident.OOMKill, "event.reason in ['a1','a2','a3','a4','a5','a6','a7']", []string{`"a1" is`, `"a2" is`, `"a3" is`, `"a4" is`, `"a5" is`}},
	} {
		t.Run(name, func(t *testing.T) {
			r := validate(t, hookText("cart", fmt.Sprintf("eventType: %s\n    agentId: medic\n    prompt: Look\n    match: %q", tc.eventType, tc.match)))
			if len(r.Errors) > 0 || len(r.Warnings) != len(tc.want) {
				t.Fatalf("errors %q, warnings %q", told(r.Errors), told(r.Warnings))
			}
			for i, w := range r.Warnings {
				if !strings.HasPrefix(w.Message, tc.want[i]) || w.Field != "spec.eventConfigurations[0].match" || w.Line != 9 {
					t.Errorf("line %d, %s: %s, want %s", w.Line, w.Field, w.Message, tc.want[i])
				}
				if strings.Contains(w.Message, "never") {
					t.Errorf("it claims to know all: %s", w.Message)
				}
			}
		})
	}
}

// TestTheCRDNamesTheReasonsThatAreAll holds what editors show of the field match: the reasons of the types that have no others.
func TestTheCRDNamesTheReasonsThatAreAll(t *testing.T) {
	text := strings.Join(strings.Fields(string(crd.Hooks)), " ")
	for _, of := range incident.EventTypes() {
		known := detect.ReasonsOf(of)
		if known.Open {
			known.Known = known.Known[:1]
		}
		for _, reason := range known.Known {
			if !strings.Contains(text, reason) {
				t.Errorf("the CRD does not name %s of %s: change the comment in api/v1alpha2, and run make generate", reason, of)
			}
		}
	}
}
