//go:build attack

package attack

import (
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/discovery"

	place "github.com/kagent-dev/khook/test/report"
)

// row is what came out of one attack.
type reportRow struct {
	attack attack
	peak   int64 // memory of khook, in bytes
	cost   tally
	lag    lag
	deaths int64
	notes  []string
	failed bool
}

// String is the row as cells of the table.
func (r reportRow) String() string {
	wrong, outcome := r.cost.wrong(), "held"
	if wrong == "" {
		wrong = "none"
	}
	if r.cost.closed > 0 {
		wrong += fmt.Sprintf(" (%d requests sent again, since the connection was closed)", r.cost.closed)
	}
	if r.cost.starved > 0 {
		wrong += fmt.Sprintf(" (and %d times 503, since the API server itself had no answer in %s)", r.cost.starved, slowReview)
	}
	switch {
	case r.deaths > 0:
		outcome = fmt.Sprintf("khook died (%d)", r.deaths)
	case r.failed:
		outcome = "**did not hold**"
	}
	return fmt.Sprintf("%s | %s | %d MiB | %s of %d, slowest %s | %d of %d in %s, at most %s | %s | %s |", r.attack.name, r.attack.tried, r.peak>>20,
		wrong, r.cost.asked, brief(r.cost.slowest), r.lag.pods, r.lag.pods, brief(r.lag.median), brief(r.lag.max), strings.Join(r.notes, "; "), outcome)
}

func brief(d time.Duration) string { return d.Round(10 * time.Millisecond).String() }

// report collects the rows for docs/security.md.
type report struct {
	site  *site
	began time.Time
	rows  []reportRow
}

func newReport(s *site) *report { return &report{site: s, began: time.Now()} }

func (r *report) add(row reportRow) { r.rows = append(r.rows, row) }

// write puts the report into the file that KHOOK_ATTACK_REPORT names.
func (r *report) write() error { return place.Of("attack").Write("KHOOK_ATTACK_REPORT", r.text) }

func (r *report) text() (string, error) {
	client, err := discovery.NewDiscoveryClientForConfig(r.site.Config)
	if err != nil {
		return "", err
	}
	kubernetes, err := client.ServerVersion()
	if err != nil {
		return "", err
	}
	version, _ := exec.Command(khookProgram(), "version").Output()
	form := "the full form"
	if !full() {
		form = "the short form"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Run on %s in %s: %s in %d MiB (%s), Kubernetes %s, %s, %s/%s with %d processors; it took %s.\n\n",
		r.began.UTC().Format(time.DateOnly), form, oneLine(string(version)), memoryLimit>>20, r.site.bounds.means, kubernetes.GitVersion,
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), time.Since(r.began).Round(time.Minute))
	b.WriteString("| attack | what was tried | peak memory | wrong to valid users | failures recorded, median lag | what else was seen | |\n")
	b.WriteString("| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, row := range r.rows {
		fmt.Fprintf(&b, "| %s\n", row)
	}
	fmt.Fprintf(&b, "\nkhook died %d times.\n", r.site.deaths.Load())
	return b.String(), nil
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// TestReportTellsWhatDidNotHold holds the table's cells against what they are made of.
func TestReportTellsWhatDidNotHold(t *testing.T) {
	bad := reportRow{attack: attack{name: "a", tried: "b"}, cost: tally{asked: 9, got: map[string]int{"503 to x": 2}}, failed: true}
	if got := bad.String(); !strings.Contains(got, "2 × 503 to x of 9") || !strings.HasSuffix(got, "| **did not hold** |") {
		t.Error(got)
	}
}
