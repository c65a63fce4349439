package hook

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/hook/hooktest"
	"github.com/kagent-dev/khook/internal/incident"
)

func TestExplainSaysWhatKeptAConfigurationFromAnEvent(t *testing.T) {
	selecting := func(s metav1.LabelSelector) func(*v1alpha2.EventConfiguration) {
		return func(ec *v1alpha2.EventConfiguration) { ec.Selector = &s }
	}
	needing := func(key string, op metav1.LabelSelectorOperator, values ...string) func(*v1alpha2.EventConfiguration) {
		return selecting(metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: key, Operator: op, Values: values}}})
	}
	matching := func(text string) func(*v1alpha2.EventConfiguration) {
		return func(ec *v1alpha2.EventConfiguration) { ec.Match = text }
	}
	for name, tc := range map[string]struct {
		change func(*v1alpha2.EventConfiguration)
		by     Question // of the first no; "" for none
		text   string   // of the last answer
	}{
		"everything":              {func(*v1alpha2.EventConfiguration) {}, "", "there is no match expression"},
		"another type":            {func(ec *v1alpha2.EventConfiguration) { ec.EventType = "pod-restart" }, AskedType, "the configuration is about pod-restart, and this is oom-kill"},
		"a label it lacks":        {selecting(metav1.LabelSelector{MatchLabels: map[string]string{"app": "cart", "track": "canary"}}), AskedSelector, "track=canary, the Pod has none"},
		"another value":           {needing("tier", metav1.LabelSelectorOpIn, "back", "data"), AskedSelector, "tier in (back,data), the Pod has tier=front"},
		"a label too many":        {needing("tier", metav1.LabelSelectorOpDoesNotExist), AskedSelector, "!tier, the Pod has tier=front"},
		"a number":                {matching("event.restartCount >= 5 && event.exitCode != 0"), AskedMatch, "event.restartCount >= 5 && event.exitCode != 0 is false: event.restartCount is 3, event.exitCode is 137"},
		"a text, and a call":      {matching(`event.name.startsWith("pay") || event.reason in ["Error"]`), AskedMatch, `event.name.startsWith("pay") || event.reason in ["Error"] is false: event.name is "cart-5d9-x", event.reason is "OOMKilled"`},
		"labels":                  {matching(`"team" in event.labels && event.labels["tier"] == "x" || event.labels.app == "y"`), AskedMatch, `the Pod has no label team, the label tier is "front", the label app is "cart"`},
		"one that fails":          {matching(`event.labels["team"] == "x"`), AskedMatch, `event.labels["team"] == "x" fails on it, which is no match (no such key: team): the Pod has no label team`},
		"one that is true":        {matching("event.count < 5"), "", "event.count < 5 is true: event.count is 1"},
		"one that is broken":      {matching("event."), AskedValid, "the configuration can't be used: spec.eventConfigurations[0].match"},
		"one that costs too much": {matching(tooDeep), AskedMatch, "its match expression costs too much for a single event"},
	} {
		t.Run(name, func(t *testing.T) {
			h := matchHook("h", "")
			tc.change(&h.Spec.EventConfigurations[0])
			configs, _ := Compile(h, Policy{AgentNamespaces: []string{"kagent"}})
			_, checks := NewMeter().Explain(configs[0], hooktest.OOMFacts())
			last := checks[len(checks)-1]
			if last.OK != (tc.by == "") || tc.by != "" && last.Question != tc.by || !strings.Contains(last.Text, tc.text) {
				t.Errorf("%+v", checks)
			}
		})
	}
}

func TestExplainTellsNoOtherNamespace(t *testing.T) {
	f := hooktest.OOMFacts()
	f.Signal.Resource.Namespace = "pay"
	_, checks := NewMeter().Explain(compiled(t, matchHook("h", ""))[0], f)
	if last := checks[len(checks)-1]; last.OK || last.Text != "a Hook watches its own namespace, which is shop, and the Pod is in pay" {
		t.Errorf("%+v", checks)
	}
}

// TestExplainSaysWhatJudgeSays holds for any configuration and event that the answers lead to the verdict, and cost as much.
func TestExplainSaysWhatJudgeSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := matchHook("h", rapid.SampledFrom([]string{"", "event.count > 1", "event.name == 'cart-5d9-x'", "event.labels['x'] == 'a'", "event.", tooDeep}).Draw(t, "match"))
		ec := &h.Spec.EventConfigurations[0]
		ec.EventType = string(rapid.SampledFrom(incident.EventTypes()).Draw(t, "type"))
		if key := rapid.SampledFrom([]string{"", "app", "x"}).Draw(t, "key"); key != "" {
			ec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{key: rapid.SampledFrom([]string{"cart", "b"}).Draw(t, "value")}}
		}
		configs, _ := Compile(h, Policy{AgentNamespaces: []string{"kagent"}})
		judging, explaining := NewMeter(), NewMeter()
		want := judging.Judge(configs[0], hooktest.OOMFacts())
		got, checks := explaining.Explain(configs[0], hooktest.OOMFacts())
		refused := 0
		for i, c := range checks {
			if !c.OK {
				refused++
				if i != len(checks)-1 {
					t.Fatalf("it goes on after the first no: %+v", checks)
				}
			}
		}
		fits := want == Match && configs[0].Invalid == ""
		if got != want || explaining.Spent() != judging.Spent() || fits != (refused == 0) {
			t.Fatalf("%v, judged %v: %+v", got, want, checks)
		}
	})
}

// TestExplainMakesHarmlessShortTextsOfAnything holds what an event can put into them.
func TestExplainMakesHarmlessShortTextsOfAnything(t *testing.T) {
	f := hooktest.Hostile("\x1b[2J" + strings.Repeat("⟦ignore⟧\n", 500))
	f.Signal.Type = incident.OOMKill
	f.Signal.Attributes.Pod = &incident.PodAttributes{Labels: map[string]string{"app": "\x1b[2J" + strings.Repeat("x", 5000)}}
	h := matchHook("h", "event.message + event.reason + event.container + event.node + event.name + event.workloadName == event.labels['app']")
	_, checks := NewMeter().Explain(compiled(t, h)[0], f)
	for _, c := range checks {
		if len(c.Text) > 2000 || strings.ContainsAny(c.Text, "\x1b\n") {
			t.Errorf("%q", c.Text)
		}
	}
}
