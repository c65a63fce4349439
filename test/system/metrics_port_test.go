package system

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/incident"
)

// mayScrape is what a Role gives to a Prometheus.
var mayScrape = rbacv1.PolicyRule{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}

// prometheus mayScrape a port with TLS, whose certificate it checks by an authority for a name.
type scrapeClient struct {
	t         *testing.T
	address   string
	authority []byte
	name      string
}

func (p scrapeClient) scrape(token string) (code int, body string, err error) {
	p.t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(p.authority)
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: p.name}, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, "https://"+p.address+"/metrics", nil)
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Accept", "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1") // as Prometheus does
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// awaited scrapes until there is all that is named.
func (p scrapeClient) awaited(token string, series ...string) {
	p.t.Helper()
	eventually(p.t, "the secure port is scraped", func() error {
		code, body, err := p.scrape(token)
		if err != nil || code != http.StatusOK {
			return fmt.Errorf("%d %s %w", code, body, err)
		}
		for _, s := range series {
			if !strings.Contains(body, s) {
				return fmt.Errorf("no series %s", s)
			}
		}
		return nil
	})
}

// seriesNames are the names of khook's own metrics in a scrape.
func seriesNames(scrape string) []string {
	found := map[string]bool{}
	for line := range strings.Lines(scrape) {
		if name, _, ok := strings.Cut(line, " "); ok && strings.HasPrefix(name, "khook_") {
			name, _, _ = strings.Cut(name, "{")
			found[name] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

func TestTheOpenMetricsPortNamesNothingThatIsInTheCluster(t *testing.T) {
	kagent := kagenttest.New(t, kagenttest.Options{})
	shop, pay := namespace(t), namespace(t)
	applyHook(t, shop, "memory-of-the-shop", incident.PodRestart)
	khook := controller(t, append(settings(kagent, t.TempDir()), "--namespaces", shop+","+pay)...).ready()
	becomes(t, newPod(t, shop, "cart", "cart-abc-1"), 1, "Error")
	all := caller{t, "http://" + khook.api + api.Base, allReader(t, shop)}
	var open string
	eventually(t, "the failure is counted, on both ports, and both namespaces are watched", func() error {
		open = khook.scrape()
		guarded := all.get("/metrics").body
		for _, series := range []string{"khook_watch_up{resource=\"pods\"} 1\n", "khook_watch_reopened{resource=\"events\"} ", `khook_events_total{event_type="pod-restart",status="firing"} 1`} {
			if !strings.Contains(open, series) {
				return fmt.Errorf("no series %s", series)
			}
		}
		for _, ns := range []string{shop, pay} {
			if !strings.Contains(guarded, fmt.Sprintf(`khook_watch_up{namespace=%q,resource="pods"} 1`, ns)) {
				return fmt.Errorf("the API does not tell of namespace %s", ns)
			}
		}
		return nil
	})
	for _, name := range []string{shop, pay, "memory-of-the-shop", "cart"} {
		for line := range strings.Lines(open) {
			if strings.Contains(line, name) {
				t.Errorf("everybody may read: %s", line)
			}
		}
	}
}

// TestAnUpgradeToTheSecureMetricsPortIsScrapedOnBothSides starts khook with the open port, and then, on the same
// history, with the secure one, as an upgrade of the chart with metrics.secure does.
func TestAnUpgradeToTheSecureMetricsPortIsScrapedOnBothSides(t *testing.T) {
	kagent := kagenttest.New(t, kagenttest.Options{})
	ns, dir := namespace(t), t.TempDir()
	told := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kagent", Name: "khook-ca"}} // as the chart makes it
	if err := testCluster.client.Create(t.Context(), told); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = testCluster.client.Delete(context.Background(), told) })
	scraper, other := serviceAccountWith(t, ns, "prometheus", mayScrape), serviceAccount(t, ns, "other")
	hooksReader := newReader(t, ns)

	old := controller(t, settings(kagent, dir)...).ready()
	before := seriesNames(old.scrape())
	if code := old.stop(); code != 0 {
		t.Fatalf("it ended with %d", code)
	}
	khook := controller(t, append(settings(kagent, dir), "--metrics-secure", "--api-bind-address", "0", "--tls-names", "khook.kagent.svc",
		"--tls-ca-configmap", "khook-ca", "--leader-election-namespace", "kagent")...)
	eventually(t, "the authority's certificate is in its ConfigMap", func() error {
		if err := testCluster.client.Get(t.Context(), keyOf("kagent", "khook-ca"), told); err != nil || told.Data["ca.crt"] == "" {
			return fmt.Errorf("%v %w", told.Data, err)
		}
		return nil
	})
	p := scrapeClient{t, khook.metrics, []byte(told.Data["ca.crt"]), "khook.kagent.svc"}
	p.awaited(scraper, append(before, `khook_watch_up{namespace="",resource="events"} 1`)...)
	for name, c := range map[string]struct {
		token string
		code  int
	}{"without a token": {"", 401}, "with a token that is none": {"x.y.z", 401}, "without the right": {other, 403}, "with a right in a namespace": {hooksReader, 403}, "with the right": {scraper, 200}} {
		code, text, err := p.scrape(c.token)
		if err != nil || code != c.code || (code == 200) != strings.Contains(text, "khook_build_info") {
			t.Errorf("%s: %d %v\n%s", name, code, err, tail(text, 300))
		}
	}
	if code, text := get(t, "http://"+khook.metrics+"/metrics"); code != http.StatusBadRequest || strings.Contains(text, "khook_") {
		t.Errorf("without TLS: %d %s", code, text)
	}
	if file, err := os.ReadFile(filepath.Join(dir, "tls", "ca.crt")); err != nil || string(file) != told.Data["ca.crt"] {
		t.Errorf("the file for clients is another: %v", err)
	}
	if refused := khook.refused(); refused != "" {
		t.Errorf("the generated role is too small:\n%s", refused)
	}
	if strings.Contains(khook.log.String(), scraper) {
		t.Error("the log has a token")
	}
}

func TestTheAPISpeaksTLSWithACertificateOfItsOwnAuthority(t *testing.T) {
	kagent := kagenttest.New(t, kagenttest.Options{})
	ns, dir := namespace(t), t.TempDir()
	token := allReader(t, ns)
	p := controller(t, append(settings(kagent, dir), "--api-tls-self-signed")...).ready()
	for range 2 { // the same authority also after a restart
		code, out, errs := runCLI(t, "hooks", "--server", "https://"+p.api, "--ca-file", filepath.Join(dir, "tls", "ca.crt"), "--token", token)
		if code != 0 {
			t.Fatalf("%d %s %s", code, out, errs)
		}
		if end := p.stop(); end != 0 {
			t.Fatalf("it ended with %d", end)
		}
		authority, err := os.ReadFile(filepath.Join(dir, "tls", "ca.crt"))
		if err != nil {
			t.Fatal(err)
		}
		p = controller(t, append(settings(kagent, dir), "--api-tls-self-signed")...).ready()
		if again, err := os.ReadFile(filepath.Join(dir, "tls", "ca.crt")); err != nil || string(again) != string(authority) {
			t.Errorf("clients would have to learn another authority: %v", err)
		}
	}
}

// TestReplicasHaveOneAuthority starts two processes that have nothing but a Secret in common, which is empty as the chart makes it: a client
// that has learned the authority of one checks the other by it.
func TestReplicasHaveOneAuthority(t *testing.T) {
	kagent := kagenttest.New(t, kagenttest.Options{})
	ns := namespace(t)
	kept := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "kagent", Name: "khook-authority"}}
	told := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kagent", Name: "khook-ca"}}
	for _, o := range []client.Object{kept, told} {
		if err := testCluster.client.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = testCluster.client.Delete(context.Background(), o) })
	}
	token := allReader(t, ns)
	var replicas [2]*process
	for i := range replicas {
		replicas[i] = controller(t, append(settings(kagent, t.TempDir()), "--api-tls-self-signed", "--tls-authority-secret", "khook-authority",
			"--tls-ca-configmap", "khook-ca", "--leader-election-namespace", "kagent")...)
	}
	file := filepath.Join(t.TempDir(), "ca.crt")
	eventually(t, "the authority's certificate is in its ConfigMap", func() error {
		if err := testCluster.client.Get(t.Context(), keyOf("kagent", "khook-ca"), told); err != nil || told.Data["ca.crt"] == "" {
			return fmt.Errorf("%v %w", told.Data, err)
		}
		return os.WriteFile(file, []byte(told.Data["ca.crt"]), 0o600)
	})
	for i, p := range replicas {
		if code, out, errs := runCLI(t, "hooks", "--server", "https://"+p.ready().api, "--ca-file", file, "--token", token); code != 0 {
			t.Errorf("replica %d: %d %s %s", i, code, out, errs)
		}
		if refused := p.refused(); refused != "" {
			t.Errorf("the generated role is too small:\n%s", refused)
		}
		if strings.Contains(p.log.String(), "PRIVATE KEY") {
			t.Error("the log has the key")
		}
	}
	if err := testCluster.client.Get(t.Context(), keyOf("kagent", "khook-authority"), kept); err != nil || !strings.Contains(string(kept.Data["authority.pem"]), told.Data["ca.crt"]) {
		t.Errorf("what is kept is another one: %v", err)
	}
}

func TestSettingsOfTLSThatContradictEachOtherAreRefused(t *testing.T) {
	for args, want := range map[string]string{
		"--api-tls-self-signed --api-tls-cert-file x --api-tls-key-file y": "exclude each other",
		"--api-tls-key-file y":                               "set both or none",
		"--metrics-secure --metrics-tls-cert-file x":         "set both or none",
		"--metrics-tls-cert-file x --metrics-tls-key-file y": "--metrics-secure only",
		"--metrics-secure --api-auth none":                   "leave one of them out",
		"--tls-ca-configmap khook-ca":                        "khook's own authority only",
		"--api-tls-self-signed --tls-ca-configmap A_B":       "no name of a ConfigMap",
		"--tls-authority-secret khook-authority":             "khook's own authority only",
		"--api-tls-self-signed --tls-authority-secret A_B":   "no name of a Secret",
		"--api-tls-self-signed --tls-names a_b":              "neither a DNS name nor an IP address",
	} {
		code, _, errs := runCLI(t, append([]string{"controller"}, strings.Fields(args)...)...)
		if code != 2 || !strings.Contains(errs, want) {
			t.Errorf("%s: %d %s", args, code, errs)
		}
	}
}
