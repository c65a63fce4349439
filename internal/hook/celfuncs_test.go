package hook

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/kagent-dev/khook/internal/hook/hooktest"
)

// verdictOf judges a large event by one expression.
func verdictOf(t *testing.T, expression string) (Verdict, uint64) {
	t.Helper()
	m := NewMeter()
	v := m.Judge(compiled(t, matchHook("h", expression))[0], bigEvent())
	return v, m.Spent()
}

func TestBoundedFunctionsMeanWhatCELsOwnDo(t *testing.T) {
	for _, expression := range []string{
		`"banana".replace("a", "o") == "bonono"`, `"banana".replace("a", "o", 2) == "bonona"`, `"banana".replace("a", "o", 0) == "banana"`,
		`"banana".replace("a", "o", -1) == "bonono"`, `"ab".replace("", "-") == "-a-b-"`, `"ab".replace("", "-", 2) == "-a-b"`,
		`"a,b,c".split(",") == ["a", "b", "c"]`, `"a,b,c".split(",", 2) == ["a", "b,c"]`, `"a,b".split(",", 0) == []`, `"ab".split("") == ["a", "b"]`,
		`["a", "b"].join() == "ab"`, `["a", "b"].join(", ") == "a, b"`, `["", "b"].join(",") == ",b"`, `["", ""].join(",") == ","`, `[].join(",") == ""`,
		`"OOMKilled".matches("^OOM")`, `matches("OOMKilled", "[kK]illed$")`, `!"x".matches("y")`, `"a-1".matches("^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")`,
		`event.labels["app"].matches("c(ar|oa)t") && event.name.split("-")[0] == "cart"`,
	} {
		if v, _ := verdictOf(t, expression); v != Match {
			t.Errorf("%s: the verdict is %d", expression, v)
		}
	}
}

func TestNoExpressionTakesMuchMemory(t *testing.T) {
	long := strings.Repeat("event.message+", 60) + "event.message"
	bombs := []string{
		`event.message.replace("", event.message).replace("", event.message).replace("", event.message) == ""`,
		`[event.message.replace("", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx")].map(a, a.replace("", a)).map(a, a.replace("", a)).size() == 0`,
		`[` + long + `].map(a, a.replace("", a)).size() == 0`,
		// Within CEL's limit after the first call, and tens of MiB after the second.
		`event.message.replace("", "` + strings.Repeat("x", 60) + `").replace("", event.message) == ""`,
		`event.message.replace("", "` + strings.Repeat("x", 60) + `").split("").join(event.message) == ""`,
		`event.message.split("").join(event.message).split("").join(event.message) == ""`,
		`[` + long + `].map(a, a + a + a + a).map(a, a + a + a + a).map(a, a + a + a + a).map(a, a + a + a + a).map(a, a.split("").size()).size() == 0`,
		`[` + long + `].map(a, a + a + a + a).map(a, a + a + a + a).map(a, "%s%s%s%s".format([a, a, a, a])).size() == 0`,
		`event.message.matches("" + "((((a{0,30}){0,30}){0,30}){0,30})")`,
		`event.message.matches("" + "` + strings.Repeat("x{0,1000}", 80) + `")`,
		`event.message.matches(event.message + "x{0,1000}y{0,1000}z{0,1000}")`,
	}
	for _, bomb := range bombs {
		c := compiled(t, matchHook("h", bomb))[0]
		f := bigEvent()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		NewMeter().Judge(c, f)
		runtime.ReadMemStats(&after)
		if mib := (after.TotalAlloc - before.TotalAlloc) >> 20; mib > 16 {
			t.Errorf("%.60s... allocates %d MiB for an event", bomb, mib)
		}
	}
}

func TestAPatternIsChargedByItsStepsAndNotByItsCharacters(t *testing.T) {
	_, small := verdictOf(t, `event.message.matches("^kubelet$")`)
	_, large := verdictOf(t, `event.message.matches("^[a-z ]{1,200}$")`)
	if large < 5*small || small*1000 > hookBudget {
		t.Errorf("a pattern of ten steps costs %d units, one of hundreds %d", small, large)
	}
	if v, _ := verdictOf(t, `event.message.matches("[a-z ]{1,1000}" + "[a-z ]{1,1000}" + "x{1,1000}")`); v != NoMatch {
		t.Error("a pattern that is too large is taken")
	}
}

func TestPatternsThatEventsMakeFillNoMemory(t *testing.T) {
	c := compiled(t, matchHook("h", `event.reason.matches(event.name)`))[0]
	for n := range 1000 {
		f := hooktest.OOMFacts()
		s := *f.Signal
		s.Resource.Name, f.Signal = fmt.Sprintf("name-%d-x{%d}", n, 500+n%500), &s
		NewMeter().Judge(c, f)
	}
	patterns.mu.Lock()
	defer patterns.mu.Unlock()
	kept := 0
	for _, p := range patterns.known {
		kept += p.steps
	}
	if kept > maxKeptSteps || kept != patterns.steps {
		t.Errorf("patterns of %d steps are kept, and %d are counted", kept, patterns.steps)
	}
}

// TestClassesOfCharactersFillNoMemory matches with patterns whose classes have thousands of bounds, in three
// characters each. Kept as steps, those of two Hooks took 160 MiB.
func TestClassesOfCharactersFillNoMemory(t *testing.T) {
	live := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := live()
	for i := range 200 {
		for _, n := range []int{12, 320} {
			// The pattern is made when it is used, so that nothing refuses the Hook.
			verdictOf(t, fmt.Sprintf(`event.message.matches(r'%d' + r'%s')`, i, strings.Repeat(`\pC`, n)))
		}
	}
	after := live()
	if kept := int64(after) - int64(before); kept > 6<<20 {
		t.Errorf("%d MiB are kept", kept>>20)
	}
	if _, err := parseMatch(`event.message.matches(r'` + strings.Repeat(`\pC`, 320) + `')`); err == nil {
		t.Error("a pattern that takes megabytes is accepted")
	}
	if _, err := parseMatch(`event.message.matches(r'^(\pL|\pN|[^\pL])+\s\w{1,100}$')`); err != nil {
		t.Errorf("an ordinary one is refused: %v", err)
	}
}

func TestCompilingPatternsIsCharged(t *testing.T) {
	for name, expression := range map[string]string{
		"a large one":         `event.container.matches("^" + "x{0,900}%d")`,
		"one that is refused": `event.container.matches(r'(%d' + r'` + strings.Repeat(`\pC`, 300) + `')`,
	} {
		if _, cost := verdictOf(t, fmt.Sprintf(expression, 1)); cost < 1000 {
			t.Errorf("%s costs %d units, as if it was there already", name, cost)
		}
	}
}
