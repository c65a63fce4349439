package lint

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/kubetest"
)

// manifestOf is a Hook of one configuration; more is written into it.
func manifestOf(config string) string {
	return "apiVersion: kagent.dev/v1alpha2\nkind: Hook\nmetadata: {name: cart, namespace: default}\nspec:\n  eventConfigurations:\n  - {" + config + "}\n"
}

const goodConfig = "eventType: oom-kill, agentId: kagent/medic, prompt: Look"

// clusterManifests are texts of one Hook, which the API server and Check must judge alike.
func clusterManifests() map[string]string {
	const head = "apiVersion: kagent.dev/v1alpha2\nkind: Hook\n"
	const spec = "\nspec: {eventConfigurations: [{" + goodConfig + "}]}\n"
	texts := map[string]string{
		"good":                  manifestOf(goodConfig),
		"good JSON":             "{\n\t\"apiVersion\": \"kagent.dev/v1alpha2\", \"kind\": \"Hook\",\n\t\"metadata\": {\"name\": \"cart\", \"namespace\": \"default\"},\n\t\"spec\": {\"eventConfigurations\": [{\"eventType\": \"oom-kill\", \"agentId\": \"kagent/medic\", \"prompt\": \"\\ud83d\\ude00 \\/ x\"}]}\n}",
		"JSON twice a key":      `{"apiVersion": "kagent.dev/v1alpha2", "kind": "Hook", "kind": "Hook", "metadata": {"name": "cart"}, "spec": {"eventConfigurations": [{"eventType": "oom-kill", "agentId": "kagent/medic", "prompt": "x"}]}}`,
		"broken JSON":           `{"apiVersion": "kagent.dev/v1alpha2", "kind": `,
		"YAML in braces":        "{apiVersion: kagent.dev/v1alpha2, kind: Hook, metadata: {name: cart}, spec: {eventConfigurations: [{" + goodConfig + "}]}}",
		"twice a key":           head + "metadata: {name: cart}\nmetadata: {name: cart}" + spec,
		"twice a label":         head + "metadata: {name: cart, labels: {a: b, a: c}}" + spec,
		"merged keys":           head + "metadata: {name: cart}\nspec:\n  eventConfigurations:\n  - &first {" + goodConfig + "}\n  - {<<: *first, eventType: pod-restart}\n",
		"an anchor in an extra": head + "x-common: &c {a: b}\nmetadata: {name: cart}" + spec,
		"tabs":                  head + "metadata:\n\tname: cart" + spec,
		"no apiVersion":         "kind: Hook\nmetadata: {name: cart}" + spec,
		"other version":         "apiVersion: kagent.dev/v1\nkind: Hook\nmetadata: {name: cart}" + spec,
		"other kind":            "apiVersion: kagent.dev/v1alpha2\nkind: Hooks\nmetadata: {name: cart}" + spec,
		"kind of a number":      "apiVersion: kagent.dev/v1alpha2\nkind: 3\nmetadata: {name: cart}" + spec,
		"no metadata":           head + spec,
		"no name":               head + "metadata: {namespace: default}" + spec,
		"generated name":        head + "metadata: {generateName: cart-}" + spec,
		"long generated name":   head + "metadata: {generateName: " + strings.Repeat("a", 100) + "}" + spec,
		"bad generated name":    head + "metadata: {generateName: Cart-}" + spec,
		"upper-case name":       head + "metadata: {name: Cart}" + spec,
		"name with a slash":     head + "metadata: {name: a/b}" + spec,
		"dotted name":           head + "metadata: {name: a.b}" + spec,
		"name of a number":      head + "metadata: {name: 12}" + spec,
		"long name":             head + "metadata: {name: " + strings.Repeat("a", 254) + "}" + spec,
		"empty name":            head + "metadata: {name: ''}" + spec,
		"null name":             head + "metadata: {name: null}" + spec,
		"metadata a list":       head + "metadata: []" + spec,
		"unknown metadata":      head + "metadata: {name: cart, lables: {a: b}}" + spec,
		"labels":                head + "metadata: {name: cart, labels: {app.kubernetes.io/name: cart}}" + spec,
		"bad label":             head + "metadata: {name: cart, labels: {app: 'a b'}}" + spec,
		"bad label key":         head + "metadata: {name: cart, labels: {'a b': c}}" + spec,
		"label of a number":     head + "metadata: {name: cart, labels: {app: 3}}" + spec,
		"bad annotation key":    head + "metadata: {name: cart, annotations: {'a b': c}}" + spec,
		"bad finalizer":         head + "metadata: {name: cart, finalizers: ['a b']}" + spec,
		"bad owner":             head + "metadata: {name: cart, ownerReferences: [{name: x}]}" + spec,
		"bad time":              head + "metadata: {name: cart, creationTimestamp: soon}" + spec,
		"empty time":            head + "metadata: {name: cart, creationTimestamp: null}" + spec,
		"no spec":               head + "metadata: {name: cart}\n",
		"null spec":             head + "metadata: {name: cart}\nspec: null\n",
		"spec a text":           head + "metadata: {name: cart}\nspec: look\n",
		"unknown at the top":    head + "metadata: {name: cart}\nspecs: {}" + spec,
		"status":                head + "metadata: {name: cart}\nstatus: {active: 1}" + spec,
		"wrong status":          head + "metadata: {name: cart}\nstatus: {active: many}" + spec,
		"unknown status":        head + "metadata: {name: cart}\nstatus: {activ: 1}" + spec,
		"no configurations":     head + "metadata: {name: cart}\nspec: {}\n",
		"null configurations":   head + "metadata: {name: cart}\nspec: {eventConfigurations: null}\n",
		"empty configurations":  head + "metadata: {name: cart}\nspec: {eventConfigurations: []}\n",
		"configurations a map":  head + "metadata: {name: cart}\nspec: {eventConfigurations: {a: b}}\n",
		"a null configuration":  head + "metadata: {name: cart}\nspec: {eventConfigurations: [null]}\n",
		"configuration a text":  head + "metadata: {name: cart}\nspec: {eventConfigurations: [look]}\n",
		"too many":              head + "metadata: {name: cart}\nspec:\n  eventConfigurations:\n" + strings.Repeat("  - {"+goodConfig+"}\n", 51),
		"as many as allowed":    head + "metadata: {name: cart}\nspec:\n  eventConfigurations:\n" + strings.Repeat("  - {"+goodConfig+"}\n", 50),
		"suspend yes":           head + "metadata: {name: cart}\nspec: {suspend: yes, eventConfigurations: [{" + goodConfig + "}]}\n",
		"suspend in quotes":     head + "metadata: {name: cart}\nspec: {suspend: 'true', eventConfigurations: [{" + goodConfig + "}]}\n",
		"no tokens":             head + "metadata: {name: cart}\nspec: {maxTokensPerDay: 0, eventConfigurations: [{" + goodConfig + "}]}\n",
		"tokens":                head + "metadata: {name: cart}\nspec: {maxTokensPerDay: 9007199254740993, eventConfigurations: [{" + goodConfig + "}]}\n",
		"suspend null":          head + "metadata: {name: cart}\nspec: {suspend: null, eventConfigurations: [{" + goodConfig + "}]}\n",
		"onePerCause null":      head + "metadata: {name: cart}\nspec: {onePerCause: null, eventConfigurations: [{" + goodConfig + "}]}\n",
		"unknown in spec":       head + "metadata: {name: cart}\nspec: {suspended: true, eventConfigurations: [{" + goodConfig + "}]}\n",
	}
	for _, config := range []string{
		"agentId: kagent/medic, prompt: Look",
		"eventType: oom, agentId: kagent/medic, prompt: Look",
		"eventType: null, agentId: kagent/medic, prompt: Look",
		"eventType: '', agentId: kagent/medic, prompt: Look",
		"eventType: " + strings.Repeat("x", 65) + ", agentId: kagent/medic, prompt: Look",
		"eventType: oom-kill, prompt: Look",
		"eventType: oom-kill, agentId: null, prompt: Look",
		"eventType: oom-kill, agentId: '', prompt: Look",
		"eventType: oom-kill, agentId: a/b/c, prompt: Look",
		"eventType: oom-kill, agentId: Medic, prompt: Look",
		"eventType: oom-kill, agentId: kagent/, prompt: Look",
		"eventType: oom-kill, agentId: yes, prompt: Look",
		"eventType: oom-kill, agentRef: {name: medic}, prompt: Look",
		"eventType: oom-kill, agentRef: {name: medic, namespace: ''}, prompt: Look",
		"eventType: oom-kill, agentRef: {name: ''}, prompt: Look",
		"eventType: oom-kill, agentRef: {}, prompt: Look",
		"eventType: oom-kill, agentRef: null, prompt: Look",
		"eventType: oom-kill, agentRef: {name: medic, namespace: Kagent}, prompt: Look",
		"eventType: oom-kill, agentRef: {name: medic, kind: Agent}, prompt: Look",
		"eventType: oom-kill, agentId: kagent/medic, agentRef: {name: medic}, prompt: Look",
		"eventType: oom-kill, agentId: kagent/medic",
		"eventType: oom-kill, agentId: kagent/medic, prompt: ''",
		"eventType: oom-kill, agentId: kagent/medic, prompt: 3",
		"eventType: oom-kill, agentId: kagent/medic, prompt: yes",
		"eventType: oom-kill, agentId: kagent/medic, prompt: " + strings.Repeat("ü", 10_000),
		"eventType: oom-kill, agentId: kagent/medic, prompt: " + strings.Repeat("x", 10_001),
		goodConfig + ", promt: x",
		goodConfig + ", groupWait: 0s",
		goodConfig + ", groupWait: -1s",
		goodConfig + ", groupWait: 1h",
		goodConfig + ", groupWait: 1h1s",
		goodConfig + ", groupWait: soon",
		goodConfig + ", verifyWindow: 1s",
		goodConfig + ", verifyWindow: 0s",
		goodConfig + ", verifyWindow: 25h",
		goodConfig + ", evenIfRecovered: true",
		goodConfig + ", evenIfRecovered: 'true'",
		goodConfig + ", maxCallsPerHour: 0",
		goodConfig + ", dedupWindow: 1s",
		goodConfig + ", dedupWindow: 999ms",
		goodConfig + ", dedupWindow: 24h",
		goodConfig + ", dedupWindow: 24h0m1s",
		goodConfig + ", dedupWindow: soon",
		goodConfig + ", dedupWindow: 1d",
		goodConfig + ", dedupWindow: ''",
		goodConfig + ", dedupWindow: 60",
		goodConfig + ", dedupWindow: -1h",
		goodConfig + ", dedupWindow: 99999999999h",
		goodConfig + ", dedupWindow: null",
		goodConfig + ", timeout: 10s",
		goodConfig + ", timeout: 9s",
		goodConfig + ", timeout: 1.5h",
		goodConfig + ", stallAfter: 1m",
		goodConfig + ", stallAfter: 59s",
		goodConfig + ", stallAfter: 24h1s",
		goodConfig + ", onStall: retry",
		goodConfig + ", onStall: restart",
		goodConfig + ", onStall: ''",
		goodConfig + ", groupBy: node",
		goodConfig + ", groupBy: pod",
		goodConfig + ", groupBy: ''",
		goodConfig + ", groupBy: null",
		goodConfig + ", maxCallsPerHour: 0",
		goodConfig + ", maxCallsPerHour: 1",
		goodConfig + ", maxCallsPerHour: 10000",
		goodConfig + ", maxCallsPerHour: 10001",
		goodConfig + ", maxCallsPerHour: 99999999999999999999",
		goodConfig + ", maxCallsPerHour: 2.0",
		goodConfig + ", maxCallsPerHour: 2.5",
		goodConfig + ", maxCallsPerHour: '2'",
		goodConfig + ", maxCallsPerHour: .nan",
		goodConfig + ", maxCallsPerHour: 0x10",
		goodConfig + ", match: ''",
		goodConfig + ", match: 3",
		goodConfig + ", match: " + strings.Repeat("x", 1025),
		goodConfig + ", selector: {}",
		goodConfig + ", selector: {matchLabels: {app: cart}}",
		goodConfig + ", selector: {matchLabels: {app: 3}}",
		goodConfig + ", selector: {matchLabel: {app: cart}}",
		goodConfig + ", selector: {matchLabels: {app: null}}",
		goodConfig + ", selector: {matchExpressions: [{key: a}]}",
		goodConfig + ", selector: {matchExpressions: [{key: a, operator: Exists}]}",
		goodConfig + ", selector: {matchExpressions: [{key: a, operator: In, values: [1]}]}",
		goodConfig + ", selector: app",
	} {
		name := config
		if len(name) > 100 {
			name = fmt.Sprintf("%s... (%d bytes)", name[:60], len(name))
		}
		texts[name] = manifestOf(config)
	}
	return texts
}

// kubectlOnly are the texts that kubectl makes fit before the API server sees them.
var kubectlOnly = map[string]bool{"merged keys": true}

func TestValidateAgreesWithTheAPIServer(t *testing.T) {
	env, err := kubetest.Start(filepath.Join("..", "..", "config", "crd"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(env.Stop)
	server := hookClient(t, env.Config)
	for name, text := range clusterManifests() {
		t.Run(name, func(t *testing.T) {
			refused := dryRun(t.Context(), server, text)
			report := Check(t.Context(), []byte(text), Options{Policy: lintPolicy})
			if accepted := refused == nil || kubectlOnly[name]; accepted != report.Valid {
				t.Errorf("valid %t, but the API server says %v\n%v", report.Valid, refused, report.Errors)
			}
			for _, e := range report.Errors {
				if e.Line < 1 || e.Line > strings.Count(text, "\n")+1 || e.Message == "" {
					t.Errorf("not a line of the text, or no message: %+v", e)
				}
			}
		})
	}
}

func hookClient(t *testing.T, config *rest.Config) rest.Interface {
	t.Helper()
	c := rest.CopyConfig(config)
	c.GroupVersion = &v1alpha2.SchemeGroupVersion
	c.APIPath = "/apis"
	c.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	server, err := rest.RESTClientFor(c)
	if err != nil {
		t.Fatal(err)
	}
	return server
}

// dryRun creates what the text says in a dry run with strict field validation; the text is sent
// as it is.
func dryRun(ctx context.Context, server rest.Interface, text string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	contentType := "application/yaml"
	if strings.HasPrefix(text, "{\"") || strings.HasPrefix(text, "{\n\t\"") {
		contentType = "application/json"
	}
	return server.Post().Namespace("default").Resource("hooks").
		Param("dryRun", "All").Param("fieldValidation", "Strict").
		SetHeader("Content-Type", contentType).Body([]byte(text)).Do(ctx).Error()
}
