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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
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
	ip := reachable(t)
	kagent := kagenttest.New(t, kagenttest.Options{})
	port := freeAddress(t)[len("127.0.0.1:"):]
	controller(t, "--kagent-url", kagent.URL, "--database", filepath.Join(t.TempDir(), "khook.db"), "--api-bind-address", ip+":"+port).ready()
	ns, serving := namespace(t), true
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
