//go:build e2e

package e2e

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// standIn answers GET /api/v1/events as khook would, from a Pod that the node really runs.
const standIn = `mkdir -p /www/api/v1 && echo '{"items":[{"id":1,"eventType":"oom-kill","resourceName":"cart-1"}],"total":1,"limit":50,"offset":0}' >/www/api/v1/events && exec httpd -f -p 8080 -h /www`

func TestTheCommandLineFindsKhookThroughTheKubeContext(t *testing.T) {
	c := connect(t)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "khook-e2e-"}}
	if err := c.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Delete(context.Background(), ns) })
	for _, obj := range []client.Object{
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: "khook"}, Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "khook"}, Ports: []corev1.ServicePort{{Name: "api", Port: 8082, TargetPort: intstr.FromString("http")}},
		}},
		deployment(ns.Name, "khook", 1, corev1.PodSpec{Containers: []corev1.Container{container(standIn, func(c *corev1.Container) {
			c.Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}
		})}}),
	} {
		if err := c.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "khook events shows what the Pod answers", func() error {
		cmd := exec.CommandContext(t.Context(), cmp.Or(os.Getenv("KHOOK"), "../../bin/khook"), "events", "--khook-namespace", ns.Name, "--token", "x", "-o", "json")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "cart-1") {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}
