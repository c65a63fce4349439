package hook

import (
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/kagent-dev/khook/api/v1alpha2"
)

func keysOf(configs []*Config) []string {
	keys := make([]string, len(configs))
	for i, c := range configs {
		keys[i] = c.Key
	}
	return keys
}

func keysOfAll(t interface{ Fatal(...any) }, ecs ...v1alpha2.EventConfiguration) []string {
	h := hookWith(nil)
	h.Spec.EventConfigurations = ecs
	configs, errs := Compile(h, policy)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return keysOf(configs)
}

func configuration(change ...func(*v1alpha2.EventConfiguration)) v1alpha2.EventConfiguration {
	ec := hookWith(nil).Spec.EventConfigurations[0]
	for _, c := range change {
		c(&ec)
	}
	return ec
}

// TestTheKeysOfHistoriesAreThoseOfToday pins what histories have: another digest would cut every configuration off
// from its calls, and rename it at the next start.
func TestTheKeysOfHistoriesAreThoseOfToday(t *testing.T) {
	full := configuration(func(e *v1alpha2.EventConfiguration) {
		e.Match, e.GroupBy = " event.restartCount >= 3 ", v1alpha2.GroupByNode
		e.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "cart", "track": "canary"}}
	})
	named := configuration(func(e *v1alpha2.EventConfiguration) { e.Name = "oom" })
	got := keysOfAll(t, configuration(), full, named, configuration())
	if want := []string{"oom-kill-b1f4b8c4", "oom-kill-29b1cd09", "oom", "oom-kill-b1f4b8c4#2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAKeyFollowsFromWhatAConfigurationIsAboutAndNothingElse(t *testing.T) {
	base := func(e *v1alpha2.EventConfiguration) {
		e.Selector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: "app", Operator: metav1.LabelSelectorOpIn, Values: []string{"a", "b"}},
			{Key: "app", Operator: metav1.LabelSelectorOpExists},
			{Key: "track", Operator: metav1.LabelSelectorOpExists},
		}}
		e.Match = "event.restartCount >= 3"
	}
	want := keysOfAll(t, configuration(base))[0]
	for name, tc := range map[string]struct {
		change func(*v1alpha2.EventConfiguration)
		same   bool
	}{
		"prompt":           {func(e *v1alpha2.EventConfiguration) { e.Prompt = "another" }, true},
		"plain values":     {func(e *v1alpha2.EventConfiguration) { e.PlainValues = true }, true},
		"window":           {func(e *v1alpha2.EventConfiguration) { e.DedupWindow = &metav1.Duration{Duration: time.Minute} }, true},
		"budget":           {func(e *v1alpha2.EventConfiguration) { n := int32(3); e.MaxCallsPerHour = &n }, true},
		"timeout":          {func(e *v1alpha2.EventConfiguration) { e.Timeout = &metav1.Duration{Duration: time.Minute} }, true},
		"spaces":           {func(e *v1alpha2.EventConfiguration) { e.Match = "  " + e.Match + "\n" }, true},
		"default grouping": {func(e *v1alpha2.EventConfiguration) { e.GroupBy = v1alpha2.GroupByWorkload }, true},
		"order":            {func(e *v1alpha2.EventConfiguration) { slices.Reverse(e.Selector.MatchExpressions) }, true},
		"order of values":  {func(e *v1alpha2.EventConfiguration) { slices.Reverse(e.Selector.MatchExpressions[0].Values) }, true},
		"agent by ref": {func(e *v1alpha2.EventConfiguration) {
			ns := "kagent"
			e.AgentId, e.AgentRef = nil, &v1alpha2.ObjectReference{Name: "medic", Namespace: &ns}
		}, true},
		"type":     {func(e *v1alpha2.EventConfiguration) { e.EventType = "pod-restart" }, false},
		"agent":    {func(e *v1alpha2.EventConfiguration) { id := "kagent/other"; e.AgentId = &id }, false},
		"selector": {func(e *v1alpha2.EventConfiguration) { e.Selector.MatchExpressions[0].Values[0] = "c" }, false},
		"match":    {func(e *v1alpha2.EventConfiguration) { e.Match = "event.restartCount >= 4" }, false},
		"grouping": {func(e *v1alpha2.EventConfiguration) { e.GroupBy = v1alpha2.GroupByResource }, false},
	} {
		got := keysOfAll(t, configuration(base, tc.change))[0]
		if (got == want) != tc.same {
			t.Errorf("%s: %s, and was %s", name, got, want)
		}
	}
}

// TestTheKeysOfAHookAreItsOwnWhateverTheirOrder holds that no two configurations have the same key, and that inserting one
// changes no key but of those with the same content.
func TestTheKeysOfAHookAreItsOwnWhateverTheirOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		one := rapid.Custom(func(t *rapid.T) v1alpha2.EventConfiguration {
			return configuration(func(e *v1alpha2.EventConfiguration) {
				e.EventType = rapid.SampledFrom([]string{"oom-kill", "pod-restart"}).Draw(t, "type")
				e.Match = rapid.SampledFrom([]string{"", "event.count > 1"}).Draw(t, "match")
			})
		})
		ecs := rapid.SliceOfN(one, 1, 8).Draw(t, "configurations")
		for i := range ecs {
			if rapid.Bool().Draw(t, "named") {
				ecs[i].Name = "name-" + string(rune('a'+i))
			}
		}
		before := keysOfAll(t, ecs...)
		slices.Sort(before)
		if len(slices.Compact(slices.Clone(before))) != len(before) {
			t.Fatalf("not unique: %q", before)
		}
		at := rapid.IntRange(0, len(ecs)).Draw(t, "at")
		more := one.Draw(t, "more")
		after := keysOfAll(t, slices.Insert(slices.Clone(ecs), at, more)...)
		for _, key := range before {
			if !slices.Contains(after, key) {
				t.Fatalf("%s is gone: %q, then %q", key, before, after)
			}
		}
	})
}

func TestAWrongNameIsToldAndTakesNoOthersKey(t *testing.T) {
	for name, tc := range map[string]struct{ names, want string }{
		"twice":       {"a a", "spec.eventConfigurations[1].name: Duplicate value: \"a\""},
		"upper case":  {"A b", "spec.eventConfigurations[0].name: Invalid value"},
		"hash":        {"b oom-kill#2", "spec.eventConfigurations[1].name: Invalid value"},
		"a sentence":  {strings.Repeat("a", 64) + " b", "must be no more than 63"},
		"a path":      {"a/b c", "name: Invalid value"},
		"ends in '-'": {"a- c", "name: Invalid value"},
	} {
		t.Run(name, func(t *testing.T) {
			h := hookWith(nil)
			names := strings.Split(tc.names, " ")
			h.Spec.EventConfigurations = nil
			for _, n := range names {
				h.Spec.EventConfigurations = append(h.Spec.EventConfigurations, configuration(func(e *v1alpha2.EventConfiguration) { e.Name = n }))
			}
			configs, errs := Compile(h, policy)
			if len(errs) == 0 || !strings.Contains(errs.ToAggregate().Error(), tc.want) {
				t.Fatalf("got %v", errs)
			}
			valid := 0
			for _, c := range configs {
				if c.Invalid == "" {
					valid++
				}
			}
			if valid != 1 || configs[0].Key == configs[1].Key {
				t.Errorf("%d of two configurations are valid, their keys are %q", valid, keysOf(configs))
			}
		})
	}
}

func TestTheKeysOfBeforeAreThePlacesInTheList(t *testing.T) {
	h := hookWith(nil)
	for _, kind := range []string{"pod-restart", "oom-kill", "oom-kill"} {
		h.Spec.EventConfigurations = append(h.Spec.EventConfigurations, configuration(func(e *v1alpha2.EventConfiguration) { e.EventType = kind }))
	}
	configs, _ := Compile(h, policy)
	if got, want := FormerKeys(configs), []string{"oom-kill", "pod-restart", "oom-kill#2", "oom-kill#3"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
