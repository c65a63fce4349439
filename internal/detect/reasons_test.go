package detect

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kagent-dev/khook/internal/incident"
)

var quotedWord = regexp.MustCompile("`([A-Z][A-Za-z]+)`")

// TestTheDocumentHasTheReasonsThatThereAre holds the table of docs/hooks.md against the list.
func TestTheDocumentHasTheReasonsThatThereAre(t *testing.T) {
	text, err := os.ReadFile("../../docs/hooks.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "`event.reason` is, by event type:")
	for _, of := range incident.EventTypes() {
		_, row, found := strings.Cut(table, "\n| `"+string(of)+"` | ")
		row, _, _ = strings.Cut(row, "\n")
		var written []string
		for _, m := range quotedWord.FindAllStringSubmatch(row, -1) {
			written = append(written, m[1])
		}
		slices.Sort(written)
		want := ReasonsOf(of)
		if diff := cmp.Diff(slices.Sorted(slices.Values(want.Known)), slices.Compact(written)); !found || diff != "" {
			t.Errorf("%s (-in the code +in docs/hooks.md)\n%s", of, diff)
		}
		if want.Open != strings.Contains(row, "and others") {
			t.Errorf("%s: the document says that there are others: %v", of, !want.Open)
		}
	}
}

// TestWhatIsToldHasAReasonThatIsKnown looks at all recordings, and at what people reported.
func TestWhatIsToldHasAReasonThatIsKnown(t *testing.T) {
	for _, name := range everyRecording(t) {
		for _, sig := range play(t, readRecording(t, name)) {
			if sig.Kind == incident.Observed && !slices.Contains(ReasonsOf(sig.Type).Known, sig.Reason) {
				t.Errorf("%s: %s for %q", name, sig.Type, sig.Reason)
			}
		}
	}
}

func TestARestartAlwaysHasAReason(t *testing.T) {
	s := newScene(t)
	s.put()
	s.run("app")
	s.crash("app", 1, "", oneSecond)
	if got := s.observed(); len(got) != 1 || got[0].Reason != "ContainerRestarted" {
		t.Errorf("told %+v", got)
	}
}
