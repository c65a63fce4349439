package system

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/discovery"

	"github.com/kagent-dev/khook/internal/agent"
	place "github.com/kagent-dev/khook/test/report"
)

// tortureReport collects what the faults came to.
var tortureReport = &reliability{began: time.Now(), names: map[string][]string{}}

// reliability is the part of docs/reliability.md that a run writes.
type reliability struct {
	began time.Time

	mu      sync.Mutex
	names   map[string][]string // the points of the undisturbed run, by dialect
	results []result
}

func (r *reliability) points(dialect string, points []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names[dialect] = points
}

func (r *reliability) result(res result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.results = append(r.results, res)
}

// write puts the report into the file that KHOOK_TORTURE_REPORT names.
func (r *reliability) write() error { return place.Of("torture").Write("KHOOK_TORTURE_REPORT", r.text) }

func (r *reliability) text() (string, error) {
	client, err := discovery.NewDiscoveryClientForConfig(testCluster.Config)
	if err != nil {
		return "", err
	}
	kubernetes, err := client.ServerVersion()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Run on %s against Kubernetes %s, built with %s, in %s.\n\n", r.began.UTC().Format(time.DateOnly),
		kubernetes.GitVersion, runtime.Version(), time.Since(r.began).Round(time.Minute))
	b.WriteString("| kagent | khook is | points tried | not reached | runs | incidents lost | calls too many | in hand | histories that differ | failed |\n")
	b.WriteString("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	all := tally{}
	for _, dialect := range agent.Dialects() {
		for _, fault := range append(faults, atRandom) {
			sum := r.tally(dialect, fault)
			if sum.runs > 0 {
				fmt.Fprintf(&b, "| %s | %s | %s\n", strings.TrimPrefix(dialect, "kagent-"), inWords[fault], sum)
			}
			all.add(sum)
		}
	}
	fmt.Fprintf(&b, "| all | | %s\n\n", all)
	r.failures(&b)
	b.WriteString("The points, each of them before and after, with how often it is passed in the undisturbed run:\n\n")
	for _, dialect := range agent.Dialects() {
		if names := r.names[dialect]; len(names) > 0 {
			fmt.Fprintf(&b, "- %s, %d points: %s\n", strings.TrimPrefix(dialect, "kagent-"), len(names), strings.Join(passed(names), ", "))
		}
	}
	return b.String(), nil
}

// inWords is how the report tells of the faults.
var inWords = map[string]string{
	killed: "killed (SIGKILL), started again", terminated: "ended (SIGTERM), started again",
	deposed: "halted until another replica leads, let on", returned: "halted until another replica is done, let on", atRandom: "stopped at random moments under load",
}

// failures lists the trials that failed.
func (r *reliability) failures(b *strings.Builder) {
	first := true
	for _, res := range r.results {
		if !res.failed {
			continue
		}
		if first {
			b.WriteString("What failed:\n\n")
		}
		first = false
		fmt.Fprintf(b, "- %s\n", res)
	}
	if !first {
		b.WriteString("\n")
	}
}

// tally adds up results.
type tally struct{ tried, missed, runs, lost, doubled, inHand, differ, failed int }

func (r *reliability) tally(dialect, fault string) tally {
	var sum tally
	for _, res := range r.results {
		if res.dialect != dialect || res.fault != fault {
			continue
		}
		sum.add(tally{runs: res.runs, lost: res.lost, doubled: res.doubled, inHand: res.inHand, differ: oneIf(res.differs), failed: oneIf(res.failed),
			tried: oneIf(res.reached && fault != atRandom), missed: oneIf(!res.reached)})
	}
	return sum
}

func oneIf(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (t *tally) add(o tally) {
	t.tried, t.missed, t.runs, t.lost = t.tried+o.tried, t.missed+o.missed, t.runs+o.runs, t.lost+o.lost
	t.doubled, t.inHand, t.differ, t.failed = t.doubled+o.doubled, t.inHand+o.inHand, t.differ+o.differ, t.failed+o.failed
}

// String is the tally as cells of a row.
func (t tally) String() string {
	return fmt.Sprintf("%d | %d | %d | %d | %d | %d | %d | %d |", t.tried, t.missed, t.runs, t.lost, t.doubled, t.inHand, t.differ, t.failed)
}

// passed are the things that the points are about, in their order, with how often they come.
func passed(points []string) []string {
	times := map[string]int{}
	var order []string
	for _, p := range points {
		what, _, _ := strings.Cut(p, "#")
		if !strings.HasSuffix(p, " before") {
			continue
		}
		if times[what]++; times[what] == 1 {
			order = append(order, what)
		}
	}
	for i, what := range order {
		order[i] = fmt.Sprintf("%s (%d)", what, times[what])
	}
	return order
}
