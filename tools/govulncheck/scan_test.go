package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// database is the folder of the pinned reports.
func database(t *testing.T) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "golang.org/x/vulndb")
	cmd.Dir = "../vulndb"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("fetch the database: %v: %s", err, out)
	}
	cmd = exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/vulndb")
	cmd.Dir = "../vulndb"
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "data", "osv")
}

// module writes a Go module on golang.org/x/text v0.3.5, whose language.Parse panics on some tags
// (GO-2021-0113, fixed in v0.3.7).
func module(t *testing.T, program string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":  "module example.org/program\n\ngo 1.26.0\n\nrequire golang.org/x/text v0.3.5\n",
		"go.sum":  "golang.org/x/text v0.3.5 h1:i6eZZ+zk0SOf0xgBpEpPD18qWcJda6q1sxt3S0kzyUQ=\ngolang.org/x/text v0.3.5/go.mod h1:5Zoc/QRtKVWzQhOtBMvqHzDpF6irO9z98xDceosuGiQ=\n",
		"main.go": program,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const callsIt = `package main

import ("fmt"; "os"; "golang.org/x/text/language")

func main() { fmt.Println(language.Parse(os.Args[1])) }
`

func TestAProgramThatCallsAVulnerableFunctionFailsTheCheck(t *testing.T) {
	var out strings.Builder
	err := run(t.Context(), []string{"--database", database(t), module(t, callsIt)}, &out)
	if !errors.Is(err, errVulnerable) {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, text := range []string{"GO-2021-0113", "golang.org/x/text@v0.3.7", "program.main", "language.Parse"} {
		if !strings.Contains(out.String(), text) {
			t.Errorf("it does not say %q:\n%s", text, out.String())
		}
	}
}

func TestAProgramThatCallsOtherFunctionsOfTheSameModulePasses(t *testing.T) {
	var out strings.Builder
	err := run(t.Context(), []string{"--database", database(t), module(t, strings.ReplaceAll(callsIt, "language.Parse(os.Args[1])", "language.English, os.Args"))}, &out)
	if err != nil || !strings.Contains(out.String(), ": 0 known vulnerabilities reachable") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

func TestAnEmptyDatabaseIsNoGoodNews(t *testing.T) {
	if err := run(t.Context(), []string{"--database", t.TempDir(), module(t, callsIt)}, &strings.Builder{}); err == nil || !strings.Contains(err.Error(), "no reports") {
		t.Error(err)
	}
}
