package hook

import (
	"strings"
	"testing"

	"github.com/kagent-dev/khook/internal/capacity/capacitytest"
	"github.com/kagent-dev/khook/internal/hook/hooktest"
	"github.com/kagent-dev/khook/internal/incident"
)

// maxMatchAllocated bounds what compiling a match expression of any text and asking it about an event
// may allocate in all, garbage included. The most is that of CEL's parser, for a text full of mistakes.
const maxMatchAllocated = 128 << 20

func TestNoMatchExpressionTakesMoreThanItsBounds(t *testing.T) {
	if _, err := CELEnv(); err != nil { // which takes a while, once
		t.Fatal(err)
	}
	f := hooktest.Hostile(strings.Repeat("a", 1024))
	for name, bomb := range hooktest.MatchBombs {
		t.Run(name, func(t *testing.T) {
			matched, err := matchWithinBounds(t, bomb.Text, f)
			if matched || len(bomb.Text) > maxMatch {
				t.Errorf("%d characters match: %v", len(bomb.Text), matched)
			}
			if bomb.Refused != "" && (err == nil || !strings.Contains(err.Error(), bomb.Refused)) {
				t.Errorf("not refused for that: %v", err)
			}
		})
	}
}

func matchWithinBounds(t *testing.T, text string, f incident.Facts) (matched bool, err error) {
	t.Helper()
	if took := capacitytest.Allocated(t, func() {
		var e *matchProgram
		if e, err = parseMatch(text); e != nil {
			matched = matches(e, f)
		}
	}); took > maxMatchAllocated {
		t.Errorf("%d bytes allocated for %s", took, text)
	}
	return matched, err
}

func matches(e *matchProgram, f incident.Facts) bool {
	verdict, _, _ := e.evaluate(celEventOf(f))
	return verdict == Match
}

func FuzzParseMatch(f *testing.F) {
	for _, bomb := range hooktest.MatchBombs {
		f.Add(bomb.Text)
	}
	f.Add("") // no expression: it compiles to none
	long := hooktest.Hostile(strings.Repeat("a", 1024))
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) <= maxMatch {
			_, _ = matchWithinBounds(t, text, long)
		}
	})
}

func TestMatchExpressionsAsPeopleWriteThemStillMatch(t *testing.T) {
	f := hooktest.OOMFacts()
	f.Signal.Message = strings.Repeat("all is well ", 84) + "OOM"
	for _, text := range []string{
		"event.message.matches('(?i)oom$') && event.reason in ['OOMKilled', 'Error']",
		"event.labels.exists(k, k.startsWith('ti') && event.labels[k] == 'front')",
		"['cart', 'pay'].exists(w, event.workloadName.contains(w)) && event.name.split('-').size() == 3",
		"'%s/%d'.format([event.name, event.count]) == 'cart-5d9-x/1'",
		"{'cart': 3}[event.workloadName] == event.restartCount",
		"[event.name, event.node].map(n, n.upperAscii()) == ['CART-5D9-X', 'N1']",
		strings.Repeat("event.message.lowerAscii().contains('not there') || ", 18) + "event.message.lowerAscii().contains('oom')",
	} {
		e, err := parseMatch(text)
		if err != nil || len(text) > maxMatch {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if !matches(e, f) {
			t.Errorf("%s does not match", text)
		}
	}
}
