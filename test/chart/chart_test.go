// Package chart tests khook's Helm chart: with a real helm, and a real API server that judges all
// that it renders.
package chart

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

const (
	chart    = "../../charts/khook"
	original = "../original/values.yaml"
)

// everything turns on all that is off.
var everything = []string{
	"--set", "namespace.create=true", "--set", "metrics.serviceMonitor.enabled=true,metrics.prometheusRule.enabled=true,metrics.dashboard.enabled=true",
	"--set", "networkPolicy.restrictEgress=true,rbac.editor.aggregate=true,api.tls.secretName=tls,metrics.secure=true,kagent.tokenSecret.name=token,kagent.caSecret.name=ca",
	"--set-json", `topologySpreadConstraints=[{"maxSkew":1,"topologyKey":"kubernetes.io/hostname","whenUnsatisfiable":"ScheduleAnyway"}]`,
}

// helm runs helm on the chart.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	if os.Getenv("HELM") == "" {
		t.Fatal(`HELM is not set: run "make test", or set it to a helm program`)
	}
	cmd := exec.CommandContext(t.Context(), os.Getenv("HELM"), args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%w: %s", err, errs.String())
	}
	return out.String(), nil
}

// render is what the chart makes of some values.
func render(t *testing.T, args ...string) string {
	t.Helper()
	out, err := helm(t, append([]string{"template", "khook", chart, "-n", "kagent"}, args...)...)
	if err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	return out
}

// objects are those of a rendered chart.
func objects(t *testing.T, text string) []*unstructured.Unstructured {
	t.Helper()
	var found []*unstructured.Unstructured
	for decoder := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096); ; {
		obj := &unstructured.Unstructured{}
		err := decoder.Decode(&obj.Object)
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(obj.Object) > 0 {
			found = append(found, obj)
		}
	}
}

// named is the object of a kind and a name.
func named(t *testing.T, all []*unstructured.Unstructured, kind, name string) *unstructured.Unstructured {
	t.Helper()
	for _, o := range all {
		if o.GetKind() == kind && o.GetName() == name {
			return o
		}
	}
	t.Fatalf("there is no %s %s", kind, name)
	return nil
}

func TestLint(t *testing.T) {
	for name, args := range map[string][]string{"defaults": nil, "everything": everything, "the original's values": {"-f", original}, "one namespace": {"--set", "watchNamespaces={shop}"}} {
		if out, err := helm(t, append([]string{"lint", "--strict", chart}, args...)...); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

func TestWrongValuesAreRefusedWithWhatIsWrong(t *testing.T) {
	for set, want := range map[string]string{
		"persistance.enabled=false":                   "additional properties 'persistance' not allowed",
		"kagent.apiURL=http://x":                      "additional properties 'apiURL' not allowed",
		"kagent.apiUrl=kagent:8083":                   "at '/kagent/apiUrl': 'kagent:8083' does not match pattern '^https?://",
		"kagent.timeout=30":                           "at '/kagent/timeout': got number, want string",
		"retention=7w":                                "at '/retention': '7w' does not match pattern",
		"controller.logLevel=loud":                    "at '/controller/logLevel': value must be one of",
		"metrics.port=http":                           "at '/metrics/port': got string, want integer",
		"metrics.port=70000":                          "at '/metrics/port': maximum:",
		"replicaCount=-1":                             "at '/replicaCount': minimum:",
		"persistence.size=big":                        "at '/persistence/size'",
		"agentNamespaces=kagent":                      "at '/agentNamespaces': got string, want array",
		"watchNamespaces={Shop}":                      "at '/watchNamespaces/0'",
		"image.tag=a b":                               "at '/image/tag'",
		"image.digest=1234":                           "at '/image/digest'",
		"api.auth=none":                               "at '/api/auth': value must be one of",
		"config.kagent-url=http://x":                  "at '/config': additional properties 'kagent-url' not allowed",
		"config.pendingAfter=2m":                      "at '/config': additional properties 'pendingAfter' not allowed",
		"config.pending-afer=2m":                      "at '/config': additional properties 'pending-afer' not allowed",
		"config.pending-after=2":                      "at '/config/pending-after': got number, want string",
		"config.agent-concurrency=few":                "at '/config/agent-concurrency': got string, want integer",
		"maxCallsPerHour=-5":                          "at '/maxCallsPerHour': minimum:",
		"controller.deduplication.timeoutMinutes=0":   "at '/controller/deduplication/timeoutMinutes': minimum:",
		"metrics.prometheusRule.disabled={WatchDown}": "at '/metrics/prometheusRule/disabled/0'",
		"podDisruptionBudget.maxUnavailable=0":        "at '/podDisruptionBudget/maxUnavailable'",
		"extraEnv=X":                                  "at '/extraEnv': got string, want array",
	} {
		_, err := helm(t, "template", "khook", chart, "--set", set)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, and not %q", set, err, want)
		}
	}
}

// TestTheChartsRightsAreThoseThatTheCodeAsksFor compares them with what is generated from the markers beside
// the code, with which all other tests run.
func TestTheChartsRightsAreThoseThatTheCodeAsksFor(t *testing.T) {
	text, err := os.ReadFile("../../config/rbac/role.yaml")
	if err != nil {
		t.Fatal(err)
	}
	code, all := objects(t, string(text)), objects(t, render(t, "--set", "api.tls.mode=self-signed,database.url=postgres://khook@db/khook"))
	for _, pair := range []struct{ code, chart []*unstructured.Unstructured }{
		{ofKind(code, "ClusterRole", "khook"), ofKind(all, "ClusterRole", "khook")},
		{ofKind(code, "Role", "khook"), ofKind(all, "Role", "khook-leader-election", "khook-ca")},
	} {
		if diff := cmp.Diff(rights(t, pair.code...), rights(t, pair.chart...)); diff != "" {
			t.Errorf("%s (-code +chart)\n%s", pair.chart[0].GetKind(), diff)
		}
	}
}

// ofKind are the objects of a kind that have one of some names.
func ofKind(all []*unstructured.Unstructured, of string, names ...string) []*unstructured.Unstructured {
	return slices.DeleteFunc(slices.Clone(all), func(o *unstructured.Unstructured) bool {
		return o.GetKind() != of || !slices.Contains(names, o.GetName())
	})
}

// rights are the single things that roles allow, ordered.
func rights(t *testing.T, roles ...*unstructured.Unstructured) []string {
	t.Helper()
	var found []string
	for _, role := range roles {
		for _, rule := range decodeInto[rbacv1.ClusterRole](t, role).Rules {
			for _, verb := range rule.Verbs {
				for _, group := range rule.APIGroups {
					for _, res := range rule.Resources {
						found = append(found, strings.TrimSpace(fmt.Sprintf("%s %s/%s %s", verb, group, res, strings.Join(rule.ResourceNames, " "))))
					}
				}
				for _, path := range rule.NonResourceURLs {
					found = append(found, verb+" "+path)
				}
			}
		}
	}
	slices.Sort(found)
	return found
}

// decodeInto is an object as its type.
func decodeInto[T any](t *testing.T, o *unstructured.Unstructured) T {
	t.Helper()
	var typed T
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &typed); err != nil {
		t.Fatal(err)
	}
	return typed
}

func TestForSomeNamespacesThereAreRolesOnly(t *testing.T) {
	all := objects(t, render(t, "--set", "watchNamespaces={shop,pay},crds.install=false,admissionPolicy.enabled=false"))
	in := map[string]int{}
	for _, o := range all {
		if o.GetNamespace() == "" {
			t.Errorf("%s %s is in no namespace", o.GetKind(), o.GetName())
		}
		in[o.GetNamespace()+" "+o.GetKind()]++
	}
	for what, n := range map[string]int{"shop Role": 7, "pay Role": 7, "shop RoleBinding": 1, "pay RoleBinding": 1, "kagent Role": 2, "kagent Deployment": 1} {
		if in[what] != n {
			t.Errorf("%d %s, not %d", in[what], what, n)
		}
	}
	config := chartFlags(t, all)
	if config["api-auth"] != "caller" || fmt.Sprint(config["namespaces"]) != "[shop pay]" {
		t.Errorf("flags %v", config)
	}
}

// chartFlags are those that khook is given.
func chartFlags(t *testing.T, all []*unstructured.Unstructured) map[string]any {
	t.Helper()
	text, _, err := unstructured.NestedString(named(t, all, "ConfigMap", "khook-config").Object, "data", "khook.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := yaml.Unmarshal([]byte(text), &config); err != nil {
		t.Fatal(err)
	}
	return config
}

// TestKhookUnderstandsItsFlags gives khook what the chart makes of most values: it gets as far as to look for a
// cluster.
func TestKhookUnderstandsItsFlags(t *testing.T) {
	program := khook(t)
	for name, args := range map[string][]string{
		"defaults": nil, "everything": everything, "the original's values": {"-f", original}, "one namespace": {"--set", "watchNamespaces={shop}"},
		"no metrics and no API": {"--set", "metrics.enabled=false,api.enabled=false"}, "TLS of its own": {"--set", "api.tls.mode=self-signed"},
		"secure metrics only": {"--set", "api.enabled=false,metrics.secure=true"}, "secure metrics by cert-manager": {"--set", "metrics.secure=true,api.tls.mode=cert-manager"},
		"several replicas": {"--set", "replicaCount=3,database.url=postgres://khook@db/khook,api.tls.mode=self-signed"},
		"the rest": {"--set", "cluster=prod,agentNamespaces={*},kagent.dialect=kagent-1.0,kagent.headers.X-Team=sre,maxCallsPerHour=7,retention=7d",
			"--set", "config.pending-after=2m,config.quiet-after=1d,config.api-pprof=true,config.agent-concurrency=3", "--set-json", "config.api-rate-limit=12.5"},
		"who may call, and how": {"--set", "api.audiences={khook,https://kubernetes.default.svc},api.allowedHosts={khook.example.com},api.trustedProxies={10.0.0.0/8},allowPlainValues=true"},
	} {
		text, err := yaml.Marshal(chartFlags(t, objects(t, render(t, args...))))
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "khook.yaml")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), program, "controller", "--config", file, "--kubeconfig", "/no/such/file").CombinedOutput()
		if err == nil || !strings.Contains(string(out), "find a cluster") {
			t.Errorf("%s: %v, %s", name, err, out)
		}
	}
}

// TestEachFlagIsAValueOrANameInConfig: what khook controller has, the chart can set, in one place.
func TestEachFlagIsAValueOrANameInConfig(t *testing.T) {
	help, err := exec.CommandContext(t.Context(), khook(t), "controller", "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	flags := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\s+--(?:\[no-\])?([a-z0-9-]+)`).FindAllStringSubmatch(string(help), -1) {
		flags[m[1]] = true
	}
	delete(flags, "config") // is how the chart gives them to khook
	text, err := os.ReadFile(chart + "/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema node
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	inConfig := schema.Properties["config"].Properties
	var templates strings.Builder
	for _, name := range []string{"_helpers.tpl", "_tls.tpl"} {
		text, err := os.ReadFile(filepath.Join(chart, "templates", name))
		if err != nil {
			t.Fatal(err)
		}
		templates.Write(text)
	}
	for name := range flags {
		_, free := inConfig[name]
		own := strings.Contains(templates.String(), `"`+name+`"`) || strings.Contains(templates.String(), "\n"+name+":")
		// api.auth is bounded to what suits a cluster; config has the rest.
		if free == own && name != "api-auth" {
			t.Errorf("--%s: in config %t, of a value %t", name, free, own)
		}
	}
	for name := range inConfig {
		if !flags[name] {
			t.Errorf("config has %s, and khook controller has not", name)
		}
	}
}

// TestThePackagedChartHasItsReadme: "helm show readme" and catalogues show it. Its Hook is that of the notes.
func TestThePackagedChartHasItsReadme(t *testing.T) {
	dir := t.TempDir()
	if out, err := helm(t, "package", chart, "--destination", dir); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	packages, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if err != nil || len(packages) != 1 {
		t.Fatalf("%v, %v", packages, err)
	}
	readme, err := helm(t, "show", "readme", packages[0])
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(readme, "```yaml\n")
	shown, _, _ := strings.Cut(after, "```")
	notes, err := helm(t, "install", "khook", chart, "-n", "kagent", "--dry-run=client")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ = strings.Cut(notes, "<<'END'\n")
	manifest, _, _ := strings.Cut(after, "  END\n")
	var fromReadme, fromNotes map[string]any
	if err := errors.Join(yaml.Unmarshal([]byte(shown), &fromReadme), yaml.Unmarshal([]byte(manifest), &fromNotes)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fromNotes, fromReadme); diff != "" || len(fromNotes) == 0 {
		t.Errorf("(-notes +readme)\n%s", diff)
	}
	quoted := regexp.MustCompile("`([a-z][A-Za-z]+(?:\\.[A-Za-z]+)*)`")
	values, err := helm(t, "show", "values", packages[0])
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(readme, "| for | values |")
	table, _, _ = strings.Cut(table, "\n\n")
	for _, m := range quoted.FindAllStringSubmatch(table, -1) {
		last := m[1][strings.LastIndex(m[1], ".")+1:]
		if m[1] != "maxTokensPerDay" && m[1] != "kagent" && !strings.Contains(values, last+":") {
			t.Errorf("the README names %s, which is no value", m[1])
		}
	}
}

// khook is the program.
func khook(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "khook")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../cmd/khook").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return program
}

func TestAlertsAndDashboardComeWhole(t *testing.T) {
	text, err := os.ReadFile(chart + "/files/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]any
	if err := yaml.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	all := objects(t, render(t, everything...))
	if diff := cmp.Diff(want["groups"], named(t, all, "PrometheusRule", "khook").Object["spec"].(map[string]any)["groups"]); diff != "" {
		t.Errorf("alerts (-file +rendered)\n%s", diff)
	}
	less := render(t, append(everything, "--set", "metrics.prometheusRule.disabled={KhookOverBudget,KhookDown}")...)
	if strings.Contains(less, "alert: KhookOverBudget") || strings.Contains(less, "alert: KhookDown") || !strings.Contains(less, "alert: KhookWatchDown") {
		t.Error("the alerts that are turned off are there, or others are not")
	}
	board, _, _ := unstructured.NestedString(named(t, all, "ConfigMap", "khook-dashboard").Object, "data", "khook.json")
	file, err := os.ReadFile(chart + "/files/dashboard.json")
	if err != nil || strings.TrimSpace(board) != strings.TrimSpace(string(file)) || !json.Valid([]byte(board)) {
		t.Errorf("the dashboard is not that of the file: %v", err)
	}
}

func TestTheCRDIsThatOfTheCodeAndOutlivesAnUninstall(t *testing.T) {
	crd := named(t, objects(t, render(t)), "CustomResourceDefinition", "hooks.kagent.dev")
	if crd.GetAnnotations()["helm.sh/resource-policy"] != "keep" {
		t.Error("helm uninstall removes the CRD, and with it all Hooks")
	}
	text, err := os.ReadFile("../../config/crd/kagent.dev_hooks.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := objects(t, string(text))[0]
	if diff := cmp.Diff(want.Object["spec"], crd.Object["spec"]); diff != "" {
		t.Errorf("(-code +chart)\n%s", diff)
	}
}
