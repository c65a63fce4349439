// Package golden holds what users of khook rely on while its packages are moved and renamed: what validate says, what
// replay tells and which prompts it renders, the names of the API's properties, and the flags. It runs the program and
// imports none of its packages. The files of testdata are rewritten with -update, which is a change that users notice.
package golden

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	update  = flag.Bool("update", false, "write the files of testdata anew")
	program = flag.String("khook", "", "the program that is held, instead of one that is built")
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if *program == "" {
		dir, err := os.MkdirTemp("", "khook-golden-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		*program = filepath.Join(dir, "khook")
		if out, err := exec.Command("go", "build", "-o", *program, "../../cmd/khook").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build khook: %v\n%s", err, out)
			return 1
		}
	}
	return m.Run()
}

// khook runs the program without the variables of this environment, and returns all that it says.
func khook(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), *program, args...)
	cmd.Env = []string{"HOME=/nonexistent", "PATH=" + os.Getenv("PATH")}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	code := 0
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			t.Fatal(err)
		}
		code = exit.ExitCode()
	}
	return fmt.Sprintf("$ khook %s\n%s", strings.Join(args, " "), out.String()) + mark("standard error", errs.String()) + mark("exit code", fmt.Sprintln(code))
}

func mark(title, text string) string {
	if text == "" {
		return ""
	}
	return "--- " + title + "\n" + text
}

// holds compares a text with a file of testdata.
func holds(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s: what users see has changed (- before, + now); if it is meant, run the test with -update and tell it in the CHANGELOG\n%s", name, diff)
	}
}

func files(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		t.Fatalf("%s: %d files, %v", pattern, len(found), err)
	}
	slices.Sort(found)
	return found
}

func TestWhatValidateSays(t *testing.T) {
	for _, file := range files(t, "testdata/hooks/*.yaml") {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		got := khook(t, "validate", "--prompts", file) + khook(t, "validate", "-o", "json", "--prompts", "--allow-plain-values", file) + khook(t, "validate", "--strict", file)
		holds(t, "validate-"+name+".txt", got)
	}
}

// TestWhatReplayTells replays each recording of a real cluster with Hooks that match by expressions, selectors and
// groups, and whose prompts use all variables and functions.
func TestWhatReplayTells(t *testing.T) {
	for _, file := range files(t, "../recordings/*.jsonl") {
		name := strings.TrimSuffix(filepath.Base(file), ".jsonl")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := khook(t, "replay", "--hook", "testdata/hooks/all.yaml", "-o", "json", "--allow-plain-values", file) + khook(t, "replay", "--hook", "testdata/hooks/all.yaml", file)
			holds(t, "replay-"+name+".txt", got)
		})
	}
}

// commands are all that have a help.
var commands = []string{
	"", "controller", "events", "incidents", "incidents list", "incidents show", "deliveries", "deliveries list", "deliveries show", "deliveries logs", "deliveries reply", "deliveries cancel", "deliveries retry",
	"deliveries resume", "hooks", "stats", "stats summary", "stats by-type", "stats trends", "stats hook", "dead-letters", "dead-letters list",
	"dead-letters replay", "dead-letters drop", "migrate", "health", "check", "completion", "record", "replay", "validate", "openapi", "version",
}

func TestTheFlagsOfTheCommands(t *testing.T) {
	var b strings.Builder
	for _, c := range commands {
		b.WriteString(khook(t, append(strings.Fields(c), "--help")...))
	}
	holds(t, "help.txt", b.String())
}

// TestTheNamesOfTheAPI holds the properties of each schema and the parameters of each route, one a line.
func TestTheNamesOfTheAPI(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), *program, "openapi", "--json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Paths map[string]map[string]struct {
			OperationID string
			Parameters  []struct{ Name, In string }
			Responses   map[string]any
		}
		Components struct {
			Schemas map[string]struct {
				Properties map[string]struct {
					Type any
					Enum []any
				}
				Required []string
			}
		}
	}
	if err := json.Unmarshal(out, &document); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for path, operations := range document.Paths {
		for method, op := range operations {
			lines = append(lines, fmt.Sprintf("%s %s: %s", strings.ToUpper(method), path, op.OperationID))
			for _, p := range op.Parameters {
				lines = append(lines, fmt.Sprintf("%s %s takes %s in %s", strings.ToUpper(method), path, p.Name, p.In))
			}
			for code := range op.Responses {
				lines = append(lines, fmt.Sprintf("%s %s answers %s", strings.ToUpper(method), path, code))
			}
		}
	}
	for schema, s := range document.Components.Schemas {
		for name, p := range s.Properties {
			line := fmt.Sprintf("%s.%s: %v", schema, name, p.Type)
			if len(p.Enum) > 0 {
				line += fmt.Sprint(" of ", p.Enum)
			}
			if slices.Contains(s.Required, name) {
				line += ", required"
			}
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	holds(t, "api.txt", strings.Join(lines, "\n")+"\n")
}
