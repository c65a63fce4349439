package client

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kagent-dev/khook/internal/ca"
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
	ask := func(f *Options) error {
		scheme, transport, err := f.tunnel(service(corev1.ServicePort{Name: "api", Port: 443, AppProtocol: &https}))
		if err != nil || scheme != "https" {
			t.Fatalf("%s, %v", scheme, err)
		}
		_, err = New(server.URL, "very-secret", transport, 0).Get(t.Context(), "/events", nil)
		return err
	}
	for name, f := range map[string]*Options{"checked for the name of the Service": {CAFile: caFile}, "as the tunnel vouches for it": {}} {
		if err := ask(f); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, f := range map[string]*Options{"another authority": {CAFile: other}, "another name": {CAFile: caFile, TLSServerName: "khook.kagent.svc"}} {
		if err := ask(f); err == nil {
			t.Errorf("%s: the certificate is taken", name)
		}
	}
	for _, port := range []corev1.ServicePort{{Name: "api", Port: 8082}, {Name: "api", Port: 8082, AppProtocol: &plain}, {Name: "web", Port: 80}} {
		if scheme, _, err := (&Options{}).tunnel(service(port)); scheme != "http" || err != nil {
			t.Errorf("%+v: %s %v", port, scheme, err)
		}
	}
	if _, _, err := (&Options{CAFile: "/no/such/file"}).tunnel(service(corev1.ServicePort{Name: "api", AppProtocol: &https})); err == nil {
		t.Error("a file that is not there is taken")
	}
}

// secured is an API without events behind TLS, with a certificate of khook's own authority, whose file it returns.
func secured(t *testing.T, names ...string) (server *httptest.Server, caFile string) {
	t.Helper()
	own, _, err := ca.Open(t.Context(), ca.Config{Keeper: ca.Folder(t.TempDir()), Names: names})
	if err != nil {
		t.Fatal(err)
	}
	server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer very-secret" {
			t.Errorf("the token is %q", r.Header.Get("Authorization"))
		}
		_, _ = w.Write([]byte(`{"items":[],"total":0}`))
	}))
	server.Listener = tls.NewListener(server.Listener, &tls.Config{GetCertificate: own.GetCertificate, MinVersion: tls.VersionTLS12})
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of the clients that refuse it
	server.Start()
	t.Cleanup(server.Close)
	server.URL = strings.Replace(server.URL, "http:", "https:", 1)
	caFile = filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(caFile, own.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return server, caFile
}
