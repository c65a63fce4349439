package main

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestCLISpeaksTLSThroughTheTunnelIfTheServiceSaysSo(t *testing.T) {
	server, caFile := secured(t, "watcher.sre.svc")
	_, other := secured(t)
	https, plain := "https", "http"
	service := func(port corev1.ServicePort) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "watcher", Namespace: "sre"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{
			{Name: "metrics", Port: 8080, AppProtocol: &https}, port,
		}}}
	}
	ask := func(f *clientOptions) error {
		scheme, transport, err := f.tunnel(service(corev1.ServicePort{Name: "api", Port: 443, AppProtocol: &https}))
		if err != nil || scheme != "https" {
			t.Fatalf("%s, %v", scheme, err)
		}
		_, err = newClient(server.URL, "very-secret", transport, 0).get(t.Context(), "/events", nil)
		return err
	}
	for name, f := range map[string]*clientOptions{"checked for the name of the Service": {CAFile: caFile}, "as the tunnel vouches for it": {}} {
		if err := ask(f); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, f := range map[string]*clientOptions{"another authority": {CAFile: other}, "another name": {CAFile: caFile, TLSServerName: "khook.kagent.svc"}} {
		if err := ask(f); err == nil {
			t.Errorf("%s: the certificate is taken", name)
		}
	}
	for _, port := range []corev1.ServicePort{{Name: "api", Port: 8082}, {Name: "api", Port: 8082, AppProtocol: &plain}, {Name: "web", Port: 80}} {
		if scheme, _, err := (&clientOptions{}).tunnel(service(port)); scheme != "http" || err != nil {
			t.Errorf("%+v: %s %v", port, scheme, err)
		}
	}
	if _, _, err := (&clientOptions{CAFile: "/no/such/file"}).tunnel(service(corev1.ServicePort{Name: "api", AppProtocol: &https})); err == nil {
		t.Error("a file that is not there is taken")
	}
}
