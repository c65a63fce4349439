package lint

import (
	"strings"
	"testing"
)

func TestWhatCanNeverMatchIsWarnedOf(t *testing.T) {
	selector := func(s string) string { return "selector: " + s }
	match := func(s string) string { return "match: '" + s + "'" }
	for name, tc := range map[string]struct {
		field string
		want  string // "": nothing is warned of
	}{
		"a value in and not in":        {selector("{matchExpressions: [{key: app, operator: In, values: [a]}, {key: app, operator: NotIn, values: [a]}]}"), "the label app"},
		"all values taken away":        {selector("{matchExpressions: [{key: app, operator: In, values: [a, b]}, {key: app, operator: NotIn, values: [a]}, {key: app, operator: NotIn, values: [b]}]}"), "the label app"},
		"a value of what must not be":  {selector("{matchLabels: {app: a}, matchExpressions: [{key: app, operator: DoesNotExist}]}"), "the label app"},
		"to be and not to be":          {selector("{matchExpressions: [{key: app, operator: Exists}, {key: app, operator: DoesNotExist}]}"), "the label app"},
		"two values":                   {selector("{matchLabels: {app: a}, matchExpressions: [{key: app, operator: In, values: [b]}]}"), "the label app"},
		"one of two is left":           {selector("{matchExpressions: [{key: app, operator: In, values: [a, b]}, {key: app, operator: NotIn, values: [a]}]}"), ""},
		"not in, and there":            {selector("{matchExpressions: [{key: app, operator: NotIn, values: [a]}, {key: app, operator: Exists}]}"), ""},
		"not in, and not there":        {selector("{matchExpressions: [{key: app, operator: NotIn, values: [a]}, {key: app, operator: DoesNotExist}]}"), ""},
		"two labels":                   {selector("{matchLabels: {app: a}, matchExpressions: [{key: tier, operator: DoesNotExist}]}"), ""},
		"another type":                 {match(`event.type == "oom-kill" && event.count > 1`), `event.type is always "pod-restart" here`},
		"one of other types":           {match(`event.type in ["oom-kill", "pod-pending"]`), `event.type is always "pod-restart" here`},
		"not its type":                 {match(`event.type != "pod-restart"`), `event.type is always "pod-restart" here`},
		"its type":                     {match(`event.type == "pod-restart"`), ""},
		"its type or another":          {match(`event.type == "oom-kill" || event.count > 1`), ""},
		"another namespace":            {match(`event.namespace == "pay"`), `event.namespace is always "shop" here`},
		"its namespace":                {match(`event.namespace == "shop"`), ""},
		"a number that can't be":       {match("event.count > 5 && event.count < 3"), "contradicts itself"},
		"two names":                    {match(`event.name == "a" && event.name == "b"`), "contradicts itself"},
		"a range":                      {match("event.count > 3 && event.count < 5"), ""},
		"an expression that is broken": {match("event.type =="), ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := validate(t, hookText("cart", "eventType: pod-restart\n    agentId: medic\n    prompt: Look\n    "+tc.field))
			field := "spec.eventConfigurations[0]." + strings.SplitN(tc.field, ":", 2)[0]
			if tc.want == "" {
				if len(r.Warnings) > 0 {
					t.Errorf("%q", told(r.Warnings))
				}
				return
			}
			if len(r.Errors) > 0 || len(r.Warnings) != 1 || r.Warnings[0].Field != field || r.Warnings[0].Line != 9 || !strings.Contains(r.Warnings[0].Message, tc.want) {
				t.Errorf("errors %q, warnings %q", told(r.Errors), told(r.Warnings))
			}
		})
	}
}

func TestOtherKindsArePassedOverWithANote(t *testing.T) {
	deployment := "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: cart}\n"
	agent := "---\napiVersion: kagent.dev/v1alpha2\nkind: Agent\nmetadata: {name: medic}\n"
	r := validate(t, hookText("cart", "{"+goodConfig+"}")+deployment+agent)
	if !r.Valid || len(r.Hooks) != 1 || len(r.Warnings) != 0 || len(r.Notes) != 2 || r.Notes[0].Message != "passed over: this is a Deployment (apps/v1), and khook checks Hooks only" || r.Notes[0].Line != 8 {
		t.Errorf("%+v", r)
	}
	if r = validate(t, deployment); !r.Valid || len(r.Notes) != 1 || len(r.Warnings) != 1 || !strings.HasPrefix(r.Warnings[0].Message, "there is no Hook in the text") {
		t.Errorf("%+v", r)
	}
	for _, slip := range []string{
		"apiVersion: kagent.dev/v1alpha1\nkind: Hook\n", "apiVersion: kagent.dev/v1alpha2\nkind: hook\n", "apiVersion: kagent.dev/v1alpha2\nkind: Hooks\n",
		"apiVersion: kagent/v1alpha2\nkind: Hook\n", "kind: Deployment\n", "apiVersion: v1\n", "apiVersion: 1\nkind: [Hook]\n",
	} {
		if r := validate(t, slip); r.Valid || len(r.Notes) > 0 {
			t.Errorf("%s: %+v", slip, r)
		}
	}
}
