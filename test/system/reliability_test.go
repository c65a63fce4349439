package system

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/discovery"

	"github.com/kagent-dev/khook/internal/agent"
	place "github.com/kagent-dev/khook/test/report"
)

// tortureReport collects what the faults came to.
var tortureReport = &reliability{began: time.Now(), names: map[*scene]map[string][]string{failures: {}, asking: {}}}

// reliability is the part of docs/reliability.md that a run writes.
type reliability struct {
	began time.Time

	mu      sync.Mutex
	names   map[*scene]map[string][]string // the points of the undisturbed runs, by dialect
	results []result
}

func (r *reliability) points(sc *scene, dialect string, points []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names[sc][dialect] = points
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
	fmt.Fprintf(&b, "Run on %s against Kubernetes %s, built with %s, in %s%s.\n\n", r.began.UTC().Format(time.DateOnly),
		kubernetes.GitVersion, runtime.Version(), time.Since(r.began).Round(time.Minute), howMany())
	r.table(&b)
	r.failures(&b)
	b.WriteString("The points, each of them before and after, with how often it is passed in the undisturbed run:\n\n")
	for _, sc := range []*scene{failures, asking} {
		for _, dialect := range agent.Dialects() {
			if names := r.names[sc][dialect]; len(names) > 0 {
				fmt.Fprintf(&b, "- %s, %s, %d points: %s\n", strings.TrimPrefix(dialect, "kagent-"), scenesInWords[sc.name], len(names), strings.Join(passed(names), ", "))
			}
		}
	}
	return b.String(), nil
}

// howMany says so where not all trials were made.
func howMany() string {
	switch {
	case !torture.full:
		return ", a few of the trials"
	case torture.every > 1:
		return fmt.Sprintf(", one in %d of the trials and of the random moments", torture.every)
	}
	return ""
}

func (r *reliability) table(b *strings.Builder) {
	b.WriteString("| kagent | what happens at the points | points tried | not reached | runs | incidents lost | calls too many | in hand | not known | answered again | histories that differ | failed |\n")
	b.WriteString("|" + strings.Repeat(" --- |", 12) + "\n")
	all := tally{}
	row := func(dialect string, sc *scene, fault string) {
		sum := r.tally(dialect, sc, fault)
		if all.add(sum); sum.runs == 0 {
			return
		}
		what := inWords[fault]
		if sc == asking {
			what = "people act: " + what
		}
		fmt.Fprintf(b, "| %s | %s | %s\n", strings.TrimPrefix(dialect, "kagent-"), what, sum)
	}
	for _, dialect := range agent.Dialects() {
		for _, sc := range []*scene{failures, asking} {
			for _, fault := range slices.Concat(faults, changesOfPeers) {
				row(dialect, sc, fault)
			}
		}
		row(dialect, nil, atRandom)
		row(dialect, nil, amidst)
	}
	fmt.Fprintf(b, "| all | | %s\n\n", all)
}

// scenesInWords and inWords are how the report tells of the scenes and of the faults.
var (
	scenesInWords = map[string]string{failures.name: "failures only", asking.name: "people act"}
	inWords       = map[string]string{
		killed: "killed (SIGKILL), started again", terminated: "ended (SIGTERM), started again",
		deposed: "halted until another replica leads, let on", returned: "halted until another replica is done, let on",
		upgraded: "halted, kagent changed to another version, let on", rolledBack: "killed, kagent changed to another version and back",
		otherUser: "killed, started as another user of kagent, and back in the end", otherToken: "halted, its token changed to another user's, let on, and back in the end",
		atRandom: "stopped at random moments under load", amidst: "the same while people act, and kagent and khook's user change at random",
	}
)

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
type tally struct {
	callSums
	tried, missed, runs, lost, differ, failed int
}

func (r *reliability) tally(dialect string, sc *scene, fault string) tally {
	var sum tally
	for _, res := range r.results {
		if res.dialect != dialect || res.scene != sc || res.fault != fault {
			continue
		}
		sum.add(tally{callSums: res.callSums, runs: res.runs, lost: res.lost, differ: oneIf(res.differs), failed: oneIf(res.failed),
			tried: oneIf(res.reached && sc != nil), missed: oneIf(!res.reached)})
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
	t.tried, t.missed, t.runs, t.lost, t.differ, t.failed = t.tried+o.tried, t.missed+o.missed, t.runs+o.runs, t.lost+o.lost, t.differ+o.differ, t.failed+o.failed
	t.doubled, t.inHand, t.notKnown, t.again = t.doubled+o.doubled, t.inHand+o.inHand, t.notKnown+o.notKnown, t.again+o.again
}

// String is the tally as cells of a row.
func (t tally) String() string {
	return fmt.Sprintf("%d | %d | %d | %d | %d | %d | %d | %d | %d | %d |",
		t.tried, t.missed, t.runs, t.lost, t.doubled, t.inHand, t.notKnown, t.again, t.differ, t.failed)
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
