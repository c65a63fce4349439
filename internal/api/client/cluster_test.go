package client

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/kagent-dev/khook/internal/kubetest"
)

func TestCLITakesTheTokenThatTheKubeContextWouldSend(t *testing.T) {
	dir := t.TempDir()
	file, plugin := filepath.Join(dir, "token"), filepath.Join(dir, "plugin")
	if err := os.WriteFile(file, []byte("of-a-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const answer = `{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"of-a-plugin"}}`
	if err := os.WriteFile(plugin, fmt.Appendf(nil, "#!/bin/sh\necho '%s'\n", answer), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		cfg        rest.Config
		want, says string
	}{
		"token":             {rest.Config{Host: "10.0.0.1:6443", BearerToken: "plain"}, "plain", ""},
		"token file":        {rest.Config{BearerTokenFile: file, BearerToken: "of-a-file"}, "of-a-file", ""},
		"exec plugin":       {rest.Config{ExecProvider: &clientcmdapi.ExecConfig{Command: plugin, APIVersion: "client.authentication.k8s.io/v1", InteractiveMode: clientcmdapi.NeverExecInteractiveMode}}, "of-a-plugin", ""},
		"password":          {rest.Config{Username: "ann", Password: "hunter2"}, "", "kubectl create token"},
		"nothing":           {rest.Config{}, "", "kubectl create token"},
		"plugin that fails": {rest.Config{ExecProvider: &clientcmdapi.ExecConfig{Command: filepath.Join(dir, "none"), APIVersion: "client.authentication.k8s.io/v1", InteractiveMode: clientcmdapi.NeverExecInteractiveMode}}, "", "credentials of the kube context"},
	} {
		got, err := contextToken(t.Context(), &c.cfg)
		if got != c.want || (err != nil) != (c.says != "") || err != nil && (!strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
}

// TestCLIAsksAsWhomTheKubeContextImpersonates: never as who impersonates, whose rights may be wider.
func TestCLIAsksAsWhomTheKubeContextImpersonates(t *testing.T) {
	env, err := kubetest.Start(filepath.Join("..", "..", "..", "config", "crd"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(env.Stop)
	clients, err := kubernetes.NewForConfig(env.Config)
	if err != nil {
		t.Fatal(err)
	}
	const ns = "default"
	if _, err := clients.CoreV1().ServiceAccounts(ns).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "oncall"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	as := func(user string) (string, error) {
		cfg := rest.CopyConfig(env.Config)
		cfg.BearerToken, cfg.Impersonate.UserName = "of-who-impersonates", user
		return callerToken(t.Context(), cfg)
	}
	token, err := as("system:serviceaccount:default:oncall")
	if err != nil {
		t.Fatal(err)
	}
	review, err := clients.AuthenticationV1().TokenReviews().Create(t.Context(), &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil || review.Status.User.Username != "system:serviceaccount:default:oncall" {
		t.Errorf("it asks as %q: %v", review.Status.User.Username, err)
	}
	for user, says := range map[string]string{
		"ann":                                  "there is none of ann: ask as a ServiceAccount (--as system:serviceaccount:NAMESPACE:NAME), or pass --token",
		"system:serviceaccount:default:nobody": "make a token of the ServiceAccount default/nobody to ask as",
		"system:serviceaccount:default":        "there is none of system:serviceaccount:default",
	} {
		if token, err := as(user); err == nil || token != "" || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %q %v", user, token, err)
		}
	}
	if token, err := as(""); token != "of-who-impersonates" || err != nil {
		t.Errorf("nobody: %q %v", token, err)
	}
}

func TestCLITakesWhomToAskAsFromFlagsAndKubeconfig(t *testing.T) {
	kubeconfig := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(kubeconfig, []byte(`{"apiVersion": "v1", "kind": "Config", "current-context": "x", "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
"users": [{"name": "u", "user": {"token": "mine", "as": "ann"}}], "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for as, want := range map[string]string{"": "ann", "bob": "bob"} {
		cfg, err := (&Options{Kubeconfig: kubeconfig, As: as, AsGroup: []string{"sre"}}).ClusterConfig()
		if err != nil || cfg.Impersonate.UserName != want || len(cfg.Impersonate.Groups) != 1 {
			t.Errorf("--as=%s: %+v %v", as, cfg, err)
		}
	}
	if _, err := Connect(t.Context(), Options{Server: "http://127.0.0.1:1", As: "bob"}); err == nil || !strings.Contains(err.Error(), "--server does not go through") {
		t.Errorf("%v", err)
	}
}

func TestCLIFindsAReadyPodAndThePortOfTheAPI(t *testing.T) {
	env, err := kubetest.Start(filepath.Join("..", "..", "..", "config", "crd"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(env.Stop)
	clients, err := kubernetes.NewForConfig(env.Config)
	if err != nil {
		t.Fatal(err)
	}
	const ns = "default"
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "watcher"}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": "khook"},
		Ports:    []corev1.ServicePort{{Name: "metrics", Port: 8082}, {Name: "api", Port: 80, TargetPort: intstr.FromString("http-api")}},
	}}
	if svc, err = clients.CoreV1().Services(ns).Create(t.Context(), svc, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	run := func(app, name string, ready corev1.ConditionStatus) {
		t.Helper()
		made, err := clients.CoreV1().Pods(ns).Create(t.Context(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": app}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		made.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
		if _, err := clients.CoreV1().Pods(ns).UpdateStatus(t.Context(), made, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	run("khook", "khook-abc-0", corev1.ConditionFalse)
	run("khook", "khook-abc-1", corev1.ConditionTrue)
	run("other", "khook-abc-2", corev1.ConditionTrue)
	seen, found, err := (&Options{KhookNamespace: ns, KhookService: "watcher"}).khookPod(t.Context(), clients)
	if err != nil || seen.Name != "watcher" || found.Name != "khook-abc-1" || apiPort(seen, found) != 8082 {
		t.Fatalf("%v %v %v", seen, found, err)
	}
	found.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "http-api", ContainerPort: 9443}}
	if got := apiPort(svc, found); got != 9443 {
		t.Errorf("the named port is %d", got)
	}
	svc.Spec.Ports = []corev1.ServicePort{{Name: "web", Port: 8082, TargetPort: intstr.FromInt32(9000)}}
	if got := apiPort(svc, found); got != 9000 {
		t.Errorf("port 8082 leads to %d", got)
	}
	svc.Spec.Ports = nil
	if got := apiPort(svc, found); got != 8082 {
		t.Errorf("without ports: %d", got)
	}
}
