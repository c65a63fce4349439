package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kagent-dev/khook/internal/replay"
)

const replayHook = `apiVersion: kagent.dev/v1alpha2
kind: Hook
metadata: {name: all, namespace: shop}
spec:
  eventConfigurations:
  - {eventType: oom-kill, agentId: kagent/medic, prompt: "oom {{.ResourceName}}"}
  - {eventType: pod-restart, agentId: kagent/medic, prompt: "restart {{.ResourceName}}"}
  - {eventType: pod-pending, agentId: kagent/medic, prompt: "pending {{.ResourceName}}"}
  - {eventType: probe-failed, agentId: kagent/medic, prompt: "probe {{.ResourceName}}"}
`

// TestReplayShowsPlainValuesWhereTheOperatorAllowsThem tries a Hook that asks for them as the controller would.
func TestReplayShowsPlainValuesWhereTheOperatorAllowsThem(t *testing.T) {
	hook := write(t, "hook.yaml", plainValuesHook)
	for _, allowed := range []bool{false, true} {
		code, out, errs := khook(t, "replay", "-o", "json", "--hook", hook, fmt.Sprintf("--allow-plain-values=%v", allowed), filepath.Join("..", "..", "test", "recordings", "oom-hog.jsonl"))
		if marked := strings.Contains(out, "It said ⟦"); code != 0 || marked == allowed || !strings.Contains(out, "It said ") {
			t.Errorf("allowed %v: exit code %d, %s\n%s", allowed, code, errs, out)
		}
	}
}

// plainValuesHook asks for prompts without marks.
const plainValuesHook = `apiVersion: kagent.dev/v1alpha2
kind: Hook
metadata: {name: plain, namespace: shop}
spec:
  eventConfigurations:
  - {eventType: oom-kill, agentId: kagent/medic, prompt: "It said {{.EventMessage}}", plainValues: true}
`

// TestReplayTellsWhatReallyHappened holds the story of each recording against the truth of it:
// "event type, container, how it ended, cause", and the calls.
func TestReplayTellsWhatReallyHappened(t *testing.T) {
	hook := write(t, "hook.yaml", replayHook)
	for recording, want := range map[string][]string{
		"crash-exit1":             {"pod-restart app gone", "pod-restart app gone", "call pod-restart Deployment/crash-exit1"},
		"crash-once-then-recover": {"pod-restart app recovered", "call pod-restart Pod/crash-once-then-recover"},
		"exit0-always":            {"pod-restart app quiet", "call pod-restart Pod/exit0-always"},
		"oom-hog":                 {"oom-kill hog gone", "pod-restart hog gone by oom-kill", "call oom-kill Deployment/oom-hog"},
		"oom-child":               nil,
		"liveness-fail":           {"probe-failed app gone", "pod-restart app gone by probe-failed", "call probe-failed Pod/liveness-fail"},
		"readiness-fail":          {"probe-failed app quiet", "call probe-failed Pod/readiness-fail"},
		"unschedulable-cpu":       {"pod-pending  gone", "call pod-pending Pod/unschedulable-cpu"},
		"config-missing":          {"pod-pending  recovered", "call pod-pending Pod/config-missing"},
		"volume-missing":          {"pod-pending  recovered", "call pod-pending Pod/volume-missing"},
		"init-fail":               {"pod-restart migrate quiet", "pod-pending  quiet by pod-restart", "call pod-restart Pod/init-fail"},
		"job-fail":                nil,
		"healthy":                 nil,
		"run-once-done":           nil,
	} {
		t.Run(recording, func(t *testing.T) {
			code, out, errs := khook(t, "replay", "-o", "json", "--hook", hook, filepath.Join("..", "..", "test", "recordings", recording+".jsonl"))
			if code != 0 {
				t.Fatal(errs)
			}
			var story replay.Story
			if err := json.Unmarshal([]byte(out), &story); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, i := range story.Incidents {
				s := fmt.Sprintf("%s %s %s", i.EventType, i.Container, deref(i.Resolution))
				if i.CausedBy != nil {
					s += " by " + *i.CausedBy
				}
				got = append(got, s)
				if i.FirstSeen < 0 || i.LastSeen < i.FirstSeen || i.Events != i.Duplicates+1 || i.Recording != recording {
					t.Errorf("incident %+v", i)
				}
			}
			for _, d := range story.Deliveries {
				got = append(got, "call "+d.EventType+" "+d.Group)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestReplayWithoutSettlingLeavesOpenWhatIsOpen(t *testing.T) {
	path := filepath.Join("..", "..", "test", "recordings", "crash-once-then-recover.jsonl")
	code, out, errs := khook(t, "replay", "-o", "json", "--settle", "0s", path)
	if code != 0 || !strings.Contains(out, `"resolution": null`) || !strings.Contains(out, `"deliveries": []`) {
		t.Errorf("%d %s %s", code, out, errs)
	}
}

func TestAHookWithoutANamespaceMayNameItsAgentShortly(t *testing.T) {
	hook := write(t, "hook.yaml", strings.ReplaceAll(strings.Replace(replayHook, ", namespace: shop", "", 1), "kagent/medic", "medic"))
	code, out, errs := khook(t, "replay", "--hook", hook, filepath.Join("..", "..", "test", "recordings", "oom-hog.jsonl"))
	if code != 0 || !strings.Contains(out, "calls agent shop/medic") {
		t.Errorf("%d %s %s", code, out, errs)
	}
}

func TestReplayTableIsForPeople(t *testing.T) {
	hook := write(t, "hook.yaml", strings.Replace(replayHook, ", namespace: shop", "", 1))
	dir := filepath.Join("..", "..", "test", "recordings")
	code, out, errs := khook(t, "replay", "--hook", hook, filepath.Join(dir, "oom-hog.jsonl"), filepath.Join(dir, "healthy.jsonl"))
	if code != 0 {
		t.Fatal(errs)
	}
	for _, line := range []string{
		"oom-hog\n", "FIRST SEEN", "shop/oom-hog-8448b4f6c8-vs899", "gone at 306.2s", "oom-kill",
		"hook shop/all calls agent kagent/medic: oom-kill of Deployment/oom-hog (6 events)", "│ oom oom-hog-8448b4f6c8-vs899", "healthy\n  nothing failed\n",
	} {
		if !strings.Contains(out, line) {
			t.Errorf("no %q in\n%s", line, out)
		}
	}
}

// TestReplayTellsThatAJobFailed: khook has no event type for it, which is no reason to say that nothing failed.
func TestReplayTellsThatAJobFailed(t *testing.T) {
	code, out, errs := khook(t, "replay", filepath.Join("..", "..", "test", "recordings", "job-fail.jsonl"))
	if code != 0 || strings.Contains(out, "nothing failed") || !strings.Contains(out, "3 Pods ended as Failed, for which khook has no event type:") ||
		!strings.Contains(out, "shop/job-fail-sz677: container app ended with exit code 4: Error") {
		t.Errorf("%d %s\n%s", code, errs, out)
	}
}

// TestReplayTellsWhyAnAgentIsNotCalled: the failure is over before its groupWait is.
func TestReplayTellsWhyAnAgentIsNotCalled(t *testing.T) {
	hook := write(t, "hook.yaml", strings.ReplaceAll(replayHook, "agentId:", "groupWait: 10m, agentId:"))
	code, out, errs := khook(t, "replay", "--hook", hook, filepath.Join("..", "..", "test", "recordings", "crash-once-then-recover.jsonl"))
	if want := "does not call agent kagent/medic: pod-restart of Pod/crash-once-then-recover (recovered-before: everything that the call is about had ended before the agent was called)"; code != 0 ||
		!strings.Contains(out, want) || strings.Contains(out, " calls agent") {
		t.Errorf("%d %s\n%s", code, errs, out)
	}
}

func TestReplayRefusesWhatItCantUseAndSaysWhy(t *testing.T) {
	good := filepath.Join("..", "..", "test", "recordings", "healthy.jsonl")
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"no recording":   {[]string{"replay"}, "expected \"<recording> ...\""},
		"missing file":   {[]string{"replay", "nope.jsonl"}, "no such file"},
		"no JSON":        {[]string{"replay", write(t, "bad.jsonl", "{\"t\":1}\nhello\n")}, "line 1"},
		"wrong type":     {[]string{"replay", write(t, "bad.jsonl", `{"t":1,"type":"GONE","object":{"kind":"Pod"}}`)}, `line 1: "type" is "GONE": it must be ADDED, MODIFIED or DELETED`},
		"empty":          {[]string{"replay", write(t, "bad.jsonl", "\n")}, "no Pod and no Event"},
		"bad prompt":     {[]string{"replay", "--hook", write(t, "h.yaml", strings.Replace(replayHook, ".ResourceName", ".Pod", 1)), good}, "unknown variable .Pod"},
		"unknown field":  {[]string{"replay", "--hook", write(t, "h.yaml", strings.Replace(replayHook, "prompt:", "promt:", 1)), good}, `unknown field "promt"`},
		"foreign agent":  {[]string{"replay", "--hook", write(t, "h.yaml", strings.Replace(replayHook, "kagent/medic", "x/medic", 1)), good}, "--agent-namespaces"},
		"no hook inside": {[]string{"replay", "--hook", write(t, "h.yaml", "kind: Pod\napiVersion: v1\n"), good}, "there is no Hook in it"},
		"no limit":       {[]string{"replay", "--max-calls-per-hour=-1", good}, "it must be at least 1, or 0 for no limit"},
		"unknown output": {[]string{"replay", "-o", "xml", good}, "must be one of"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := khook(t, tc.args...)
			if code == 0 || !strings.Contains(errs, tc.want) {
				t.Errorf("exit code %d, said %q %q, want %q", code, errs, out, tc.want)
			}
		})
	}
}

func TestHelpIsDocumentation(t *testing.T) {
	code, out, errs := khook(t, "controller", "--help")
	if code != 0 {
		t.Fatal(errs)
	}
	for _, word := range []string{"--kagent-url", "KAGENT_API_URL", "KAGENT_API_BASE_URL", "KAGENT_BASE_URL", "KAGENT_USER_ID", "KAGENT_API_TIMEOUT",
		"LOG_LEVEL", "METRICS_PORT", "HEALTH_PORT", "LEADER_ELECTION", "/readyz", "--namespaces"} {
		if !strings.Contains(out, word) {
			t.Errorf("no %s in\n%s", word, out)
		}
	}
	if code, _, errs := khook(t, "controller", "--stabilization", "0s"); code == 0 || !strings.Contains(errs, "--stabilization is 0s: it must be at least 1s") {
		t.Errorf("%d %s", code, errs)
	}
}

func TestAFileCanHoldTheFlags(t *testing.T) {
	file := write(t, "khook.yaml", "quiet-after: 0s\n")
	if code, _, errs := khook(t, "controller", "--config", file); code == 0 || !strings.Contains(errs, "--quiet-after is 0s") {
		t.Errorf("%d %s", code, errs)
	}
	misspelt := write(t, "khook.yaml", "quiet-aftr: 5m\n")
	if code, _, errs := khook(t, "controller", "--config", misspelt); code == 0 || !strings.Contains(errs, `there is no flag "quiet-aftr"`) {
		t.Errorf("%d %s", code, errs)
	}
}

func TestReplayTellsWhatKeptAHook(t *testing.T) {
	hook := write(t, "hook.yaml", strings.Replace(plainValuesHook, "plainValues: true", "selector: {matchLabels: {track: canary}}", 1))
	code, out, errs := khook(t, "replay", "--hook", hook, filepath.Join("..", "..", "test", "recordings", "oom-hog.jsonl"))
	if want := "  no agent is called\n  hook shop/plain is not about 1 oom-kill: selector track=canary, the Pod has none\n"; code != 0 || !strings.HasSuffix(out, want) {
		t.Errorf("%d %s\n%s", code, errs, out)
	}
}

// TestReplayEndsWithTheCallsOfEachAgent over all recordings of a folder, of which one comes from the standard input.
func TestReplayEndsWithTheCallsOfEachAgent(t *testing.T) {
	source, folder := filepath.Join("..", "..", "test", "recordings"), filepath.Join(t.TempDir(), "of [monday]*")
	copied := func(to string, recordings ...string) {
		t.Helper()
		for _, recording := range recordings {
			text, err := os.ReadFile(filepath.Join(source, recording+".jsonl"))
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.MkdirAll(to, 0o700), os.WriteFile(filepath.Join(to, recording+".jsonl"), text, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
	}
	copied(folder, "crash-exit1", "healthy", "oom-hog")
	hook := write(t, "hook.yaml", strings.Replace(replayHook, "oom-kill, agentId: kagent/medic", "oom-kill, agentId: kagent/surgeon", 1))
	in, err := os.Open(filepath.Join(source, "exit0-always.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	before := os.Stdin
	os.Stdin = in
	defer func() { os.Stdin = before }()
	code, out, errs := khook(t, "replay", "--hook", hook, folder, "-")
	want := `
AGENT           HOOK      CALLS  EVENTS  NOT CALLED
kagent/medic    shop/all  2      16      0
kagent/surgeon  shop/all  1      6       0
3 calls in all, in 4 recordings
`
	if code != 0 || !strings.HasSuffix(out, want) || !strings.Contains(out, "\nstandard input\n") {
		t.Errorf("%d %s\n%s", code, errs, out)
	}
	empty := t.TempDir()
	if code, _, errs := khook(t, "replay", empty); code != 1 || !strings.Contains(errs, "there is no *.jsonl file in it") {
		t.Errorf("%d %s", code, errs)
	}
	if code, _, errs := khook(t, "replay", "-", "-"); code != 2 || !strings.Contains(errs, "once only") {
		t.Errorf("%d %s", code, errs)
	}
}

// TestWhatWasWatchedToTheEndGoesOnUntilThen: a Pod that stays Pending says nothing more. Only where the recording says until when
// it was watched is that known to go on, and is not taken as quiet.
func TestWhatWasWatchedToTheEndGoesOnUntilThen(t *testing.T) {
	whole, err := os.ReadFile(filepath.Join("..", "..", "test", "recordings", "unschedulable-cpu.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var begin strings.Builder
	for line := range strings.Lines(string(whole)) {
		var at struct{ T float64 }
		if err := json.Unmarshal([]byte(line), &at); err != nil {
			t.Fatal(err)
		}
		if at.T < 60 {
			begin.WriteString(line)
		}
	}
	const about = `{"t":%s,"type":"%s","object":{"kind":"Recording","apiVersion":"khook.kagent.dev/v1","start":"2026-11-23T09:48:00Z"}}` + "\n"
	for end, want := range map[string]string{"": "quiet at 6", fmt.Sprintf(about, "1800", "DELETED"): "still firing"} {
		code, out, errs := khook(t, "replay", "--settle", map[bool]string{true: "1770s", false: "0s"}[end == ""], write(t, "pending.jsonl", begin.String()+end))
		if code != 0 || !strings.Contains(out, "pod-pending") || !strings.Contains(out, want) {
			t.Errorf("want %s: %d %s\n%s", want, code, errs, out)
		}
	}
}

// TestWhatWasThereBeforeIsNotTakenForNew: failures of a readiness probe while its container started, which has been ready since,
// are found in an Event when a recording begins. A khook that starts then finds them so, too, and tells nothing.
func TestWhatWasThereBeforeIsNotTakenForNew(t *testing.T) {
	const found = `{"t":0,"type":"ADDED","object":{"kind":"Recording","apiVersion":"khook.kagent.dev/v1","start":"2026-01-15T10:30:00Z"}}
{"t":0.1,"type":"ADDED","listed":true,"object":{"kind":"Pod","apiVersion":"v1","metadata":{"name":"cart","namespace":"shop","uid":"c1","creationTimestamp":"2026-01-15T10:20:00Z"},"spec":{"nodeName":"n1","restartPolicy":"Always","containers":[{"name":"app","readinessProbe":{"periodSeconds":10,"failureThreshold":3}}]},"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"},{"type":"ContainersReady","status":"True"}],"containerStatuses":[{"name":"app","ready":true,"started":true,"restartCount":0,"containerID":"containerd://1","state":{"running":{"startedAt":"2026-01-15T10:20:01Z"}}}]}}}
{"t":0.2,"type":"ADDED","listed":true,"object":{"kind":"Event","apiVersion":"events.k8s.io/v1","metadata":{"name":"cart.1","namespace":"shop","creationTimestamp":"2026-01-15T10:20:05Z"},"reason":"Unhealthy","type":"Warning","note":"Readiness probe failed: connection refused","regarding":{"kind":"Pod","namespace":"shop","name":"cart","uid":"c1","fieldPath":"spec.containers{app}"},"deprecatedCount":4,"deprecatedFirstTimestamp":"2026-01-15T10:20:05Z","deprecatedLastTimestamp":"2026-01-15T10:20:25Z"}}
`
	for name, c := range map[string]struct{ text, says string }{
		"listed":     {found, "nothing failed"},
		"not listed": {strings.ReplaceAll(found, `"listed":true,`, ""), "probe-failed"},
	} {
		if code, out, errs := khook(t, "replay", write(t, "cart.jsonl", c.text)); code != 0 || !strings.Contains(out, c.says) {
			t.Errorf("%s, want %s: %d %s\n%s", name, c.says, code, errs, out)
		}
	}
}
