package capacity

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the tables of docs/capacity.md")

const (
	kib = 1 << 10
	mib = 1 << 20
)

// container is the memory of a container with a limit, as internal/app divides it.
func container(limit int64) Memory { return Memory{Go: limit / 4 * 3, Outside: limit / 4} }

// The containers of the tests, and of the document: that of the chart is the third.
var containers = []struct {
	name  string
	limit int64
}{{"128 MiB", 128 * mib}, {"256 MiB", 256 * mib}, {"512 MiB", 512 * mib}, {"1 GiB", 1024 * mib}, {"8 GiB", 8192 * mib}, {"none", 0}}

func planFor(t *testing.T, limit int64) *Plan {
	t.Helper()
	m := container(limit)
	p, err := New(m, Wanted{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAllBoundsTogetherFitTheMemory(t *testing.T) {
	for _, c := range containers {
		for _, tls := range []bool{false, true} {
			p, err := New(container(c.limit), Wanted{TLS: tls})
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			checkFits(t, p)
		}
	}
}

func checkFits(t interface{ Errorf(string, ...any) }, p *Plan) {
	limit := p.Memory.Go
	if sum := p.Sum(); limit > 0 && float64(sum) > usable*float64(limit) {
		t.Errorf("with %s for Go the bounds add up to %s", Text(limit), Text(sum))
	}
	for _, b := range p.Bounds {
		if b.N < 1 || b.N < min(b.Least, b.Want) && b.Name != Streams && b.Name != Connections || b.N > b.Want {
			t.Errorf("with %s for Go %s is %d: it must be from %d to %d", Text(limit), b.Name, b.N, b.Least, b.Want)
		}
	}
	if outside, sum := p.Memory.Outside, p.SQLiteCache()*sqliteConnections+p.N(Connections)*sockets; outside > 0 && sum > outside {
		t.Errorf("with %s outside of Go the caches of SQLite and the sockets add up to %s", Text(outside), Text(sum))
	}
	if p.MaxManifests()*p.ValidationsAtOnce() > p.N(Validations) || p.MaxAnswer()*DecodedByte > p.N(Decoding) {
		t.Errorf("with %s for Go a largest text or answer costs more than there is room for", Text(limit))
	}
}

func TestAnyMemoryAndAnySettingsFit(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		m := Memory{Go: rapid.Int64Range(1, 64<<30).Draw(r, "go"), Outside: rapid.Int64Range(4*mib, 8<<30).Draw(r, "outside")}
		w := Wanted{
			Streams: rapid.IntRange(0, 1<<20).Draw(r, "streams"), Connections: rapid.IntRange(0, 1<<20).Draw(r, "connections"), TLS: rapid.Bool().Draw(r, "tls"),
		}
		p, err := New(m, w)
		if small, ok := errors.AsType[*TooSmallError](err); ok {
			if small.Needed <= m.Go {
				r.Fatalf("%v, though %d are there", err, m.Go)
			}
			m.Go = small.Needed
			if p, err = New(m, w); err != nil {
				r.Fatalf("with what it asks for: %v", err)
			}
		}
		checkFits(r, p)
	})
}

func TestMoreMemoryNeverMakesABoundSmaller(t *testing.T) {
	before := planFor(t, 100*mib)
	for limit := int64(101 * mib); limit < 4096*mib; limit += 7 * mib {
		p := planFor(t, limit)
		for i, b := range p.Bounds {
			if float64(b.N) < 0.98*float64(before.Bounds[i].N)-2 { // rounding
				t.Errorf("with %s %s is %d, with less it was %d", Text(limit), b.Name, b.N, before.Bounds[i].N)
			}
		}
		before = p
	}
}

func TestInTheChartsMemoryKhookHasRoomForWhatItsDocumentsPromise(t *testing.T) {
	p := planFor(t, 512*mib)
	for name, least := range map[Name]int64{Connections: 1000, Streams: 500, Pods: 20_000, Incidents: 5_000, Hooks: 100, Callers: 2_000, Workers: 8} {
		if p.N(name) < least {
			t.Errorf("%s is %d, want at least %d", name, p.N(name), least)
		}
	}
	if p.MaxManifests() < 128*kib || p.MaxAnswer() < 2*mib {
		t.Errorf("texts may have %s and answers of agents %s", Text(p.MaxManifests()), Text(p.MaxAnswer()))
	}
	if s := p.Shrunk(); len(s) != 0 {
		t.Errorf("without a setting there is nothing to warn of: %q", s)
	}
}

func TestWhatWasAskedForAndDoesNotFitIsTold(t *testing.T) {
	p, err := New(container(512*mib), Wanted{Streams: 10_000})
	if err != nil {
		t.Fatalf("an upgrade with an earlier setting must not end khook: %v", err)
	}
	if s := p.Shrunk(); len(s) != 1 || !strings.Contains(s[0], "--api-max-streams is 10000, and the memory limit has room for ") {
		t.Errorf("told %q", s)
	}
}

func TestKhookRefusesOnlyWhatDetectionDoesNotFitInto(t *testing.T) {
	_, err := New(container(32*mib), Wanted{})
	var small *TooSmallError
	if !errors.As(err, &small) || !strings.Contains(err.Error(), "raise the container's limit to") {
		t.Fatalf("32 MiB: %v", err)
	}
	if needed := small.Needed * 4 / 3; needed > 96*mib {
		t.Errorf("khook asks for %s, want at most 96 MiB", Text(needed))
	}
}

// A container of 64 MiB was enough before memory was planned, so an upgrade in it must not end khook.
func TestASmallContainerOfBeforeIsEnough(t *testing.T) {
	for _, tls := range []bool{false, true} {
		p, err := New(container(64*mib), Wanted{TLS: tls})
		if err != nil {
			t.Errorf("64 MiB, with TLS %t: %v", tls, err)
			continue
		}
		checkFits(t, p)
	}
}

func TestWhatARefusalAsksForIsEnough(t *testing.T) {
	var small *TooSmallError
	if _, err := New(container(32*mib), Wanted{}); !errors.As(err, &small) {
		t.Fatalf("32 MiB: %v", err)
	}
	var enough, limit int64
	if _, err := fmt.Sscanf(textAfter(small.Error(), "at least "), "%d MiB", &enough); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(textAfter(small.Error(), "limit to "), "%d MiB", &limit); err != nil {
		t.Fatal(err)
	}
	for _, m := range []Memory{{Go: enough * mib}, container(limit * mib)} {
		if _, err := New(m, Wanted{}); err != nil {
			t.Errorf("with what %q asks for: %v", small, err)
		}
	}
}

func textAfter(text, mark string) string {
	_, rest, _ := strings.Cut(text, mark)
	return rest
}

// The document has what this package says.
func TestTheDocumentHasTheTablesOfThisPackage(t *testing.T) {
	const path, begin, end = "../../docs/capacity.md", "<!-- tables of internal/capacity: begin -->\n", "<!-- tables of internal/capacity: end -->"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal(path, "has lost the marks of its tables")
	}
	if want := before + begin + tables(t) + end + after; want != string(text) {
		if !*update {
			t.Fatalf("%s is not up to date: go test ./internal/capacity -update", path)
		}
		if err := os.WriteFile(path, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func tables(t *testing.T) string {
	var out strings.Builder
	var plans []*Plan
	out.WriteString("| | what | each costs |")
	for _, c := range containers {
		plans = append(plans, planFor(t, c.limit))
		fmt.Fprintf(&out, " %s |", c.name)
	}
	out.WriteString("\n| --- | --- | --- |" + strings.Repeat(" --- |", len(plans)) + "\n")
	for i, b := range plans[0].Bounds {
		fmt.Fprintf(&out, "| `%s` | %s | %s |", b.Name, b.What, Text(b.Cost))
		for _, p := range plans {
			fmt.Fprintf(&out, " %s |", amount(p.Bounds[i].Name, p.Bounds[i].N))
		}
		out.WriteString("\n")
	}
	row := func(what string, of func(*Plan) string) {
		fmt.Fprintf(&out, "| | %s | |", what)
		for _, p := range plans {
			fmt.Fprintf(&out, " %s |", of(p))
		}
		out.WriteString("\n")
	}
	row("a text with Hooks is at most", func(p *Plan) string { return Text(p.MaxManifests()) })
	row("texts of that size checked at the same time", func(p *Plan) string { return fmt.Sprint(p.ValidationsAtOnce()) })
	row("an answer of an agent is at most", func(p *Plan) string { return Text(p.MaxAnswer()) })
	row("**all of it together**", func(p *Plan) string { return Text(p.Sum()) })
	row("of Go's memory (three quarters of the container's)", func(p *Plan) string {
		if p.Memory.Go == 0 {
			return "no limit"
		}
		return Text(p.Memory.Go)
	})
	row("SQLite's caches, outside of Go's memory", func(p *Plan) string { return Text(p.SQLiteCache() * sqliteConnections) })
	row("the system's buffers of connections, there too", func(p *Plan) string { return Text(p.N(Connections) * sockets) })
	return out.String()
}

func amount(n Name, v int64) string {
	if strings.HasSuffix(string(n), "-bytes") {
		return Text(v)
	}
	text := fmt.Sprint(v)
	if len(text) > 4 {
		return text[:len(text)-3] + "," + text[len(text)-3:]
	}
	return text
}
