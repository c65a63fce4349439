package lint

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kagent-dev/khook/internal/capacity/capacitytest"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/hook/hooktest"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/manifest"
	"github.com/kagent-dev/khook/internal/prompt"
)

// hookText is a manifest of a Hook; its configurations begin in line 5, at an indentation of two.
func hookText(name string, configs ...string) string {
	return "apiVersion: kagent.dev/v1alpha2\nkind: Hook\nmetadata: {name: " + name + ", namespace: shop}\nspec:\n  eventConfigurations:\n  - " +
		strings.Join(configs, "\n  - ") + "\n"
}

func validate(t *testing.T, text string) Report {
	t.Helper()
	return Check(t.Context(), []byte(text), Options{Policy: lintPolicy, Cluster: "prod"})
}

// told are findings as lines of text.
func told(found []Finding) []string {
	lines := []string{}
	for _, f := range found {
		lines = append(lines, fmt.Sprintf("%d:%d %s %s: %s", f.Document, f.Line, f.Hook, f.Field, f.Message))
	}
	return lines
}

func TestValidateSaysWhereAndWhatToChange(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want []string // the beginnings of the errors
	}{
		"an unknown event type is told once": {
			hookText("cart", "eventType: oom\n    agentId: kagent/medic\n    prompt: Look"),
			[]string{"1:6 shop/cart spec.eventConfigurations[0].eventType: unknown event type: use pod-restart, "}},
		"a missing field has the line of what it is missing in": {
			hookText("cart", "{"+goodConfig+"}", "eventType: oom-kill\n    agentId: kagent/medic"),
			[]string{"1:7 shop/cart spec.eventConfigurations[1].prompt: is missing: add it"}},
		"no agent": {
			hookText("cart", "eventType: oom-kill\n    prompt: Look"),
			[]string{"1:6 shop/cart spec.eventConfigurations[0].agentId: name the agent to call: set agentId"}},
		"two agents are told at the second": {
			hookText("cart", "eventType: oom-kill\n    agentId: medic\n    agentRef:\n      name: medic\n    prompt: Look"),
			[]string{"1:8 shop/cart spec.eventConfigurations[0].agentRef: agentId and agentRef both name an agent"}},
		"an agent that the policy forbids": {
			hookText("cart", "eventType: oom-kill\n    agentId: other/medic\n    prompt: Look"),
			[]string{"1:7 shop/cart spec.eventConfigurations[0].agentId: agent other/medic is in a namespace that hooks may not call: use an agent in shop or kagent"}},
		"a template's mistake has its line inside the prompt": {
			hookText("cart", "eventType: oom-kill\n    agentId: medic\n    prompt: |\n      Look at\n      {{.Pod}}"),
			[]string{"1:10 shop/cart spec.eventConfigurations[0].prompt: prompt:2:2: unknown variable .Pod: use one of "}},
		"a match that is no CEL": {
			hookText("cart", "eventType: oom-kill\n    agentId: medic\n    prompt: Look\n    match: event.restarts > 3"),
			[]string{"1:9 shop/cart spec.eventConfigurations[0].match: at character 6: an event has no restarts: it has container, "}},
		"a match that is no condition": {
			hookText("cart", "{"+goodConfig+", match: event.count + 1}"),
			[]string{"1:6 shop/cart spec.eventConfigurations[0].match: must be true or false, is int"}},
		"a selector that can't be": {
			hookText("cart", "eventType: oom-kill\n    agentId: medic\n    prompt: Look\n    selector:\n      matchExpressions: [{key: a, operator: In}]"),
			[]string{`1:9 shop/cart spec.eventConfigurations[0].selector: values: Invalid value: null: for 'in', 'notin' operators, values set can't be empty`}},
		"no duration, without the rule that it broke": {
			hookText("cart", "{"+goodConfig+", timeout: soon}"),
			[]string{"1:6 shop/cart spec.eventConfigurations[0].timeout: must be a duration, such as 30s, 10m or 1h30m"}},
		"a duration out of bounds": {
			hookText("cart", "{"+goodConfig+", timeout: 25h}"),
			[]string{"1:6 shop/cart spec.eventConfigurations[0].timeout: timeout must be from 10s to 24h"}},
		"an unknown field, and what is known there": {
			hookText("cart", "eventType: oom-kill\n    agentId: medic\n    prompt: Look\n    selector:\n      matchLabel: {a: b}"),
			[]string{"1:10 shop/cart spec.eventConfigurations[0].selector.matchLabel: unknown field: remove it, or use one of matchExpressions, matchLabels"}},
		"a label's path has dots and slashes": {
			hookText("cart", "eventType: oom-kill\n    agentId: medic\n    prompt: Look\n    selector:\n      matchLabels:\n        app: a\n        app.kubernetes.io/name: 3"),
			[]string{"1:12 shop/cart spec.eventConfigurations[0].selector.matchLabels.app.kubernetes.io/name: must be of type string: put it in quotes"}},
		"a text that YAML takes for true": {
			hookText("cart", "eventType: oom-kill\n    agentId: medic\n    prompt: yes"),
			[]string{"1:8 shop/cart spec.eventConfigurations[0].prompt: must be of type string: put it in quotes"}},
		"all mistakes of a configuration at once": {
			hookText("cart", "eventType: oom\n    agentId: A\n    prompt: '{{.Pod}}'\n    dedupWindow: 1d\n    groupBy: pod\n    match: event."),
			[]string{
				"1:6 shop/cart spec.eventConfigurations[0].eventType: \"oom\" is not known: use one of",
				"1:7 shop/cart spec.eventConfigurations[0].agentId: must be \"namespace/name\" or \"name\"",
				"1:8 shop/cart spec.eventConfigurations[0].prompt: prompt:1:2: unknown variable .Pod",
				"1:9 shop/cart spec.eventConfigurations[0].dedupWindow: must be a duration",
				"1:10 shop/cart spec.eventConfigurations[0].groupBy: \"pod\" is not known: use one of \"workload\", \"resource\", \"node\"",
				"1:11 shop/cart spec.eventConfigurations[0].match: at character 7: this is no expression",
			}},
		"a name that can't be": {
			hookText("Cart", "{"+goodConfig+"}"), []string{"1:3 shop/Cart metadata.name: a lowercase RFC 1123 subdomain must consist of"}},
		"a namespace that can't be": {
			strings.Replace(hookText("cart", "{"+goodConfig+"}"), "shop", "a.b", 1), []string{"1:3 a.b/cart metadata.namespace: must not contain dots"}},
		"metadata of the wrong type": {
			strings.Replace(hookText("cart", "{"+goodConfig+"}"), "shop", "shop, labels: {a: 3}", 1), []string{"1:3 shop/cart metadata.labels: has the wrong type: write a string where there is a number"}},
		"broken YAML":         {"apiVersion: kagent.dev/v1alpha2\nkind: Hook\nmetadata: {name: cart\nspec: x\n", []string{"1:3  : not valid YAML: did not find expected ',' or '}'"}},
		"a key twice":         {hookText("cart", "eventType: oom-kill\n    prompt: a\n    agentId: medic\n    prompt: b"), []string{"1:9  spec.eventConfigurations[0].prompt: the key is there twice, first in line 7: keep one"}},
		"another version":     {"apiVersion: v1\nkind: Hook\n", []string{"1:1  apiVersion: must be kagent.dev/v1alpha2, is v1: khook checks Hooks only"}},
		"nothing":             {"# a comment\n---\n", []string{"1:1  : there is no Hook in the text: write apiVersion: kagent.dev/v1alpha2 and kind: Hook"}},
		"no object":           {"- a\n- b\n", []string{"1:1  : this is no object: write apiVersion"}},
		"too many in the end": {hookText("cart", "{"+goodConfig+"}") + "...\n{}\n", []string{"1:1  : not valid YAML: something follows the document's end: begin the next document with ---"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := validate(t, tc.text)
			got := told(r.Errors)
			for i := range min(len(got), len(tc.want)) {
				if strings.HasPrefix(got[i], tc.want[i]) {
					got[i] = tc.want[i]
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" || r.Valid {
				t.Errorf("valid %t\n%s", r.Valid, diff)
			}
		})
	}
}

func TestValidateReadsSeveralDocuments(t *testing.T) {
	good, bad := hookText("a", "{"+goodConfig+"}"), hookText("b", "{"+goodConfig+"}", "eventType: oom\n    agentId: medic\n    prompt: Look")
	for name, tc := range map[string]struct{ text, want string }{
		"YAML":                    {good + "---\n" + bad, "2:14"},
		"a marker at the start":   {"---\n" + good + "--- # next\n" + bad, "2:15"},
		"empty ones don't count":  {"# Hooks\n---\n---\n" + good + "---\n# none\n---\n" + bad, "2:19"},
		"Windows' line ends":      {strings.ReplaceAll(good+"---\n"+bad, "\n", "\r\n"), "2:14"},
		"a List":                  {"apiVersion: v1\nkind: List\nitems:\n- " + indent(good) + "- " + indent(bad), "1:16"},
		"a HookList":              {"apiVersion: kagent.dev/v1alpha2\nkind: HookList\nmetadata: {}\nitems:\n- " + indent(good) + "- " + indent(bad), "1:17"},
		"JSON after JSON":         {jsonHook("a", "oom-kill") + "\n" + jsonHook("b", "oom"), "2:15"},
		"JSON, then YAML":         {jsonHook("a", "oom-kill") + "\n---\n" + strings.Replace(bad, "{"+goodConfig+"}", "{eventType: oom, agentId: medic, prompt: Look}", 1), "2:16"},
		"JSON as a YAML document": {good + "---\n" + jsonHook("b", "oom"), "2:13"},
	} {
		t.Run(name, func(t *testing.T) {
			r := validate(t, tc.text)
			if diff := cmp.Diff([]string{"shop/a", "shop/b"}, r.Hooks); diff != "" {
				t.Error(diff)
			}
			if len(r.Errors) == 0 {
				t.Fatal("no errors")
			}
			got := r.Errors[0]
			if at := fmt.Sprintf("%d:%d", got.Document, got.Line); at != tc.want || got.Hook != "shop/b" || !strings.HasSuffix(got.Field, ".eventType") {
				t.Errorf("got %+v, want it at %s", got, tc.want)
			}
		})
	}
}

func indent(text string) string {
	return strings.TrimSuffix(strings.ReplaceAll(text, "\n", "\n  "), "  ")
}

// jsonHook is a Hook in JSON, with tabs; its event type is in line 6 of 9.
func jsonHook(name, eventType string) string {
	return strings.ReplaceAll(`{
	"apiVersion": "kagent.dev/v1alpha2", "kind": "Hook",
	"metadata": {"name": "`+name+`", "namespace": "shop"},
	"spec": {
		"eventConfigurations": [{
			"eventType": "`+eventType+`", "agentId": "medic", "prompt": "a \ud83d\ude00 \/ {\"b\"}"
		}]
	}
}`, "\r", "")
}

func TestValidateRefusesTwoHooksOfOneName(t *testing.T) {
	text := hookText("a", "{"+goodConfig+"}")
	got := told(validate(t, text+"---\n"+text).Errors)
	want := []string{"2:10 shop/a metadata.name: Hook shop/a is there twice, first in line 1: give one another name"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	other := strings.Replace(text, "namespace: shop", "namespace: till", 1)
	if r := validate(t, text+"---\n"+other); !r.Valid {
		t.Error(r.Errors)
	}
	generated := strings.Replace(text, "name: a", "generateName: a-", 1)
	if r := validate(t, generated+"---\n"+generated); !r.Valid {
		t.Error(r.Errors)
	}
}

func TestValidateWarnsOfWhatIsRarelyMeant(t *testing.T) {
	const agent = "agentId: medic, prompt: Look"
	kill, restart := "{eventType: oom-kill, "+agent, "{eventType: pod-restart, "+agent
	for name, tc := range map[string]struct {
		text string
		want []string // parts of the warnings
	}{
		"nothing odd":           {hookText("a", kill+"}", restart+"}"), nil},
		"one agent twice":       {hookText("a", kill+"}", restart+"}", kill+"}"), []string{"1:8 shop/a spec.eventConfigurations[2]: one oom-kill event can be about this and about spec.eventConfigurations[0] (line 6): agent shop/medic is called twice"}},
		"two agents":            {hookText("a", kill+"}", "{eventType: oom-kill, agentId: kagent/sre, prompt: Look}"), []string{"both agents, kagent/sre and shop/medic, are called"}},
		"across Hooks":          {hookText("a", kill+"}") + "---\n" + hookText("b", kill+"}"), []string{"2:13 shop/b spec.eventConfigurations[0]: one oom-kill event can be about this and about spec.eventConfigurations[0] of Hook shop/a (line 6): agent shop/medic is called twice"}},
		"across Hooks, others":  {hookText("a", kill+"}") + "---\n" + hookText("b", "{eventType: oom-kill, agentId: kagent/sre, prompt: Look}"), nil},
		"other namespaces":      {hookText("a", "{"+goodConfig+"}") + "---\n" + strings.Replace(hookText("b", "{"+goodConfig+"}"), "shop", "till", 1), nil},
		"labels apart":          {hookText("a", kill+", selector: {matchLabels: {app: a}}}", kill+", selector: {matchLabels: {app: b}}}"), nil},
		"labels not apart":      {hookText("a", kill+", selector: {matchLabels: {app: a}}}", kill+", selector: {matchLabels: {tier: b}}}"), []string{"is called twice"}},
		"a label and not it":    {hookText("a", kill+", selector: {matchLabels: {app: a}}}", kill+", selector: {matchExpressions: [{key: app, operator: NotIn, values: [a, b]}]}}"), nil},
		"with and without":      {hookText("a", kill+", selector: {matchExpressions: [{key: app, operator: Exists}]}}", kill+", selector: {matchExpressions: [{key: app, operator: DoesNotExist}]}}"), nil},
		"counts apart":          {hookText("a", kill+", match: event.restartCount >= 3 && event.exitCode != 0}", kill+", match: 3 > event.restartCount}"), nil},
		"counts that meet":      {hookText("a", kill+", match: event.restartCount >= 3}", kill+", match: event.restartCount <= 3}"), []string{"is called twice"}},
		"a code and not it":     {hookText("a", kill+", match: event.exitCode == 137}", kill+", match: '!(event.exitCode == 137)'}"), nil},
		"texts apart":           {hookText("a", kill+`, match: 'event.container in ["a", "b"]'}`, kill+`, match: event.container == "c" || false}`, kill+`, match: '!(event.container in ["a", "b"]) && event.container != "c"'}`), []string{"spec.eventConfigurations[0] (line 6)", "spec.eventConfigurations[1] (line 7)"}},
		"a call and not it":     {hookText("a", kill+`, match: event.message.contains("x")}`, kill+`, match: '!event.message.contains("x")'}`), nil},
		"one of two":            {hookText("a", kill+`, match: event.count == 1 || event.count == 2}`, kill+`, match: event.count != 1 && event.count != 2}`), []string{"is called twice"}},
		"suspended":             {strings.Replace(hookText("a", kill+"}", kill+"}"), "spec:", "spec:\n  suspend: true", 1), []string{"1:5 shop/a spec.suspend: the Hook calls no agent while this is true"}},
		"resumed at no time":    {strings.Replace(hookText("a", kill+"}"), ", namespace: shop", ", namespace: shop, annotations: {kagent.dev/resumed-at: now}", 1), []string{`1:3 shop/a metadata.annotations: kagent.dev/resumed-at is "now", which is no time and counts for nothing: write it as RFC 3339 has it`}},
		"no namespace":          {strings.Replace(hookText("a", kill+"}"), ", namespace: shop", "", 1), []string{"1:3 default/a metadata.namespace: is missing: namespace default is assumed"}},
		"what the cluster sets": {strings.Replace(hookText("a", kill+"}"), "shop", "shop, uid: x, resourceVersion: '3'", 1) + "status: {active: 1}\n", []string{"1:3 shop/a metadata.resourceVersion: is set by the cluster", "1:3 shop/a metadata.uid: is set by the cluster", "1:7 shop/a status: is set by the cluster"}},
		"a stall that never is": {hookText("a", "{eventType: oom-kill, agentId: medic, prompt: Look, timeout: 10m, stallAfter: 10m}"), []string{
			"spec.eventConfigurations[0].stallAfter: a task counts as stalled after 10m0s and is over after its timeout of 10m0s: it is never stalled"}},
		"a retry that never is": {hookText("a", "{eventType: oom-kill, agentId: medic, prompt: Look, timeout: 10m, onStall: retry}"), []string{"spec.eventConfigurations[0].onStall: a task counts as stalled after 15m0s"}},
		"a short timeout":       {hookText("a", "{eventType: oom-kill, agentId: medic, prompt: Look, timeout: 10m}"), nil},
		"a very long prompt":    {hookText("a", "{eventType: oom-kill, agentId: medic, prompt: "+strings.Repeat("ü", 4001)+"}"), []string{"spec.eventConfigurations[0].prompt: the prompt has 4001 characters"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := validate(t, tc.text)
			got := told(r.Warnings)
			if !r.Valid || len(got) != len(tc.want) {
				t.Fatalf("errors %v, warnings %q", told(r.Errors), got)
			}
			for i, want := range tc.want {
				if !strings.Contains(got[i], want) {
					t.Errorf("got %q, want %q", got[i], want)
				}
			}
		})
	}
}

// cluster is a Lookup that counts how often it is asked.
type cluster struct {
	rights, namespaces, agents map[string]error
	asked                      int
}

func (c *cluster) May(_ context.Context, namespace string) error {
	c.asked++
	return c.rights[namespace]
}

func (c *cluster) Namespace(_ context.Context, name string) error {
	c.asked++
	return c.namespaces[name]
}

func (c *cluster) Agent(_ context.Context, a delivery.AgentRef) error {
	c.asked++
	return c.agents[a.String()]
}

func TestValidateAsksTheClusterOnceForEachQuestion(t *testing.T) {
	lookup := &cluster{
		agents: map[string]error{
			"kagent/gone": errors.New("agent kagent/gone is not there: create it"),
			"kagent/lost": fmt.Errorf("agent kagent/lost: kagent does not answer: %w", ErrUnknown),
		},
	}
	text := hookText("a", "{"+goodConfig+"}", "{eventType: pod-restart, agentId: kagent/gone, prompt: Look}", "{eventType: pod-pending, agentRef: {name: lost, namespace: kagent}, prompt: Look}") +
		"---\n" + hookText("b", "{eventType: probe-failed, agentId: kagent/medic, prompt: Look}", "{eventType: oom-kill, agentId: other/medic, prompt: Look}")
	r := Check(t.Context(), []byte(text), Options{Policy: lintPolicy, Lookup: lookup})
	want := []string{
		"1:7 shop/a spec.eventConfigurations[1].agentId: agent kagent/gone is not there: create it",
		"2:16 shop/b spec.eventConfigurations[1].agentId: agent other/medic is in a namespace that hooks may not call",
	}
	got := told(r.Errors)
	for i := range got {
		got[i], _, _ = strings.Cut(got[i], ": use an agent")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	want = []string{"1:8 shop/a spec.eventConfigurations[2].agentRef: agent kagent/lost: kagent does not answer: could not be found out"}
	if diff := cmp.Diff(want, told(r.Warnings)); diff != "" {
		t.Error(diff)
	}
	if lookup.asked != 5 {
		t.Errorf("asked %d times, want 5", lookup.asked)
	}
}

// TestValidateTellsNothingOfNamespacesAndAgentsToWhoMayNotUseThem tries the ways to have khook look for what
// the caller may not know of: all of it is asked for only after the right, which Kubernetes must have granted.
func TestValidateTellsNothingOfNamespacesAndAgentsToWhoMayNotUseThem(t *testing.T) {
	gone := errors.New("it is not there: create it")
	asksFor := func(agent string) string { return "{eventType: pod-restart, agentId: " + agent + ", prompt: Look}" }
	for name, c := range map[string]struct {
		right error
		text  string
		asked int
		told  string // of the right; "" if what is told is another mistake
	}{
		"a stranger to the namespace":      {errors.New("you may not list Hooks in namespace shop"), hookText("a", asksFor("kagent/gone"), asksFor("shop/gone")), 1, "you may not list"},
		"whose rights are not known":       {fmt.Errorf("whether you may use it %w", ErrUnknown), hookText("a", asksFor("kagent/gone")), 1, "could not be found out"},
		"with a namespace that is none":    {nil, strings.Replace(hookText("a", asksFor("kagent/gone")), "namespace: shop", "namespace: Shop_", 1), 0, ""},
		"an agent that Hooks may not call": {nil, hookText("a", asksFor("other/gone")), 2, ""},
	} {
		lookup := &cluster{rights: map[string]error{"shop": c.right}, namespaces: map[string]error{}, agents: map[string]error{"kagent/gone": gone, "shop/gone": gone, "other/gone": gone}}
		r := Check(t.Context(), []byte(c.text), Options{Policy: lintPolicy, Lookup: lookup})
		all := strings.Join(append(told(r.Errors), told(r.Warnings)...), "\n")
		if lookup.asked != c.asked || strings.Contains(all, gone.Error()) || !strings.Contains(all, c.told) || all == "" {
			t.Errorf("%s: asked %d times, told\n%s", name, lookup.asked, all)
		}
	}
}

func TestValidateRendersPromptsForASampleEvent(t *testing.T) {
	template := "'{{.Cluster}} {{.Namespace}} {{.EventType}} {{.Reason}} {{.Message}}'"
	r := validate(t, hookText("a", "{eventType: oom-kill, agentId: medic, prompt: "+template+"}", "{eventType: oom-kill, agentId: kagent/sre, prompt: "+template+"}", "{eventType: pod-pending, agentId: nowhere/sre, prompt: Look}"))
	want := []SamplePrompt{
		{Hook: "shop/a", Config: "oom-kill-512a34bf", EventType: "oom-kill", Agent: "shop/medic", Field: "spec.eventConfigurations[0].prompt", Prompt: "prod shop oom-kill OOMKilled ⟦Container app was OOM-killed (exit code 137, memory limit 128Mi)⟧" + prompt.Notice},
		{Hook: "shop/a", Config: "oom-kill-c3d839c4", EventType: "oom-kill", Agent: "kagent/sre", Field: "spec.eventConfigurations[1].prompt", Prompt: "prod shop oom-kill OOMKilled ⟦Container app was OOM-killed (exit code 137, memory limit 128Mi)⟧" + prompt.Notice},
	}
	if diff := cmp.Diff(want, r.Prompts); diff != "" {
		t.Error(diff)
	}
}

func TestValidateIsBounded(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s*%c]\n", c, c, strings.Repeat(fmt.Sprintf("*%c,", c-1), 9), c-1)
	}
	merges := "a0: &a0 {x: 1}\n"
	for i := range 40 {
		merges += fmt.Sprintf("a%d: &a%d {<<: [*a%d, *a%d], y%d: 1}\n", i+1, i+1, i, i, i)
	}
	unknown := "metadata: {name: a}\n"
	for i := range 2_000 {
		unknown += fmt.Sprintf("field%d: x\n", i)
	}
	for name, tc := range map[string]struct{ text, want string }{
		"a text of more than 1 MiB": {strings.Repeat("#", 1<<20+1), "the text is larger than 1 MiB"},
		"aliases of aliases":        {bomb, "aliases (*name) make the document too large"},
		"an alias in itself":        {"a: &a [*a]\n", "an alias (*name) stands for something that holds it"},
		"a long text, often":        {"a: &a " + strings.Repeat("x", 100_000) + "\nb: [" + strings.Repeat("*a,", 10_000) + "]\n", "aliases (*name) make the document too large"},
		"merges of merges":          {merges, "aliases (*name) make the document too large"},
		"deep lists":                {strings.Repeat("[", 5_000) + strings.Repeat("]", 5_000), "nested more than 100 deep"},
		"deep JSON":                 {`{"a":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + "}", "nested more than 100 deep"},
		"many documents":            {strings.Repeat("---\na: b\n", 101), "there are more than 100 documents"},
		"many JSON documents":       {strings.Repeat("{}\n", 101), "there are more than 100 documents"},
		"many Hooks":                {"kind: List\nitems:\n" + strings.Repeat("- {kind: Hook}\n", 101), "there are more than 100 Hooks"},
		"many values":               {hookText("a", "{"+goodConfig+", selector: {matchExpressions: ["+strings.Repeat("{},", 200_000)+"]}}"), "this has more than 3000 values"},
		"many Hooks' mistakes":      {strings.Repeat("---\n"+hookText("a", "{}"+strings.Repeat("\n  - {}", 2_500)), 40), "there are too many mistakes"},
		"many findings":             {"apiVersion: kagent.dev/v1alpha2\nkind: Hook\n" + unknown, "more findings left out"},
	} {
		t.Run(name, func(t *testing.T) {
			r := validate(t, tc.text)
			if got := strings.Join(told(r.Errors), "\n"); !strings.Contains(got, tc.want) {
				t.Errorf("got %.2000s\nwant %q", got, tc.want)
			}
			bounded(t, []byte(tc.text), r)
		})
	}
	if r := validate(t, strings.Repeat("---\n"+hookText("a", "{"+goodConfig+"}"), 1)+strings.Repeat("---\n", 200)); !r.Valid {
		t.Error("empty documents count:", r.Errors)
	}
}

func TestValidateStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := Check(ctx, []byte(hookText("a", "{"+goodConfig+"}")), Options{})
	if r.Valid || !strings.Contains(r.Errors[0].Message, "there was no time") {
		t.Errorf("got %+v", r)
	}
}

// bounded holds what every report must be.
func bounded(t *testing.T, text []byte, r Report) {
	t.Helper()
	if r.Hooks == nil || r.Errors == nil || r.Warnings == nil || r.Prompts == nil {
		t.Error("a list is nil")
	}
	if r.Valid != (len(r.Errors) == 0) || r.Valid && len(r.Hooks) == 0 {
		t.Errorf("valid %t, with %d errors and %d Hooks", r.Valid, len(r.Errors), len(r.Hooks))
	}
	if len(r.Errors)+len(r.Warnings) > maxFindings || len(r.Hooks) > manifest.MaxDocuments || len(r.Prompts) > maxPrompts {
		t.Errorf("%d errors, %d warnings, %d Hooks, %d prompts", len(r.Errors), len(r.Warnings), len(r.Hooks), len(r.Prompts))
	}
	lines := strings.Count(string(text), "\n") + strings.Count(string(text), "\r") + 1
	for _, f := range append(append([]Finding{}, r.Errors...), r.Warnings...) {
		if f.Message == "" || f.Document < 1 || f.Line < 0 || f.Line > lines+1 ||
			len(f.Message) > incident.MaxMessage || len(f.Field) > maxField || len(f.Hook) > maxHookName {
			t.Errorf("text of %d lines: %+v", lines, f)
		}
	}
	for _, p := range r.Prompts {
		if len(p.Prompt) > delivery.MaxPrompt {
			t.Errorf("a prompt of %d bytes", len(p.Prompt))
		}
	}
}

func FuzzValidate(f *testing.F) {
	for _, text := range clusterManifests() {
		f.Add([]byte(text))
	}
	f.Add([]byte(hookText("a", "{"+goodConfig+"}") + "---\n" + jsonHook("b", "oom")))
	f.Add([]byte("kind: List\nitems: [*a, {kind: Hook}]\n"))
	f.Add([]byte("a: &a [*a]\n<<: *a\n"))
	f.Add([]byte("{\"a\": [1, {\"b\": 2, \"b\": null}]}{"))
	f.Fuzz(func(t *testing.T, text []byte) {
		bounded(t, text, Check(t.Context(), text, Options{Policy: lintPolicy}))
	})
}

// hugeTexts are texts of 256 KiB, each made of what takes the most memory in its own way.
func hugeTexts() map[string]string {
	fill := func(before, piece, after string) string {
		return before + strings.Repeat(piece, (256<<10-len(before)-len(after))/len(piece)) + after
	}
	head := "apiVersion: kagent.dev/v1alpha2\nkind: Hook\nmetadata: {name: a}\nspec:\n"
	configs := func(prompt string) string {
		one := "  - {eventType: oom-kill, agentId: kagent/medic, prompt: " + prompt + "}\n"
		hook := head + "  eventConfigurations:\n" + strings.Repeat(one, max(1, min(hook.MaxConfigs, 12_000/len(one)))) + "---\n"
		return fill("", hook, "")
	}
	quoted := func(prompt string) string { text, _ := json.Marshal(prompt); return string(text) }
	return map[string]string{
		"empty lists":       fill(head+"  a: [", "[],", "[]]\n"),
		"numbers":           fill(head+"  a: [", "1,", "1]\n"),
		"empty maps":        fill(head+"  a: [", "{},", "{}]\n"),
		"keys":              fill(head+"  a: {", "a: 1,", "b: 1}\n"),
		"deep":              fill(head+"  a: ", "[", "\n"),
		"JSON numbers":      fill(`{"apiVersion": "kagent.dev/v1alpha2", "kind": "Hook", "spec": {"a": [`, "1,", "1]}}"),
		"JSON maps":         fill(`{"apiVersion": "kagent.dev/v1alpha2", "kind": "Hook", "spec": {"a": [`, `{"":{}},`, "1]}}"),
		"aliases":           fill(head+"  a: &a [1,1,1,1,1,1,1,1]\n  b: [", "*a,", "*a]\n"),
		"documents":         fill("", "---\na: 1\n", ""),
		"bombs":             configs(quoted(hooktest.PromptBombs()["in a branch"])),
		"long prompts":      configs(quoted(strings.Repeat("{{.EventMessage | quote}}", 390))),
		"prompts that grow": configs(quoted(`{{$x := "` + strings.Repeat("a", 99) + `"}}` + strings.Repeat("{{$x = print $x $x}}", 8) + "{{$x}}")),
		"braces":            configs(quoted("{{" + strings.Repeat("(", 9_900))),
		"conditions":        configs(quoted(strings.Repeat("{{if .Count}}", 760))),
		"match":             configs(`x, match: "` + hooktest.MatchBombs["fewer doubling types"].Text + `"`),
		"match that ends":   configs(`x, match: "` + hooktest.MatchBombs["large pattern"].Text + `"`),
	}
}

func TestValidateNeedsBoundedMemoryForAnyText(t *testing.T) {
	if _, err := hookSchema(); err != nil {
		t.Fatal(err)
	}
	for name, text := range hugeTexts() {
		t.Run(name, func(t *testing.T) {
			var report Report
			took := capacitytest.Allocated(t, func() { report = Check(t.Context(), []byte(text), Options{Policy: lintPolicy}) })
			answer, err := json.Marshal(report)
			if took > 384<<20 || err != nil || len(answer) > 1<<20 {
				t.Errorf("%d MiB allocated for %d KiB of text, answer of %d KiB, %v", took>>20, len(text)>>10, len(answer)>>10, err)
			}
		})
	}
}

var lintPolicy = hook.Policy{AgentNamespaces: []string{"kagent"}}
