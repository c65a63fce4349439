package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/kagent-dev/khook/internal/api"
)

// answers are what the commands of the table in docs/troubleshooting.md say about the demo, once its recordings have ended.
var answers = map[string][]string{
	"khook incidents --status firing":          {"probe-failed", "readiness-fail"},
	"khook events -n shop --since 2h":          {"oom-kill", "pod-restart", "pod-pending", "probe-failed", "OOM-killed (exit code 137"},
	"khook why POD -n shop":                    {"Hook shop/shop", "NO", "its agent had been called for this incident within the window"},
	"khook events --hook shop/cart --since 2h": {"delivered", "duplicate", "explained"},
	"khook deliveries -n shop":                 {"succeeded", "recovered", "persisting", "kagent/stand-in"},
	"khook deliveries show DELIVERY":           {"oom-kill of Deployment/oom-hog in shop", "raise its limit or mend the leak", "Outcome: recovered"},
	"khook incidents INCIDENT":                 {"oom-kill of shop/oom-hog", "Timeline, in ", "raise its limit or mend the leak"},
	"khook inbox":                              {"Nothing waits for a person."},
	"khook stats hook shop/cart":               {"4 scheduled, 4 ended, 100.0% of them succeeded", "3 of 4 with a known outcome"},
	"khook hooks":                              {"shop", "True"},
	"khook health":                             {"healthy"},
	"khook pause --all --reason WHY":           {"calls of all Hooks are paused"},
	"khook resume --all":                       {"calls are resumed"},
}

// shell runs commands as somebody does who has copied what the demo prints.
type shell struct {
	t   *testing.T
	env []string
}

// beside is a shell with the variables that the demo has said, and with khook and kubectl.
func beside(t *testing.T, p *played) *shell {
	t.Helper()
	bin := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\n%s=khook exec %s \"$@\"\n", be, os.Args[0])
	if err := os.WriteFile(filepath.Join(bin, "khook"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	s := &shell{t, append(os.Environ(), be+"=khook", "PATH="+bin+":"+os.Getenv("PATH"))}
	for _, m := range regexp.MustCompile(`(?m)^ *export (\S+=\S+)$`).FindAllStringSubmatch(p.String(), -1) {
		s.env = append(s.env, m[1])
	}
	return s
}

// run is what a command says. It must succeed.
func (s *shell) run(command string) string {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), "sh", "-c", command)
	cmd.Env = s.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Errorf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}

// answersTheQuestions runs each command of the table in docs/troubleshooting.md.
func (s *shell) answersTheQuestions() {
	s.t.Helper()
	page, err := os.ReadFile("../../docs/troubleshooting.md")
	if err != nil {
		s.t.Fatal(err)
	}
	_, asked, _ := strings.Cut(string(page), "| question | command |\n")
	asked, _, _ = strings.Cut(asked, "\n\n")
	var call api.Page[api.Delivery]
	if err := json.Unmarshal([]byte(`{"items":`+s.run("khook deliveries -n shop -o json")+`}`), &call); err != nil {
		s.t.Fatal(err)
	}
	oom := call.Items[0]
	for _, d := range call.Items {
		if d.EventType == "oom-kill" {
			oom = d
		}
	}
	actual := strings.NewReplacer("POD", "readiness-fail", "shop/cart", "shop/shop", "DELIVERY", oom.ID, "INCIDENT", oom.IncidentID)
	tried := map[string]bool{}
	for _, text := range strings.Split(asked, "\n")[1:] {
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(text, -1) {
			want, ok := answers[m[1]]
			if !ok {
				s.t.Errorf("%s: say in answers what it must print", m[1])
			}
			out := s.run(actual.Replace(m[1]))
			for _, w := range want {
				if !strings.Contains(out, w) {
					s.t.Errorf("%s: %q is not in\n%s", m[1], w, out)
				}
			}
			tried[m[1]] = true
		}
	}
	for command := range answers {
		if !tried[command] {
			s.t.Errorf("%s is not in the table", command)
		}
	}
}

// takesWhatIsShown runs the commands that the demo itself says to try, and those of the README.
func (s *shell) takesWhatIsShown(p *played) {
	s.t.Helper()
	shown := regexp.MustCompile(`(?m)^ +(\S+ (?:incidents|events|deliveries).*?) +#`).FindAllStringSubmatch(p.String(), -1)
	if len(shown) != 3 {
		s.t.Errorf("%d commands to try: %q", len(shown), shown)
	}
	for _, m := range shown {
		if out := s.run(m[1]); !strings.Contains(out, "readiness-fail") {
			s.t.Errorf("%s: %s", m[1], out)
		}
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		s.t.Fatal(err)
	}
	asked := regexp.MustCompile(`(?m)^curl -s 'http://127.0.0.1:8082(/\S+)'`).FindAllStringSubmatch(string(readme), -1)
	if len(asked) != 3 {
		s.t.Errorf("%d curl commands in the README: %q", len(asked), asked)
	}
	for _, m := range asked {
		if out := s.run(`curl -sf "$KHOOK_SERVER` + m[1] + `"`); !strings.Contains(out, "probe-failed") {
			s.t.Errorf("%s: %s", m[1], out)
		}
	}
}

// TestTheReadmesHookCanBeTriedAsItSays: before there is a cluster, somebody checks it and plays a recording to it.
func TestTheReadmesHookCanBeTriedAsItSays(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(readme), "```yaml\n")
	hook, _, _ := strings.Cut(after, "```")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "my-hook.yaml"), []byte(hook), 0o600); err != nil {
		t.Fatal(err)
	}
	recorded, err := filepath.Abs("../recordings")
	if err != nil {
		t.Fatal(err)
	}
	somebody := beside(t, &played{})
	actual := strings.NewReplacer("bin/khook", "khook", "my-hook.yaml", filepath.Join(dir, "my-hook.yaml"), "test/recordings", recorded)
	for command, want := range map[string]string{ // each once: an OOM kill is also a restart, and makes one call
		"bin/khook replay --hook my-hook.yaml test/recordings/oom-hog.jsonl": "calls agent kagent/",
		"khook validate my-hook.yaml":                                        "0 errors, 0 warnings",
	} {
		if !strings.Contains(string(readme), command) {
			t.Errorf("the README does not say %s", command)
		}
		if out := somebody.run(actual.Replace(command)); strings.Count(out, want) != 1 {
			t.Errorf("%s: not once %q in\n%s", command, want, out)
		}
	}
}
