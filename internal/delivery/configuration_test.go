package delivery

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kagent-dev/khook/internal/incident"
)

var edited = time.Date(2026, 1, 15, 10, 0, 0, 0, time.UTC)

func TestAnEditPairsWhatIsTheSameConfiguration(t *testing.T) {
	medic, other := AgentRef{"kagent", "medic"}, AgentRef{"kagent", "other"}
	one := Configuration{Key: "oom-1", Content: "1", EventType: "oom-kill", Agent: medic}
	two := Configuration{Key: "oom-2", Content: "2", EventType: "oom-kill", Agent: other}
	restart := Configuration{Key: "restart-3", Content: "3", EventType: "pod-restart", Agent: medic}
	as := func(c Configuration, key, content string, at time.Time) Configuration {
		c.Key, c.Content, c.EditedAt = key, content, at
		return c
	}
	for name, tc := range map[string]struct {
		known, now []Configuration
		want       []Configuration
		renamed    []Renaming
	}{
		"nothing": {[]Configuration{one, two}, []Configuration{one, two}, []Configuration{one, two}, nil},
		"moved":   {[]Configuration{one, two}, []Configuration{two, one}, []Configuration{two, one}, nil},
		"one inserted before it": {
			[]Configuration{one}, []Configuration{two, one},
			[]Configuration{as(two, "oom-2", "2", edited), one}, nil,
		},
		"named": {
			[]Configuration{one, two}, []Configuration{two, as(one, "oom", "1", time.Time{})},
			[]Configuration{two, as(one, "oom", "1", time.Time{})},
			[]Renaming{{"oom-1", "oom"}},
		},
		"other selector": {
			[]Configuration{two, one}, []Configuration{two, as(one, "oom-4", "4", time.Time{})},
			[]Configuration{two, as(one, "oom-4", "4", edited)},
			[]Renaming{{"oom-1", "oom-4"}},
		},
		"both edited: those of one agent are the same": {
			[]Configuration{one, two}, []Configuration{as(two, "oom-5", "5", time.Time{}), as(one, "oom-4", "4", time.Time{})},
			[]Configuration{as(two, "oom-5", "5", edited), as(one, "oom-4", "4", edited)},
			[]Renaming{{"oom-2", "oom-5"}, {"oom-1", "oom-4"}},
		},
		"another agent": {
			[]Configuration{one}, []Configuration{two},
			[]Configuration{as(two, "oom-2", "2", edited)},
			[]Renaming{{"oom-1", "oom-2"}},
		},
		"another event type is another configuration": {
			[]Configuration{one}, []Configuration{restart},
			[]Configuration{as(restart, "restart-3", "3", edited)}, nil,
		},
		"a name stays with another content": {
			[]Configuration{as(one, "oom", "1", time.Time{})}, []Configuration{as(two, "oom", "2", time.Time{})},
			[]Configuration{as(two, "oom", "2", edited)}, nil,
		},
		"names swapped": {
			[]Configuration{as(one, "a", "1", time.Time{}), as(two, "b", "2", time.Time{})},
			[]Configuration{as(one, "b", "1", time.Time{}), as(two, "a", "2", time.Time{})},
			[]Configuration{as(one, "b", "1", edited), as(two, "a", "2", edited)}, nil,
		},
		"an earlier edit is remembered": {
			[]Configuration{as(one, "oom-1", "1", edited.Add(-time.Hour))}, []Configuration{one},
			[]Configuration{as(one, "oom-1", "1", edited.Add(-time.Hour))}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, renamed := Edited(tc.known, tc.now, edited)
			if diff := cmp.Diff(tc.want, got) + cmp.Diff(tc.renamed, renamed); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestAnEditMixesNoTwoConfigurations holds for any edit: no history goes to two configurations or comes from two, none
// that stays under its key moves, and a configuration without an earlier one is marked as edited.
func TestAnEditMixesNoTwoConfigurations(t *testing.T) {
	list := rapid.Custom(func(t *rapid.T) []Configuration {
		one := rapid.Custom(func(t *rapid.T) Configuration {
			content := rapid.IntRange(1, 4).Draw(t, "content")
			return Configuration{
				Key: fmt.Sprint("key-", rapid.IntRange(1, 6).Draw(t, "key")), Content: fmt.Sprint(content),
				EventType: []incident.EventType{incident.OOMKill, incident.PodRestart}[content%2], Agent: AgentRef{"kagent", fmt.Sprint(content / 2)},
			}
		})
		return rapid.SliceOfNDistinct(one, 0, 6, func(c Configuration) string { return c.Key }).Draw(t, "configurations")
	})
	rapid.Check(t, func(t *rapid.T) {
		known, now := list.Draw(t, "known"), list.Draw(t, "now")
		got, renamed := Edited(known, now, edited)
		had, have := map[string]bool{}, map[string]bool{}
		for _, c := range known {
			had[c.Key] = true
		}
		for _, c := range now {
			have[c.Key] = true
		}
		from, to := map[string]bool{}, map[string]bool{}
		for _, r := range renamed {
			if from[r.From] || to[r.To] || !had[r.From] || have[r.From] || had[r.To] || !have[r.To] {
				t.Fatalf("%v to %v: %v", known, now, renamed)
			}
			from[r.From], to[r.To] = true, true
		}
		for i, c := range got {
			if isNew := !had[c.Key] && !to[c.Key]; isNew && !c.EditedAt.Equal(edited) || c.Key != now[i].Key {
				t.Fatalf("%v to %v: %v", known, now, got)
			}
		}
		if again, none := Edited(got, now, edited.Add(time.Hour)); len(none) > 0 || !cmp.Equal(got, again) {
			t.Fatalf("a second time: %v, %v", again, none)
		}
	})
}

func TestTwoGroupsBecomeOneWithoutForgettingWhatWasHeldBack(t *testing.T) {
	held := func(n int64, from int, names ...string) HeldBack {
		return HeldBack{OverBudget: n, LoopGuard: 1, Since: edited.Add(time.Duration(from) * time.Minute), Until: edited.Add(time.Duration(from+5) * time.Minute), Resources: names}
	}
	g := &GroupState{HookUID: "u", Held: held(2, 3, "a"), Hold: OverBudget, Why: "budget", HoldEnds: edited.Add(2 * time.Hour), ResumedAt: edited, ResumedBy: "ann"}
	g.Absorb(&GroupState{Held: held(1, 0, "a", "b"), Hold: LoopGuard, Why: "guard", HoldEnds: edited.Add(time.Hour), NeedsPerson: true, ResumedAt: edited.Add(time.Minute), ResumedBy: "ben"})
	want := &GroupState{
		HookUID: "u", Hold: LoopGuard, Why: "guard", HoldEnds: edited.Add(time.Hour), NeedsPerson: true, ResumedAt: edited.Add(time.Minute), ResumedBy: "ben",
		Held: HeldBack{OverBudget: 3, LoopGuard: 2, Since: edited, Until: edited.Add(8 * time.Minute), Resources: []string{"a", "b"}},
	}
	if diff := cmp.Diff(want, g); diff != "" {
		t.Error(diff)
	}
	g.Absorb(&GroupState{})
	if diff := cmp.Diff(want, g); diff != "" {
		t.Error(diff)
	}
}
