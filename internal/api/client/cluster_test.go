package client

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
