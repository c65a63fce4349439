package hook

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/hook/hooktest"
	"github.com/kagent-dev/khook/internal/incident"
)

// matchHook is a Hook with one configuration for oom-kill for each expression.
func matchHook(name string, expressions ...string) *v1alpha2.Hook {
	agent := "kagent/medic"
	h := &v1alpha2.Hook{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", Generation: 1}}
	for _, e := range expressions {
		h.Spec.EventConfigurations = append(h.Spec.EventConfigurations, v1alpha2.EventConfiguration{EventType: "oom-kill", AgentId: &agent, Prompt: "x", Match: e})
	}
	return h
}

func compiled(t *testing.T, h *v1alpha2.Hook) []*Config {
	t.Helper()
	configs, errs := Compile(h, Policy{AgentNamespaces: []string{"kagent"}})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return configs
}

func repeated(n int, expression string) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = expression
	}
	return all
}

// bigEvent is as large as an event can be, with the labels of a real Pod.
func bigEvent() incident.Facts {
	f := hooktest.OOMFacts()
	s := *f.Signal
	s.Message = strings.Repeat("a sentence of the kubelet ", incident.MaxMessage)[:incident.MaxMessage]
	pod := s.Attributes.PodOrZero()
	pod.Labels = map[string]string{"app": "cart", "app.kubernetes.io/name": "cart", "pod-template-hash": "7d4b9c", "tier": "web", "team": "shop"}
	s.Attributes.Pod = &pod
	f.Signal = &s
	return f
}

const (
	nested = "[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19].exists(a, [0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19].exists(b, " +
		"[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19].exists(c, a + b + c > 1000)))"
	tooDeep = "[0,1,2,3,4,5,6,7,8,9].exists(d, " + nested + ")"
)

func TestOrdinaryHooksAreFarWithinTheirBudget(t *testing.T) {
	expressions := []string{
		`event.restartCount > 3`,
		`event.name.startsWith("cart-") && event.labels["team"] == "shop"`,
		`"team" in event.labels && event.labels["team"] in ["shop", "pay"]`,
		`event.reason == "OOMKilled" || event.message.contains("memory")`,
		`event.workloadKind == "Deployment" && event.container != "proxy" && event.exitCode == 137`,
	}
	var fifty []string
	for range 10 {
		fifty = append(fifty, expressions...)
	}
	f := bigEvent()
	m := NewMeter()
	for _, c := range compiled(t, matchHook("ordinary", fifty...)) {
		m.Judge(c, f)
	}
	if cost := m.Spent(); cost*200 > hookBudget {
		t.Errorf("fifty expressions cost %d units for an event: %d such events use up the budget", cost, hookBudget/cost)
	}
	m = NewMeter()
	configs := compiled(t, matchHook("one-of-each", expressions...))
	for range 1000 { // a storm, all of it in this namespace and of this type
		for _, c := range configs {
			m.Judge(c, f)
		}
	}
	if len(m.Overruns()) > 0 {
		t.Errorf("over its budget: %+v", m.Overruns())
	}
}

func TestAHookIsNotEvaluatedBeyondItsBudget(t *testing.T) {
	costly, cheap, decent := compiled(t, matchHook("costly", repeated(50, nested)...)), compiled(t, matchHook("costly", "")), compiled(t, matchHook("decent", `event.name != ""`))
	m := NewMeter()
	verdicts := map[Verdict]int{}
	for range 100 {
		for _, c := range costly {
			verdicts[m.Judge(c, hooktest.OOMFacts())]++
		}
		if v := m.Judge(decent[0], hooktest.OOMFacts()); v != Match {
			t.Fatalf("another Hook of the namespace gets the verdict %d", v)
		}
	}
	if verdicts[NoMatch] == 0 || verdicts[TooCostly] < 4900 || m.Spent() > hookBudget+evaluationBudget+100*100 {
		t.Errorf("%v for %d units", verdicts, m.Spent())
	}
	if over := m.Overruns(); len(over) != 1 || over[0].Hook.Name != "costly" || over[0].Config == "" || over[0].Why == "" {
		t.Errorf("%+v", over)
	}
	if v := m.Judge(cheap[0], hooktest.OOMFacts()); v != Match {
		t.Errorf("what needs no evaluation gets the verdict %d", v)
	}
	if v := NewMeter().Judge(costly[0], hooktest.OOMFacts()); v != NoMatch {
		t.Errorf("in the next batch the verdict is %d", v)
	}
}

func TestManyHooksOfANamespaceHaveABudgetTogether(t *testing.T) {
	m := NewMeter()
	for n := range 100 {
		for _, c := range compiled(t, matchHook(fmt.Sprint("costly-", n), repeated(5, nested)...)) {
			m.Judge(c, hooktest.OOMFacts())
		}
	}
	if m.Spent() > namespaceBudget+evaluationBudget {
		t.Errorf("a hundred Hooks of one namespace cost %d units", m.Spent())
	}
	elsewhere := matchHook("elsewhere", `event.name != ""`)
	elsewhere.Namespace = "pay"
	f := hooktest.OOMFacts()
	s := *f.Signal
	s.Resource.Namespace, f.Signal = "pay", &s
	if v := m.Judge(compiled(t, elsewhere)[0], f); v != Match {
		t.Errorf("a Hook of another namespace gets the verdict %d", v)
	}
}

func TestAnExpressionThatCostsTooMuchForOneEventIsSaidNotToBeEvaluated(t *testing.T) {
	m := NewMeter()
	c := compiled(t, matchHook("deep", tooDeep))[0]
	if v := m.Judge(c, hooktest.OOMFacts()); v != TooCostly || len(m.Overruns()) != 1 || !strings.Contains(m.Overruns()[0].Why, "single event") {
		t.Errorf("the verdict is %d, %+v", v, m.Overruns())
	}
	if c.Matches(hooktest.OOMFacts()) {
		t.Error("it matches")
	}
}

func TestALongSelectorCountsAsWell(t *testing.T) {
	values := make([]string, 20_000)
	for i := range values {
		values[i] = fmt.Sprint("value-", i)
	}
	h := matchHook("long", repeated(50, "")...)
	for i := range h.Spec.EventConfigurations {
		h.Spec.EventConfigurations[i].Selector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpIn, Values: values}}}
	}
	m := NewMeter()
	configs := compiled(t, h)
	for range 100 {
		for _, c := range configs {
			m.Judge(c, bigEvent())
		}
	}
	if m.Spent() > hookBudget+evaluationBudget || len(m.Overruns()) != 1 {
		t.Errorf("%d units, %d Hooks over their budget", m.Spent(), len(m.Overruns()))
	}
}

func TestEveryGroupOfAConfigurationIsAmongTheGroupsOfItsSignal(t *testing.T) {
	for _, node := range []string{"", "n1"} {
		f := hooktest.OOMFacts()
		s := *f.Signal
		s.Node = node
		for _, by := range []v1alpha2.GroupBy{"", v1alpha2.GroupByWorkload, v1alpha2.GroupByResource, v1alpha2.GroupByNode} {
			if name := (&Config{GroupBy: by}).Group(&s); !slices.Contains(Groups(&s), name) {
				t.Errorf("grouped by %q it is %s, which is not among %v", by, name, Groups(&s))
			}
		}
	}
}
