package system

import (
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kagent-dev/khook/internal/agent/kagenttest"
)

// TestCheckSaysHowKhookDoesAndWhatToDo looks at a running khook while it is well, while kagent is away, as somebody who may
// know little, and when it is gone.
func TestCheckSaysHowKhookDoesAndWhatToDo(t *testing.T) {
	s := serve(t)
	check := func(token string) (code int, out string) {
		t.Helper()
		code, out, errs := runCLI(t, "check", "--kubeconfig", adminKubeconfig(t), "--khook-namespace", s.shop, "--server", "http://"+s.api, "--token", token)
		if failed := strings.Contains(errs, "needs to be mended"); failed != (code == 1) {
			t.Errorf("%d %s", code, errs)
		}
		return code, strings.Join(strings.Fields(out), " ")
	}
	says := func(out string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("it does not say %q:\n%s", w, out)
			}
		}
	}
	code, out := check(s.token)
	says(out, "ok api-server: Kubernetes v1.", "ok crd: hooks.kagent.dev is served as v1alpha2", "? deployment: not looked at, because there is no Deployment khook",
		"ok api: khook answers, and says that it is healthy", "ok clock: this machine's clock and", "ok clock: khook's clock and the API server's are less than", "ok version: khook and this program are test", "ok history:", "ok leader: the replica that answers watches and calls",
		"ok watches: 2 of 2 are up", "ok queue: signals-to-record: 0", "ok kagent: khook reached "+s.kagent.URL, "the newest call went in the dialect ",
		"? rights: not looked at, because there is no Deployment", "ok hooks: all are ready: 2 Hooks", "? agents: not looked at, because the cluster has no Agents of kagent", " 0 to mend,")
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	code, out = check(newReader(t, s.shop))
	says(out, "ok api: khook answers", "? history: not looked at, because khook tells it only to those who may", "? leader:", "? watches:", "? queue:", "? kagent:", "? version:")
	if code != 0 || strings.Contains(out, "ok history") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if err := s.kagent.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "khook notices that kagent is gone", func() error {
		if code, out = check(s.token); code != 1 || !strings.Contains(out, "NO kagent: ") {
			return fmt.Errorf("%d %s", code, out)
		}
		return nil
	})
	says(out, "NO api: khook says that it is degraded: kagent: ", "ok history:")
	s.stop()
	code, out = check(s.token)
	says(out, "NO api: khook's HTTP API was not reached", "? history: not looked at, because khook was not reached", "? kagent: not looked at")
	if code != 1 {
		t.Errorf("exit code %d", code)
	}
}

func TestCheckBeforeInstallAsData(t *testing.T) {
	code, out, errs := runCLI(t, "check", "--pre", "-o", "json", "--kubeconfig", testCluster.kubeconfig)
	var answer struct {
		OK     bool
		Checks []struct{ Check, Result, Text string }
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		t.Fatal(err)
	}
	results := map[string]string{}
	for _, c := range answer.Checks {
		results[c.Check] = c.Result
	}
	if code != 1 || answer.OK || results["api-server"] != "ok" || results["clock"] != "ok" || results["rights"] != "failed" || results["crd"] != "not-looked-at" {
		t.Errorf("%d %s\n%s", code, errs, out)
	}
}

// TestCheckWithoutATokenLearnsAWord: a kube context with a certificate can't ask khook for more than what it tells everybody,
// through the API server's proxy.
func TestCheckWithoutATokenLearnsAWord(t *testing.T) {
	ns := behindService(t)
	eventually(t, "the API server knows where khook is, and check says how it is", func() error {
		_, out, errs := runCLI(t, "check", "--kubeconfig", adminKubeconfig(t), "--khook-namespace", ns)
		out = strings.Join(strings.Fields(out), " ")
		for _, want := range []string{"ok api: khook answers, and says that it is healthy", "? version: not looked at", "? history: not looked at, because the kube context has no bearer token", "? rights:"} {
			if !strings.Contains(out, want) {
				return fmt.Errorf("it does not say %q: %s %s", want, out, errs)
			}
		}
		return nil
	})
}

// behindService runs a khook, and tells the API server of it as of a Pod behind the Service khook of a namespace.
func behindService(t *testing.T) (ns string) {
	t.Helper()
	ip := reachable(t)
	kagent := kagenttest.New(t, kagenttest.Options{})
	port := freeAddress(t)[len("127.0.0.1:"):]
	controller(t, "--kagent-url", kagent.URL, "--database", filepath.Join(t.TempDir(), "khook.db"), "--api-bind-address", ip+":"+port).ready()
	ns = namespace(t)
	serving := true
	parsed, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	at := int32(parsed)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "khook-1"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "khook", Image: "khook"}}}}
	if err := testCluster.client.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	pod.Status.PodIP, pod.Status.PodIPs = ip, []corev1.PodIP{{IP: ip}}
	if err := testCluster.client.Status().Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	target := &corev1.ObjectReference{Kind: "Pod", Namespace: ns, Name: pod.Name}
	for _, object := range []client.Object{
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "khook"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "api", Port: 8082, TargetPort: intstr.FromInt32(at)}}}},
		&discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "khook-1", Labels: map[string]string{discoveryv1.LabelServiceName: "khook"}}, AddressType: discoveryv1.AddressTypeIPv4,
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{ip}, TargetRef: target, Conditions: discoveryv1.EndpointConditions{Ready: &serving}}}, Ports: []discoveryv1.EndpointPort{{Name: new("api"), Port: &at}},
		},
		&corev1.Endpoints{ //nolint:staticcheck // what API servers before 1.33 look at
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "khook"},
			Subsets:    []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: ip, TargetRef: target}}, Ports: []corev1.EndpointPort{{Name: "api", Port: at}}}}, //nolint:staticcheck // the same
		},
	} {
		if err := testCluster.client.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	return ns
}

// contextOf is a kubeconfig of the test's cluster with a token.
func contextOf(t *testing.T, token string) string {
	t.Helper()
	cfg, err := clientcmd.Load(testCluster.KubeConfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range cfg.AuthInfos {
		*user = clientcmdapi.AuthInfo{Token: token}
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*cfg, file); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestCLIGetsThroughTheAPIServersProxyWhereNoPortMayBeForwarded: that proxy has the header Authorization for itself, and takes it away.
func TestCLIGetsThroughTheAPIServersProxyWhereNoPortMayBeForwarded(t *testing.T) {
	ns := behindService(t)
	token := newReader(t, ns)
	meta := metav1.ObjectMeta{Namespace: ns, Name: "proxied"}
	for _, object := range []client.Object{
		&rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"services/proxy"}, ResourceNames: []string{"khook:api"}, Verbs: []string{"get", "create"}}}},
		&rbacv1.RoleBinding{ObjectMeta: meta, Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: ns, Name: "reader"}}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "proxied"}},
	} {
		if err := testCluster.client.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(token string, more ...string) (int, string) {
		t.Helper()
		args := append([]string{"incidents", "-n", ns, "--kubeconfig", contextOf(t, token), "--khook-namespace", ns}, more...)
		code, out, errs := runCLI(t, args...)
		return code, out + errs
	}
	if code, says := ask(token); code != 1 || !strings.Contains(says, "is forbidden") || !strings.Contains(says, "--via-api-server") {
		t.Errorf("without the right to forward ports: %d %s", code, says)
	}
	eventually(t, "it gets through", func() error {
		if code, says := ask(token, "--via-api-server"); code != 0 || says != "No incidents found in namespace "+ns+".\n" {
			return fmt.Errorf("%d %s", code, says)
		}
		return nil
	})
	// Whose token it is decides, and not who gets through.
	if code, says := ask(token, "--via-api-server", "--token", serviceAccount(t, ns, "stranger")); code != 1 || !strings.Contains(says, "stranger may not list hooks.kagent.dev in namespace "+ns) {
		t.Errorf("as somebody without rights: %d %s", code, says)
	}
	if code, says := ask(token, "--via-api-server", "--token", "nobody's"); code != 1 || !strings.Contains(says, "khook does not know who you are") {
		t.Errorf("as nobody: %d %s", code, says)
	}
	if code, says := ask(serviceAccount(t, ns, "outsider"), "--via-api-server"); code != 1 || !strings.Contains(says, "the API server answered: services \"khook:api\" is forbidden") {
		t.Errorf("without the right to the proxy: %d %s", code, says)
	}
}

// reachable is an address of this machine that the API server passes requests on to: it does so to no loopback address.
func reachable(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	t.Skip("this machine has loopback addresses only")
	return ""
}
