package chart

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestEachRoleGivesWhatItsNameSays holds what docs/security.md says of the Roles for people and programs.
func TestEachRoleGivesWhatItsNameSays(t *testing.T) {
	const group = "kagent.dev/hooks"
	view := []string{"get " + group, "list " + group, "watch " + group}
	with := func(more ...string) []string {
		all := append(slices.Clone(view), more...)
		slices.Sort(all)
		return all
	}
	read, act, approve := "get "+group+"/deliveries", "update "+group+"/deliveries", "approve "+group+"/deliveries"
	want := map[string][]string{
		"khook-viewer": view, "khook-reader": with(read), "khook-responder": with(read, act), "khook-approver": with(read, act, approve),
		"khook-pauser":         with("update " + group + "/pause"),
		"khook-editor":         with("create "+group, "update "+group, "patch "+group, "delete "+group),
		"khook-diagnostics":    {"get /debug/pprof", "get /debug/pprof/*", "get /diagnostics"},
		"khook-metrics-reader": {"get /metrics"},
	}
	all := objects(t, render(t))
	for name, rules := range want {
		role := named(t, all, "ClusterRole", name)
		if diff := cmp.Diff(rules, rights(t, role)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
		for label := range role.GetLabels() {
			if strings.Contains(label, "aggregate-to") && name != "khook-viewer" {
				t.Errorf("%s is added to a role of the cluster: %s", name, label)
			}
		}
		for _, o := range all {
			if strings.HasSuffix(o.GetKind(), "Binding") && decodeInto[rbacv1.ClusterRoleBinding](t, o).RoleRef.Name == name {
				t.Errorf("%s is bound by %s", name, o.GetName())
			}
		}
	}
	if diff := cmp.Diff([]string{"create /pods/portforward", "get /pods/portforward", "get /services khook", "list /pods"}, rights(t, named(t, all, "Role", "khook-connector"))); diff != "" {
		t.Errorf("khook-connector (-want +got)\n%s", diff)
	}
	inNamespace := objects(t, render(t, "--set", "watchNamespaces={shop}"))
	for _, name := range []string{"khook-viewer", "khook-reader", "khook-responder", "khook-approver", "khook-pauser", "khook-editor"} {
		if diff := cmp.Diff(want[name], rights(t, named(t, inNamespace, "Role", name))); diff != "" {
			t.Errorf("Role %s (-want +got)\n%s", name, diff)
		}
	}
}

// TestEachWayToACertificateIsOneValue follows each mode of TLS from the value to what the ports, the Service, the
// rights and Prometheus get.
func TestEachWayToACertificateIsOneValue(t *testing.T) {
	const file = "/var/run/secrets/khook/tls/tls.crt"
	for name, c := range map[string]struct {
		set            string
		api, metrics   any // the flags: a file, true for khook's own, nil for no TLS
		secret         string
		ca, cert       bool // khook's ConfigMap, cert-manager's Certificate
		protocol       string
		scrapeProtocol string
	}{
		"off by default":               {"", nil, nil, "", false, false, "http", "http"},
		"off by the mode":              {"api.tls.mode=off,api.tls.secretName=x", nil, nil, "", false, false, "http", "http"},
		"khook's own":                  {"api.tls.mode=self-signed", true, nil, "", true, false, "https", "http"},
		"khook's own for both":         {"api.tls.mode=self-signed,metrics.secure=true", true, true, "", true, false, "https", "https"},
		"khook's own for the metrics":  {"metrics.secure=true", nil, true, "", true, false, "http", "https"},
		"a Secret, as it always was":   {"api.tls.secretName=x", file, nil, "x", false, false, "https", "http"},
		"a Secret by the mode":         {"api.tls.secretName=x,api.tls.mode=secret,metrics.secure=true", file, file, "x", false, false, "https", "https"},
		"cert-manager":                 {"api.tls.mode=cert-manager", file, nil, "khook-tls", false, true, "https", "http"},
		"cert-manager, metrics only":   {"api.tls.mode=cert-manager,metrics.secure=true,api.enabled=false", nil, file, "khook-tls", false, true, "", "https"},
		"cert-manager, Secret by name": {"api.tls.mode=cert-manager,api.tls.secretName=mine", file, nil, "mine", false, true, "https", "http"},
		"nothing that could speak TLS": {"api.tls.mode=cert-manager,api.enabled=false", nil, nil, "", false, false, "", "http"},
	} {
		t.Run(name, func(t *testing.T) {
			all := objects(t, render(t, "--set", c.set))
			config := chartFlags(t, all)
			api, metrics := config["api-tls-cert-file"], config["metrics-tls-cert-file"]
			if config["api-tls-self-signed"] == true {
				api = true
			}
			if config["metrics-secure"] == true && metrics == nil {
				metrics = true
			}
			if api != c.api || metrics != c.metrics || (config["tls-ca-configmap"] == "khook-ca") != c.ca {
				t.Errorf("flags %v", config)
			}
			has := func(of, name string) bool { return len(ofKind(all, of, name)) == 1 }
			if has("ConfigMap", "khook-ca") != c.ca || has("Role", "khook-ca") != c.ca || has("Certificate", "khook") != c.cert || has("Certificate", "khook-ca") != c.cert {
				t.Errorf("ConfigMap %t, Role %t, Certificates %t %t", has("ConfigMap", "khook-ca"), has("Role", "khook-ca"), has("Certificate", "khook"), has("Certificate", "khook-ca"))
			}
			if got := mounted(t, all); got != c.secret {
				t.Errorf("Secret %q is mounted", got)
			}
			got := map[string]string{}
			for _, p := range decodeInto[corev1.Service](t, named(t, all, "Service", "khook")).Spec.Ports {
				if p.AppProtocol != nil {
					got[p.Name] = *p.AppProtocol
				}
			}
			if got["api"] != c.protocol || got["metrics"] != c.scrapeProtocol {
				t.Errorf("the Service says %v", got)
			}
		})
	}
}

// mounted is the Secret with the certificate.
func mounted(t *testing.T, all []*unstructured.Unstructured) string {
	t.Helper()
	for _, v := range decodeInto[appsv1.Deployment](t, named(t, all, "Deployment", "khook")).Spec.Template.Spec.Volumes {
		if v.Name == "tls" {
			return v.Secret.SecretName
		}
	}
	return ""
}

func TestValuesThatContradictEachOtherAreRefused(t *testing.T) {
	for set, want := range map[string]string{
		"api.tls.mode=secret":                           "name the Secret with the certificate in api.tls.secretName",
		"api.tls.mode=self-signed,api.tls.secretName=x": "remove api.tls.secretName",
		"api.audiences={khook},api.auth=caller":         "api.audiences can't be used with api.auth caller",
		"api.audiences={khook},watchNamespaces={shop}":  "api.audiences can't be used with api.auth caller",
		"api.tls.mode=on":                               "at '/api/tls/mode': value must be one of",
		"metrics.secure=true,metrics.serviceMonitor.enabled=true,metrics.serviceMonitor.namespace=monitoring": "say how Prometheus checks the certificate in metrics.serviceMonitor.tlsConfig",
	} {
		if _, err := helm(t, "template", "khook", chart, "-n", "kagent", "--set", set); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, and not %q", set, err, want)
		}
	}
}

func TestTheCertificateIsForTheServiceAndTheAllowedHosts(t *testing.T) {
	want := []any{"khook", "khook.kagent", "khook.kagent.svc", "khook.kagent.svc.cluster.local", "khook.example.com"}
	args := []string{"--set", "api.allowedHosts={khook.example.com}", "--set"}
	own := chartFlags(t, objects(t, render(t, append(args, "api.tls.mode=self-signed")...)))["tls-names"]
	if diff := cmp.Diff(any(want), own); diff != "" {
		t.Errorf("khook's own (-want +got)\n%s", diff)
	}
	managed, _, _ := unstructured.NestedSlice(named(t, objects(t, render(t, append(args, "api.tls.mode=cert-manager")...)), "Certificate", "khook").Object, "spec", "dnsNames")
	if diff := cmp.Diff(want, managed); diff != "" {
		t.Errorf("cert-manager's (-want +got)\n%s", diff)
	}
}

// TestPrometheusIsToldHowToAskTheSecurePort: with a token, and with the authority by which it checks whom it sends it to.
func TestPrometheusIsToldHowToAskTheSecurePort(t *testing.T) {
	const server = "khook.kagent.svc"
	own := map[string]any{"serverName": server, "ca": map[string]any{"configMap": map[string]any{"name": "khook-ca", "key": "ca.crt"}}}
	for name, c := range map[string]struct {
		set           string
		scheme, token any
		tls           any
	}{
		"the open port":       {"metrics.secure=false", nil, nil, nil},
		"khook's own":         {"metrics.secure=true", "https", "/var/run/secrets/kubernetes.io/serviceaccount/token", own},
		"cert-manager's":      {"metrics.secure=true,api.tls.mode=cert-manager", "https", "/var/run/secrets/kubernetes.io/serviceaccount/token", map[string]any{"serverName": server, "ca": map[string]any{"secret": map[string]any{"name": "khook-tls", "key": "ca.crt"}}}},
		"a Secret's":          {"metrics.secure=true,api.tls.secretName=x,metrics.serviceMonitor.namespace=monitoring", "https", "/var/run/secrets/kubernetes.io/serviceaccount/token", map[string]any{"serverName": server}},
		"a token of a Secret": {"metrics.secure=true,metrics.serviceMonitor.tokenSecret.name=scrape", "https", nil, own},
		"as the values say":   {"metrics.secure=true,metrics.serviceMonitor.namespace=monitoring,metrics.serviceMonitor.tlsConfig.insecureSkipVerify=true", "https", "/var/run/secrets/kubernetes.io/serviceaccount/token", map[string]any{"serverName": server, "insecureSkipVerify": true}},
	} {
		all := objects(t, render(t, "--set", "metrics.serviceMonitor.enabled=true,"+c.set))
		endpoints, _, _ := unstructured.NestedSlice(named(t, all, "ServiceMonitor", "khook").Object, "spec", "endpoints")
		got := endpoints[0].(map[string]any)
		if got["scheme"] != c.scheme || got["bearerTokenFile"] != c.token {
			t.Errorf("%s: %v", name, got)
		}
		if diff := cmp.Diff(c.tls, got["tlsConfig"]); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
		if _, ok := got["authorization"]; ok != (c.scheme != nil && c.token == nil) {
			t.Errorf("%s: authorization %v", name, got["authorization"])
		}
	}
}

// TestKhookLearnsTheNameOfItsService: under that name, too, callers reach it.
func TestKhookLearnsTheNameOfItsService(t *testing.T) {
	all := objects(t, render(t, "--set", "fullnameOverride=watcher"))
	for _, e := range decodeInto[appsv1.Deployment](t, named(t, all, "Deployment", "watcher")).Spec.Template.Spec.Containers[0].Env {
		if e.Name == "KHOOK_SERVICE_NAME" {
			named(t, all, "Service", e.Value)
			return
		}
	}
	t.Error("KHOOK_SERVICE_NAME is not set")
}

func TestWithoutTheAPITheSecureMetricsPortCanStillAskWhoScrapes(t *testing.T) {
	for set, want := range map[string]bool{"api.enabled=false": false, "api.enabled=false,metrics.secure=true": true, "api.enabled=false,metrics.secure=true,api.auth=caller": false, "metrics.secure=true": true} {
		role := strings.Join(rights(t, named(t, objects(t, render(t, "--set", set)), "ClusterRole", "khook")), "\n")
		if strings.Contains(role, "tokenreviews") != want {
			t.Errorf("%s: %s", set, role)
		}
	}
}

func TestWithoutAVolumeTheHistoryDoesNotEvictThePod(t *testing.T) {
	for set, want := range map[string]bool{"persistence.enabled=true": true, "persistence.enabled=false": false} {
		limits := decodeInto[appsv1.Deployment](t, named(t, objects(t, render(t, "--set", set)), "Deployment", "khook")).Spec.Template.Spec.Containers[0].Resources.Limits
		if _, ok := limits[corev1.ResourceEphemeralStorage]; ok != want {
			t.Errorf("%s: %v", set, limits)
		}
		if _, ok := limits[corev1.ResourceMemory]; !ok {
			t.Errorf("%s: no limit of memory: %v", set, limits)
		}
	}
}

func TestTheNotesSayWhatPlainHTTPMeans(t *testing.T) {
	notes := func(set string) string {
		out, err := helm(t, "install", "khook", chart, "-n", "kagent", "--dry-run=client", "--set", set)
		if err != nil {
			t.Fatal(err)
		}
		_, text, _ := strings.Cut(out, "NOTES:")
		return text
	}
	for set, want := range map[string][]string{
		"":                                  {"the HTTP API speaks plain HTTP", "name no namespaces", "from everywhere", "kubectl khook", "exec deploy/khook -- khook health --server http://127.0.0.1:8082"},
		"api.tls.mode=self-signed":          {"https:khook:api", "get configmap khook-ca", "khook health --server https://127.0.0.1:8082"},
		"networkPolicy.restrictEgress=true": {"DNS, the API server, kagent"},
		"networkPolicy.from[0].podSelector.matchLabels.may=ask": {"from networkPolicy.from"},
	} {
		for _, w := range want {
			if text := notes(set); !strings.Contains(text, w) {
				t.Errorf("%s: %q is not in\n%s", set, w, text)
			}
		}
	}
	if text := notes("api.tls.mode=self-signed,metrics.secure=true"); strings.Contains(text, "plain HTTP") || strings.Contains(text, "name no namespaces") {
		t.Errorf("TLS is on:\n%s", text)
	}
}
