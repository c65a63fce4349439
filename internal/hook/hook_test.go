package hook

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/hook/hooktest"
)

func hookWith(change func(*v1alpha2.EventConfiguration)) *v1alpha2.Hook {
	id := "kagent/medic"
	ec := v1alpha2.EventConfiguration{EventType: "oom-kill", AgentId: &id, Prompt: "Look at {{.ResourceName}}"}
	if change != nil {
		change(&ec)
	}
	return &v1alpha2.Hook{
		ObjectMeta: metav1.ObjectMeta{Name: "h", Namespace: "shop", UID: "hook-uid", Generation: 1},
		Spec:       v1alpha2.HookSpec{EventConfigurations: []v1alpha2.EventConfiguration{ec}},
	}
}

var policy = Policy{AgentNamespaces: []string{"kagent"}}

func TestCompileNamesTheFieldAndTheChange(t *testing.T) {
	str := func(s string) *string { return &s }
	for name, tc := range map[string]struct {
		change func(*v1alpha2.EventConfiguration)
		want   string
	}{
		"type":       {func(e *v1alpha2.EventConfiguration) { e.EventType = "oom" }, `spec.eventConfigurations[0].eventType: Unsupported value: "oom"`},
		"no agent":   {func(e *v1alpha2.EventConfiguration) { e.AgentId = nil }, "agentId: Required value: name the agent to call"},
		"two agents": {func(e *v1alpha2.EventConfiguration) { e.AgentRef = &v1alpha2.ObjectReference{Name: "x"} }, "keep one and remove the other"},
		"bad agent":  {func(e *v1alpha2.EventConfiguration) { e.AgentId = str("a/b/c") }, `must be "namespace/name" or "name"`},
		"policy":     {func(e *v1alpha2.EventConfiguration) { e.AgentId = str("other/medic") }, "let the operator add other to --agent-namespaces"},
		"policy by ref": {func(e *v1alpha2.EventConfiguration) {
			e.AgentId, e.AgentRef = nil, &v1alpha2.ObjectReference{Name: "m", Namespace: str("other")}
		}, "agentRef: Forbidden"},
		"prompt":      {func(e *v1alpha2.EventConfiguration) { e.Prompt = "{{.Nope}}" }, "prompt: Invalid value"},
		"long prompt": {func(e *v1alpha2.EventConfiguration) { e.Prompt = strings.Repeat("a", 10001) }, "prompt: Too long"},
		"match":       {func(e *v1alpha2.EventConfiguration) { e.Match = "event.nope == 1" }, "an event has no nope: it has container, count, "},
		"match type":  {func(e *v1alpha2.EventConfiguration) { e.Match = "event.restartCount" }, "must be true or false, is int"},
		"window":      {func(e *v1alpha2.EventConfiguration) { e.DedupWindow = &metav1.Duration{Duration: time.Millisecond} }, "dedupWindow: Invalid value: \"1ms\": must be from 1s to 24h"},
		"timeout":     {func(e *v1alpha2.EventConfiguration) { e.Timeout = &metav1.Duration{Duration: 25 * time.Hour} }, "must be from 10s to 24h"},
		"stall":       {func(e *v1alpha2.EventConfiguration) { e.StallAfter = &metav1.Duration{Duration: time.Second} }, "stallAfter: Invalid value: \"1s\": must be from 1m0s to 24h"},
		"on stall":    {func(e *v1alpha2.EventConfiguration) { e.OnStall = "restart" }, `onStall: Unsupported value: "restart": supported values: "wait", "cancel", "retry"`},
		"group":       {func(e *v1alpha2.EventConfiguration) { e.GroupBy = "pod" }, "groupBy: Unsupported value"},
		"calls":       {func(e *v1alpha2.EventConfiguration) { n := int32(0); e.MaxCallsPerHour = &n }, "must be at least 1"},
		"selector": {func(e *v1alpha2.EventConfiguration) {
			e.Selector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Is"}}}
		}, "selector: Invalid value"},
	} {
		t.Run(name, func(t *testing.T) {
			configs, errs := Compile(hookWith(tc.change), policy)
			if len(errs) == 0 || !strings.Contains(errs.ToAggregate().Error(), tc.want) {
				t.Fatalf("got %v, want an error with %q", errs, tc.want)
			}
			if configs[0].Invalid == "" {
				t.Error("the configuration is not marked invalid")
			}
		})
	}
}

func TestBothFormsNameTheSameAgent(t *testing.T) {
	ns, own := "kagent", "medic"
	forms := map[string]func(*v1alpha2.EventConfiguration){
		"kagent/medic": nil,
		"kagent/m2": func(e *v1alpha2.EventConfiguration) {
			e.AgentId, e.AgentRef = nil, &v1alpha2.ObjectReference{Name: "m2", Namespace: &ns}
		},
		"shop/medic": func(e *v1alpha2.EventConfiguration) { e.AgentId = &own },
		"shop/m3": func(e *v1alpha2.EventConfiguration) {
			e.AgentId, e.AgentRef = nil, &v1alpha2.ObjectReference{Name: "m3"}
		},
	}
	for want, change := range forms {
		configs, errs := Compile(hookWith(change), policy)
		if len(errs) > 0 || configs[0].Agent.String() != want {
			t.Errorf("got %v %v, want %s", configs[0].Agent, errs, want)
		}
	}
}

func TestMatchingAsksTypeNamespaceLabelsAndExpression(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*v1alpha2.EventConfiguration)
		want   bool
	}{
		"plain":      {nil, true},
		"other type": {func(e *v1alpha2.EventConfiguration) { e.EventType = "pod-restart" }, false},
		"labels": {func(e *v1alpha2.EventConfiguration) {
			e.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "cart"}}
		}, true},
		"other labels": {func(e *v1alpha2.EventConfiguration) {
			e.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "pay"}}
		}, false},
		"expression":    {func(e *v1alpha2.EventConfiguration) { e.Match = "event.restartCount >= 3 && event.exitCode == 137" }, true},
		"false":         {func(e *v1alpha2.EventConfiguration) { e.Match = "event.workloadName == 'pay'" }, false},
		"missing label": {func(e *v1alpha2.EventConfiguration) { e.Match = "event.labels['nope'] == 'x'" }, false},
		"label in": {func(e *v1alpha2.EventConfiguration) {
			e.Match = "'tier' in event.labels && event.labels.tier == 'front'"
		}, true},
		"string library": {func(e *v1alpha2.EventConfiguration) { e.Match = "event.name.lowerAscii().startsWith('cart-')" }, true},
	} {
		t.Run(name, func(t *testing.T) {
			set := NewSet(policy)
			if errs := set.Put(hookWith(tc.change)); len(errs) > 0 {
				t.Fatal(errs)
			}
			if got := len(set.Matching(hooktest.OOMFacts())) == 1; got != tc.want {
				t.Errorf("matched %v, want %v", got, tc.want)
			}
		})
	}
	set := NewSet(policy)
	h := hookWith(nil)
	h.Namespace = "other"
	set.Put(h)
	if len(set.Matching(hooktest.OOMFacts())) > 0 {
		t.Error("a hook of another namespace matched")
	}
}

func TestTwoConfigurationsOfOneTypeBothMatch(t *testing.T) {
	h := hookWith(nil)
	h.Spec.EventConfigurations = append(h.Spec.EventConfigurations, h.Spec.EventConfigurations[0])
	set := NewSet(policy)
	set.Put(h)
	if got := set.Matching(hooktest.OOMFacts()); len(got) != 2 || got[0].Key == got[1].Key {
		t.Errorf("got %v", got)
	}
	set.Delete(delivery.HookRef{Namespace: "shop", Name: "h"})
	if len(set.Matching(hooktest.OOMFacts())) != 0 {
		t.Error("a deleted hook matched")
	}
}
