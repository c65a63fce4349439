package chart

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/kagent-dev/khook/internal/kubetest"
)

func TestTheAPIServerTakesAllThatIsRendered(t *testing.T) {
	env, err := kubetest.Start("../../config/crd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(env.Stop)
	crds, err := kubetest.OperatorCRDs(t.Context(), "../..")
	if err != nil {
		t.Fatal(err)
	}
	certificates, err := kubetest.CertManagerCRDs(t.Context(), "../..")
	if err != nil {
		t.Fatal(err)
	}
	crds = append(crds, certificates...)
	if _, err := envtest.InstallCRDs(env.Config, envtest.CRDInstallOptions{Paths: crds}); err != nil {
		t.Fatal(err)
	}
	clients, err := kubernetes.NewForConfig(env.Config)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"kagent", "monitoring", "shop", "pay"} {
		// The API server warns of Deployments whose Pods it would refuse.
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"pod-security.kubernetes.io/warn": "restricted"}}}
		if _, err := clients.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	admin, err := env.AddUser(envtest.User{Name: "admin", Groups: []string{"system:masters"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	kubectl, err := admin.Kubectl()
	if err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"defaults": nil, "everything": everything, "the original's values": {"-f", original},
		"namespaces": {"--set", "watchNamespaces={shop,pay}"}, "nothing kept": {"--set", "persistence.enabled=false,crds.keep=false"},
		"TLS of its own":           {"--set", "api.tls.mode=self-signed,metrics.secure=true,metrics.serviceMonitor.enabled=true"},
		"TLS of cert-manager":      {"--set", "api.tls.mode=cert-manager,metrics.secure=true,metrics.serviceMonitor.enabled=true"},
		"TLS of an issuer of ours": {"--set", "api.tls.mode=cert-manager,api.tls.issuerRef.name=ours,api.tls.issuerRef.kind=ClusterIssuer"},
		"three replicas":           {"--set", "replicaCount=3,database.url=postgres://khook@db/khook,api.tls.mode=self-signed"},
		"each value":               allExamples(t),
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), kubectl.Path, append(kubectl.Opts, "apply", "--server-side", "--dry-run=server", "--validate=strict", "--force-conflicts", "-f", "-")...)
			cmd.Stdin = strings.NewReader(render(t, args...))
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Run(); err != nil || strings.Contains(out.String(), "Warning") {
				t.Errorf("%v\n%s", err, out.String())
			}
		})
	}
}

// allExamples sets every value at once, as far as they go together.
func allExamples(t *testing.T) []string {
	t.Helper()
	var args []string
	for _, e := range examples {
		if !e.alone {
			args = append(args, "--set-json", e.value)
		}
	}
	if len(args) < 100 {
		t.Fatalf("only %d examples", len(args)/2)
	}
	return args
}

// TestAKhookWithoutTheHookResourceSaysWhatTroubleshootingQuotes: who looks up what the log says finds it.
func TestAKhookWithoutTheHookResourceSaysWhatTroubleshootingQuotes(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), khook(t), "controller", "--kubeconfig", clusterOf(t), "--no-leader-elect", "--database", filepath.Join(t.TempDir(), "khook.db")).CombinedOutput()
	said := regexp.MustCompile(`(?m)^khook: (the cluster does not know Hooks: [^:]+): `).FindSubmatch(out)
	if err == nil || said == nil {
		t.Fatalf("%v: %s", err, out)
	}
	page, err := os.ReadFile("../../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "`"+string(said[1])+"`") {
		t.Errorf("docs/troubleshooting.md does not quote %q", said[1])
	}
}
