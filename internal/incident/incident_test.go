package incident

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestCleanLeavesOneLineOfPlainText(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                                "plain",
		"  two\n\n lines\t here  ":             "two lines here",
		"\x1b[31mred\x1b[0m \x00nul":           "[31mred[0m nul",
		"right\u202eto\u202cleft \u200bhidden": "righttoleft hidden",
		"bad \xff\xfe bytes":                   "bad bytes",
		"":                                     "",
		"{{.Namespace}} stays":                 "{{.Namespace}} stays",
	} {
		if got := Clean(in, 100); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("héllo wörld", 5)
	f.Add("\xff\xff\xff", 3)
	f.Add(strings.Repeat("…", 10), 7)
	f.Fuzz(func(t *testing.T, text string, limit int) {
		limit = max(3, limit%2000)
		got := Clean(text, limit)
		if len(got) > limit || !utf8.ValidString(got) || strings.ContainsAny(got, "\n\r\t\x00\x1b") {
			t.Errorf("Clean(%q, %d) = %q", text, limit, got)
		}
	})
}

func signal(key string, at time.Time) *Signal {
	return &Signal{Key: key, Kind: Observed, Type: PodRestart, At: at, Observation: Observation{
		Container: "app", Resource: Resource{Kind: "Pod", Namespace: "shop", Name: "cart-1", UID: "u1"}, Reason: "Error",
	},
	}
}

func TestAnIncidentGoesFromItsFirstEventToItsEnd(t *testing.T) {
	start := time.Date(2026, 1, 15, 10, 0, 0, 0, time.UTC)
	i := Open(Origin{Cluster: "prod", Salt: "prod"}, signal("a", start))
	if e := NewEvent(i, signal("a", start), start); e.Status != Firing || e.IncidentID != i.ID {
		t.Errorf("first event %+v", e)
	}
	again := signal("b", start.Add(time.Minute))
	i.Observe(again)
	if e := NewEvent(i, again, start); e.Status != Duplicate {
		t.Errorf("second event %+v", e)
	}
	i.Resolve(Recovered, start) // its clock is behind: an incident does not end before it was last seen
	if i.Open() || !i.ResolvedAt.Equal(again.At) || i.Events != 2 || i.Duplicates != 1 {
		t.Errorf("incident %+v", i)
	}
	i.Resolve(WasGone, start.Add(time.Hour))
	if i.Resolution != Recovered {
		t.Error("an incident that has ended ended again")
	}
}

func TestIDsAreTheSameForTheSameAndOnlyForTheSame(t *testing.T) {
	parts := []string{"a", "b"}
	if DeriveID("a", "b") != DeriveID(parts...) {
		t.Error("not the same twice")
	}
	if DeriveID("a", "b") == DeriveID("ab") || DeriveID("a", "b") == DeriveID("a", "b", "") {
		t.Error("different parts have one ID")
	}
	now := time.Now()
	if Open(Origin{Cluster: "one", Salt: "one"}, signal("k", now)).ID == Open(Origin{Cluster: "two", Salt: "two"}, signal("k", now)).ID {
		t.Error("two clusters have one incident")
	}
}
