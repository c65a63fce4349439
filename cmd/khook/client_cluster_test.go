package main

import (
	"fmt"
	"net"
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
	ns := namespace(t)
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "watcher"}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": "khook"},
		Ports:    []corev1.ServicePort{{Name: "metrics", Port: 8082}, {Name: "api", Port: 80, TargetPort: intstr.FromString("http-api")}},
	}}
	if err := world.client.Create(t.Context(), svc); err != nil {
		t.Fatal(err)
	}
	pod(t, ns, "khook", "khook-abc-0") // not ready
	for _, p := range []*corev1.Pod{pod(t, ns, "khook", "khook-abc-1"), pod(t, ns, "other", "khook-abc-2")} {
		setStatus(p, 0, "")
		if err := world.client.Status().Update(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	clients, err := kubernetes.NewForConfig(world.Config)
	if err != nil {
		t.Fatal(err)
	}
	seen, found, err := (&clientOptions{KhookNamespace: ns, KhookService: "watcher"}).khookPod(t.Context(), clients)
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

func TestCLIWaitsForAClusterOnlySoLong(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // that never answers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	kubeconfig := write(t, "kubeconfig", fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": "x",
"clusters": [{"name": "c", "cluster": {"server": "http://%s"}}], "users": [{"name": "u", "user": {}}],
"contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}]}`, silent.Addr()))
	code, _, errs := khook(t, "events", "--kubeconfig", kubeconfig, "--token", "very-secret", "--timeout", "100ms")
	if code != 1 || !strings.Contains(errs, "look for khook's Service") || strings.Contains(errs, "very-secret") {
		t.Errorf("%d %s", code, errs)
	}
	if code, _, errs := khook(t, "events", "--kubeconfig", kubeconfig, "--context", "other"); code != 1 || !strings.Contains(errs, "--context") {
		t.Errorf("%d %s", code, errs)
	}
}
