package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const printed = `goos: linux
pkg: example.com/x
BenchmarkApply-2         	      20	  31234567 ns/op	     16432.4 signals/s	 5512345 B/op	   60123 allocs/op
BenchmarkPages/all/a-2   	      40	         0 ns/op	         1.062 large/small
BenchmarkPages/all/b-2   	      40	         0 ns/op	         0.951 large/small
BenchmarkPlain 	 1000000	      1234 ns/op	     512 B/op	       7 allocs/op
PASS
ok  	example.com/x	3.2s
`

func TestAReportHasARowForEachBenchmark(t *testing.T) {
	doc, bench := filepath.Join(t.TempDir(), "doc.md"), filepath.Join(t.TempDir(), "bench.txt")
	write(t, doc, "# Doc\n<!-- written by make bench-report: begin -->\nold\n<!-- written by make bench-report: end -->\nrest\n")
	write(t, bench, printed)
	t.Setenv("KHOOK_BENCH_REPORT", doc)
	if err := run([]string{"report", "--version", "v1.2.3-4-gabc", bench}, nil, nil); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"# Doc\n", "Measured on " + time.Now().UTC().Format(time.DateOnly)[:7], "khook v1.2.3-4-gabc.\n", "rest\n",
		"| `Apply` | 16,400 signals/s |\n", "| `Pages/all` | 0.951 to 1.06 large/small |\n", "| `Plain` | 1,230 ns/op; 512 B/op; 7 allocs/op |\n",
	} {
		if !strings.Contains(string(got), want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if strings.Contains(string(got), "old") {
		t.Errorf("the old report is still there:\n%s", got)
	}
}

func TestFailedBenchmarksMakeNoReport(t *testing.T) {
	for what, text := range map[string]string{
		"one failed": printed + "--- FAIL: BenchmarkStorm\n", "none ran": "PASS\n", "no number": "BenchmarkX 1 many ns/op\n",
	} {
		doc, bench := filepath.Join(t.TempDir(), "doc.md"), filepath.Join(t.TempDir(), "bench.txt")
		const before = "<!-- written by make bench-report: begin -->\nold\n<!-- written by make bench-report: end -->\n"
		write(t, doc, before)
		write(t, bench, text)
		t.Setenv("KHOOK_BENCH_REPORT", doc)
		if err := run([]string{"report", bench}, nil, nil); err == nil {
			t.Errorf("%s: no error", what)
		}
		if got, _ := os.ReadFile(doc); string(got) != before {
			t.Errorf("%s: the document is now %q", what, got)
		}
	}
}

// stat is CSV as benchstat prints it, with one benchmark's figures of two runs.
func stat(unit, before, now string) string {
	return ",baseline.txt,,new.txt,,,\n," + unit + ",CI," + unit + ",CI,vs base,P\nApply," + before + ",0%," + now + ",0%,~,p=1.000 n=3\ngeomean,1,,1,,+0.00%,\n"
}

func TestAFigureMayNotGetMuchWorse(t *testing.T) {
	for what, c := range map[string]struct{ csv, fails string }{
		"the same":                    {stat("allocs/op", "100", "100"), ""},
		"better":                      {stat("allocs/op", "100", "10"), ""},
		"a little worse":              {stat("allocs/op", "100", "109"), ""},
		"worse":                       {stat("allocs/op", "100", "112"), "Apply: 112 allocs/op, 100 in the baseline (+12 %)"},
		"one more of three":           {stat("allocs/op", "3", "4"), ""},
		"some bytes more of few":      {stat("B/op", "48", "112"), ""},
		"many bytes more of few":      {stat("B/op", "48", "160"), "Apply: 160 B/op, 48 in the baseline"},
		"another unit has no least":   {stat("B/Pod", "280", "310"), "Apply: 310 B/Pod, 280 in the baseline"},
		"gone":                        {stat("B/op", "48", ""), "Apply: B/op is missing"},
		"new, so it can't be judged":  {stat("B/op", "48", "48") + "Other,,,7,0%,,\n", ""},
		"nothing, as of an empty one": {"", "nothing was compared"},
	} {
		var out strings.Builder
		err := run([]string{"compare", "--limit", "10"}, strings.NewReader(c.csv), &out)
		if c.fails == "" {
			if err != nil {
				t.Errorf("%s: %v\n%s", what, err, out.String())
			}
			continue
		}
		if err == nil || !strings.Contains(out.String()+err.Error(), c.fails) {
			t.Errorf("%s: got %v and %q, want %q", what, err, out.String(), c.fails)
		}
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
