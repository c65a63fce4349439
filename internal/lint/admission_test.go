package lint

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/kubetest"
	"github.com/kagent-dev/khook/internal/prompt"
)

// admission is an API server with the CRD and the chart's admission lintPolicy, and with a Hook "old" that
// was there before the lintPolicy, which would refuse it.
func admission(t *testing.T) rest.Interface {
	t.Helper()
	env, err := kubetest.Start(filepath.Join("..", "..", "config", "crd"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(env.Stop)
	clients, err := kubernetes.NewForConfig(env.Config)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "charts", "khook", "files", "policy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	old := strings.Replace(hookOf("from before: {{.Pod}}"), `"cart"`, `"old"`, 1)
	server := hookClient(t, env.Config)
	if err := server.Post().Namespace("default").Resource("hooks").Body([]byte(old)).Do(t.Context()).Error(); err != nil {
		t.Fatal(err)
	}
	vap := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "khook"}}
	if err := yaml.UnmarshalStrict([]byte(strings.Replace(string(text), "expression: ALLOWED", `expression: '["kagent"]'`, 1)), &vap.Spec); err != nil {
		t.Fatal(err)
	}
	if _, err := clients.AdmissionregistrationV1().ValidatingAdmissionPolicies().Create(t.Context(), vap, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "khook"}, Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
		PolicyName: "khook", ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny}}}
	if _, err := clients.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		return dryRun(ctx, server, hookOf("{{.Foo}}")) != nil, nil
	}); err != nil {
		t.Fatalf("the policy does not come into force: %v", err)
	}
	return server
}

// hookOf is a Hook with a configuration for each prompt.
func hookOf(prompts ...string) string {
	var b strings.Builder
	b.WriteString("{\"apiVersion\": \"kagent.dev/v1alpha2\", \"kind\": \"Hook\", \"metadata\": {\"name\": \"cart\", \"namespace\": \"default\"}, \"spec\": {\"eventConfigurations\": [")
	for i, p := range prompts {
		if i > 0 {
			b.WriteString(", ")
		}
		text, _ := json.Marshal(p)
		fmt.Fprintf(&b, `{"eventType": "oom-kill", "agentId": "kagent/medic", "prompt": %s}`, text)
	}
	b.WriteString("]}}")
	return b.String()
}

func TestTheAdmissionPolicy(t *testing.T) {
	server := admission(t)
	for name, test := range map[string]func(*testing.T, rest.Interface){
		"refuses what can't work, and says why":         whatAdmissionRefuses,
		"refuses nothing that khook accepts":            whatKhookAccepts,
		"knows each variable":                           eachVariable,
		"does not refuse a Hook for its size":           bigHooks,
		"lets a Hook from before change in other parts": hookFromBefore,
	} {
		t.Run(name, func(t *testing.T) { test(t, server) })
	}
}

func eachVariable(t *testing.T, server rest.Interface) {
	for _, name := range prompt.VariableNames() {
		if err := dryRun(t.Context(), server, hookOf("Look at {{."+name+"}}")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func whatAdmissionRefuses(t *testing.T, server rest.Interface) {
	for template, want := range map[string]string{
		"Look at {{.Pod}}":                                  "spec.eventConfigurations[0].prompt has .Pod, which khook does not know. A prompt can use the variables .Cluster, ",
		`{{if eq .Reason ".Pod"}}{{ .Nod }}{{end}}`:         "has .Nod,",
		"{{/* .Pod */}}{{- .Reason | shout -}}":             "has shout,",
		"{{range .Reason}}x{{end}}":                         "has range,",
		"{{with .Reason}}x{{end}}":                          "has with,",
		`{{define "a"}}x{{end}}`:                            "has define,",
		"{{$.Pod}} {{.Reason}}":                             "has $.Pod,",
		"{{env \"HOME\"}}":                                  "has env,",
		"Restarted: {{.Reason":                              "has {{ without }},",
		`{{define "prompt"}}Look.{{end}}`:                   "has define,",
		`{{define "prompt"}}{{end}}Look.`:                   "has define,",
		"⟦{{.Reason}}⟧":                                     "mark what the cluster says",
		"{{ printf \"%s {{ .A }}\" .Reason }}{{ .Reason2}}": "has .Reason2,",
	} {
		err := dryRun(t.Context(), server, hookOf("Good: {{.Reason}}", template))
		want = strings.Replace(want, "[0]", "[1]", 1)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", template, err)
		}
		if _, err := prompt.Parse(template); err == nil {
			t.Errorf("%s: khook itself takes it", template)
		}
	}
	for config, want := range map[string]string{
		"agentId: other/medic":                            "spec.eventConfigurations[0] names an agent in namespace other: use an agent in default or kagent",
		"agentRef: {name: medic, namespace: kube-system}": "names an agent in namespace kube-system",
		"agentId: kagent/medic":                           "",
		"agentId: default/medic":                          "",
		"agentId: medic":                                  "",
		"agentRef: {name: medic}":                         "",
		"agentRef: {name: medic, namespace: kagent}":      "",
	} {
		err := dryRun(t.Context(), server, manifestOf("eventType: oom-kill, prompt: x, "+config))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", config, err)
		}
	}
}

func whatKhookAccepts(t *testing.T, server rest.Interface) {
	for name, text := range clusterManifests() {
		err := dryRun(t.Context(), server, text)
		if report := Check(t.Context(), []byte(text), Options{Policy: lintPolicy}); report.Valid && err != nil && !kubectlOnly[name] {
			t.Errorf("%s: %v", name, err)
		}
	}
	var good []string
	candidates := rapid.Custom(randomPrompt)
	for seed := 0; len(good) < 2000; seed++ {
		if p := candidates.Example(seed); accepts(p) {
			good = append(good, p)
		}
	}
	for part := range slices.Chunk(good, hook.MaxConfigs) {
		if dryRun(t.Context(), server, hookOf(part...)) == nil {
			continue
		}
		for _, p := range part { // which one?
			if err := dryRun(t.Context(), server, hookOf(p)); err != nil {
				t.Errorf("khook takes %q, and admission says %v", p, err)
			}
		}
	}
}

func accepts(template string) bool {
	_, err := prompt.Parse(template)
	return err == nil && len([]rune(template)) <= prompt.MaxLength
}

// randomPrompt is made of pieces of which most fit together.
func randomPrompt(t *rapid.T) string {
	one := func(of ...string) string { return rapid.SampledFrom(of).Draw(t, "piece") }
	var b strings.Builder
	for range rapid.IntRange(1, 4).Draw(t, "pieces") {
		arg := one(".Reason", ".Pod", "$.Message", `"{{ .Pod }}"`, "`a \"b .Pod`", `"\"}} .Pod"`, "(upper .Reason)", ".Count", "1.5", "'\"'", "0x1F", "($).Reason", "nil", "true")
		open, end := one("{{", "{{- ", "{{ ", "{{\n"), one("}}", " -}}", " }}", "\n}}")
		b.WriteString(one(
			"plain text ", "} } { {", "it's \"quoted\" ", "{{/* \" .Pod {{ */}}", "{{- /* ' ` */ -}}", "{{if .Reason}}", "{{else}}", "{{else if .Node}}", "{{end}}", "{{if .Node}}a{{else}}b{{end}}",
			open+arg+end, open+"print "+arg+" "+one(".Node", `".Foo"`, "12")+end, open+arg+" | lower | "+one("trim", "quote", "html", `printf "%s .X"`)+end,
			open+"printf "+one(`"%v {{.X}}"`, "`%v`", `"}}%v"`)+" "+arg+end, "{{$x := "+arg+"}}{{$x}}", open+"if and "+arg+" (eq .Reason "+one(`"a.Foo"`, "`x`")+")"+end+"y{{end}}", "{{range .Reason}}z{{end}}",
			owned(one("$ä", "$größe", "$ж1", "$_x", "$名前", "$Reason", "$if", "$x٣"), arg, open, end), one(`{{define "prompt"}}`, `{{define "a"}}`, `{{block "prompt" .Reason}}`, `{{template "prompt"}}`),
			open+"`raw\n{{ \\ .Pod`"+end, open+`printf "%[1]q \x41\"}} .Pod" `+arg+end, "{{- 3 -}}", "{{-3}}", "{{1+2i}}", open+`eq .Count 1e+5 0x1p-2 +7 .5 '\u00e9' '\''`+end, "{{`a` | /* no */ print}}", "{{/* a */ -}}", "ä $ä {{`ä`}}",
		))
	}
	return b.String()
}

// owned declares, changes and uses a variable of the prompt.
func owned(name, value, open, end string) string {
	return open + name + " := " + value + end + "{{if " + name + "_1 := " + name + "}}{{" + name + "_1}}{{" + name + " = `x`}}{{end}}" + open + name + "|print " + name + end
}

// bigHooks: what costs more than admission allows passes.
func bigHooks(t *testing.T, server rest.Interface) {
	for _, piece := range []string{"{{.Reason}} ", "{ ", "{{/* x */}}", `{{print "a" .Reason}}`} {
		prompt := strings.Repeat(piece, prompt.MaxLength/len(piece)-1)
		if !accepts(prompt + "x") {
			t.Fatalf("%q is not accepted", piece)
		}
		if err := dryRun(t.Context(), server, hookOf(slices.Repeat([]string{prompt + "x"}, hook.MaxConfigs)...)); err != nil {
			t.Errorf("%d prompts of %q: %v", hook.MaxConfigs, piece, err)
		}
	}
}

// hookFromBefore: what an update leaves as it was is not looked at.
func hookFromBefore(t *testing.T, server rest.Interface) {
	patch := func(text string) error {
		return server.Patch(types.MergePatchType).Namespace("default").Resource("hooks").Name("old").Param("dryRun", "All").Body([]byte(text)).Do(t.Context()).Error()
	}
	if err := patch(`{"metadata": {"labels": {"team": "sre"}}, "spec": {"suspend": true}}`); err != nil {
		t.Errorf("what is beside its prompt can't be changed: %v", err)
	}
	if err := patch(`{"spec": {"eventConfigurations": [{"eventType": "oom-kill", "agentId": "kagent/medic", "prompt": "{{.Pods}}"}]}}`); err == nil {
		t.Error("a new prompt is not looked at")
	}
}
