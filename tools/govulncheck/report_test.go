package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var today = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// allowing are the exceptions of a file with this text.
func allowing(t *testing.T, text string) ([]exception, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "exceptions.txt")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return readExceptions(file, today)
}

func TestWhatHasAFixFailsUnlessItIsLetThrough(t *testing.T) {
	fixed := finding{id: "GO-2026-0001", summary: "Endless loop", module: "example.org/m", version: "v1.0.0", fixed: "v1.2.3", calls: []string{"main.main", "m.Do"}}
	unfixed := fixed
	unfixed.fixed = ""
	goItself := fixed
	goItself.module, goItself.fixed = "stdlib", "v1.26.12"
	for _, c := range []struct {
		what    string
		found   []finding
		allowed string
		fails   bool
		says    []string
	}{
		{what: "nothing found"},
		{what: "a fix", found: []finding{fixed}, fails: true, says: []string{"FAILED", "GO-2026-0001: Endless loop", "go get example.org/m@v1.2.3", "main.main"}},
		{what: "a fix in Go", found: []finding{goItself}, fails: true, says: []string{"Go's standard library", "Go 1.26.12"}},
		{what: "no fix", found: []finding{unfixed}, says: []string{"VULNERABLE, AND THERE IS NO FIX YET", "GO-2026-0001"}},
		{what: "no fix for one, and one for another", found: []finding{unfixed, goItself}, fails: true, says: []string{"NO FIX YET", "FAILED"}},
		{what: "let through", found: []finding{fixed}, allowed: "GO-2026-0001 2026-11-26 only tests call it", says: []string{"LET THROUGH until 2026-11-26: only tests call it"}},
		{what: "let through until yesterday", found: []finding{fixed}, allowed: "GO-2026-0001 2026-11-25 only tests call it", fails: true, says: []string{"ended on 2026-11-25"}},
		{what: "another one is let through", found: []finding{fixed}, allowed: "GO-2026-0002 2026-12-01 only tests call it", fails: true, says: []string{"GO-2026-0002 is let through, and not reachable any more"}},
	} {
		exceptions, err := allowing(t, c.allowed)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		if err := report(&out, c.found, exceptions, today); errors.Is(err, errVulnerable) != c.fails {
			t.Errorf("%s: %v", c.what, err)
		}
		for _, text := range c.says {
			if !strings.Contains(out.String(), text) {
				t.Errorf("%s: it does not say %q:\n%s", c.what, text, out.String())
			}
		}
	}
}

func TestAnExceptionHasADayAndAReason(t *testing.T) {
	for _, line := range []string{
		"GO-2026-0001", "GO-2026-0001 2026-12-01", "GO-2026-0001 soon it is fine", "CVE-2026-1 2026-12-01 it is fine",
		"GO-2026-0001 2027-12-01 longer than anybody remembers",
	} {
		if got, err := allowing(t, "# comment\n\n"+line); err == nil || !strings.Contains(err.Error(), "line 3") {
			t.Errorf("%q: %+v, %v", line, got, err)
		}
	}
	if _, err := readExceptions("exceptions.txt", time.Now()); err != nil {
		t.Errorf("khook's own: %v", err)
	}
}
