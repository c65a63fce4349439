package system

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/api"
)

// FR1: Embed an HTTP server within the khook controller to expose event data via REST API.
func TestFR1EmbeddedHTTPAPIServer(t *testing.T) {
	s := serve(t)
	t.Run("Serve HTTP API on configurable port (default: 8082)", func(t *testing.T) {
		if _, help, _ := runCLI(t, "controller", "--help"); !strings.Contains(help, `--api-bind-address=":8082"`) {
			t.Errorf("the help does not tell the default:\n%s", help)
		}
		if r := s.get("/health"); r.code != http.StatusOK { // on the address that --api-bind-address names
			t.Errorf("%d %s", r.code, r.body)
		}
	})
	t.Run("Implement request routing, middleware, and error handling", func(t *testing.T) {
		s.get("/event").problem(t, http.StatusNotFound, "no such route")
		s.get("/events/").problem(t, http.StatusNotFound)
		r := s.do(http.MethodDelete, "/events", "")
		if r.problem(t, http.StatusMethodNotAllowed, "DELETE", "GET"); r.header.Get("Allow") != "GET, HEAD" {
			t.Errorf("Allow: %s", r.header.Get("Allow"))
		}
		s.get("/events", "Accept: image/png").problem(t, http.StatusNotAcceptable, "application/json")
		s.do(http.MethodPost, "/hooks/validate", "x", "Content-Type: text/plain").problem(t, http.StatusUnsupportedMediaType, "application/yaml")
		s.do(http.MethodPost, "/hooks/validate", strings.Repeat("#", 1<<20+1), "Content-Type: application/yaml").problem(t, http.StatusRequestEntityTooLarge)
		s.get("/events?limit=1&limit=2").problem(t, http.StatusBadRequest, "limit", "more than once")
		s.get("/events?namespace=%zz").problem(t, http.StatusBadRequest, "escape")
		if r := s.do(http.MethodHead, "/events", ""); r.code != http.StatusOK || r.body != "" {
			t.Errorf("HEAD: %d %q", r.code, r.body)
		}
		if r := s.get("/events", "Accept-Encoding: gzip"); r.header.Get("Content-Encoding") != "gzip" || !strings.HasPrefix(r.body, "\x1f\x8b") {
			t.Errorf("Content-Encoding %q", r.header.Get("Content-Encoding"))
		}
	})
	t.Run("Add authentication and authorization mechanisms", func(t *testing.T) { checkAccess(t, s) })
	t.Run("Include request logging and metrics collection", func(t *testing.T) {
		r := s.get("/events/"+s.shop+"?limit=1", "X-Request-Id: my-request.7")
		if r.header.Get("X-Request-Id") != "my-request.7" {
			t.Errorf("request ID %q", r.header.Get("X-Request-Id"))
		}
		if r := s.get("/health", "X-Request-Id: bad id!"); len(r.header.Get("X-Request-Id")) != 36 {
			t.Errorf("request ID %q", r.header.Get("X-Request-Id"))
		}
		line := fmt.Sprintf(`"request":"my-request.7","method":"GET","path":"/api/v1/events/%s","route":"/api/v1/events/{namespace}","status":200`, s.shop)
		eventually(t, "the request is in the log", func() error {
			if !strings.Contains(s.log.String(), line) {
				return fmt.Errorf("no line with %s", line)
			}
			return nil
		})
		if strings.Contains(s.log.String(), s.token) {
			t.Error("the token is in the log")
		}
		metrics := s.get("/metrics").body
		if !strings.Contains(metrics, `khook_http_requests_total{code="200",method="GET",route="/api/v1/events/{namespace}"}`) || strings.Contains(metrics, s.shop+`"}`) && strings.Contains(metrics, `route="/api/v1/events/`+s.shop) {
			t.Error("requests are not counted by route")
		}
	})
	t.Run("Support graceful startup/shutdown with controller lifecycle", func(t *testing.T) { checkShutdown(t, s) })
}

// checkAccess tries callers with and without rights on every kind of route.
func checkAccess(t *testing.T, s *served) {
	incidents := read[api.Page[api.Incident]](s.caller, "/incidents"+queryOf("namespace", s.shop)).Items
	deliveries := read[api.Page[api.Delivery]](s.caller, "/deliveries"+queryOf("namespace", s.shop)).Items
	ofShop := []string{
		"/events/" + s.shop, "/events?namespace=" + s.shop, "/events/types/oom-kill?namespace=" + s.shop, "/hooks/" + s.shop + "/memory/events",
		"/incidents?namespace=" + s.shop, "/incidents/" + incidents[0].ID, "/deliveries?namespace=" + s.shop, "/deliveries/" + deliveries[0].ID,
		"/stats/events/summary?namespace=" + s.shop, "/stats/events/by-type?namespace=" + s.shop, "/stats/hooks/" + s.shop + "/memory/metrics",
		"/stats/trends?namespace=" + s.shop, "/hooks?namespace=" + s.shop, "/hooks/" + s.shop + "/memory", "/hooks/" + s.shop + "/memory?format=yaml",
	}
	ofAll := []string{
		"/events", "/events/types/oom-kill", "/incidents", "/deliveries", "/stats/events/summary", "/stats/events/by-type", "/stats/trends",
		"/stats/trends?by=namespace", "/hooks", "/hooks?format=yaml", "/diagnostics", "/metrics",
	}
	shop, pay, nobody := s.as(newReader(t, s.shop)), s.as(newReader(t, s.pay)), s.as(serviceAccount(t, s.shop, "nobody"))
	for _, path := range ofShop {
		if r := shop.get(path); r.code != http.StatusOK {
			t.Errorf("%s with the right: %d %s", path, r.code, r.body)
		}
		if strings.HasSuffix(path, incidents[0].ID) || strings.HasSuffix(path, deliveries[0].ID) { // it tells nothing of where that is
			pay.get(path).problem(t, http.StatusNotFound, "nothing with that ID")
			nobody.get(path).problem(t, http.StatusNotFound, "nothing with that ID")
			continue
		}
		pay.get(path).problem(t, http.StatusForbidden, "list hooks.kagent.dev in namespace "+s.shop)
		nobody.get(path).problem(t, http.StatusForbidden)
	}
	for _, path := range ofAll {
		if r := s.get(path); r.code != http.StatusOK {
			t.Errorf("%s with the right: %d %s", path, r.code, r.body)
		}
		shop.get(path).problem(t, http.StatusForbidden)
	}
	for _, path := range append(ofAll, append(ofShop, "/openapi.json", "/openapi.yaml")...) {
		r := s.as("").get(path)
		if r.problem(t, http.StatusUnauthorized, "kubectl create token"); !strings.HasPrefix(r.header.Get("WWW-Authenticate"), "Bearer ") {
			t.Errorf("%s: WWW-Authenticate %q", path, r.header.Get("WWW-Authenticate"))
		}
	}
	if r := s.as("").get("/events", "Authorization: bearer "+s.token); r.code != http.StatusOK {
		t.Errorf("bearer in lower case: %d %s", r.code, r.body)
	}
	s.as("").get("/events", "Authorization: Basic YTpi").problem(t, http.StatusUnauthorized)
	s.as("eyJhbGciOiJub25lIn0.e30.").get("/events").problem(t, http.StatusUnauthorized, "not valid")
	s.as("").do(http.MethodPost, "/hooks/validate", "{}", "Content-Type: application/json").problem(t, http.StatusUnauthorized)
	for _, c := range []caller{s.as(""), s.as("eyJhbGciOiJub25lIn0.e30."), nobody, shop} {
		if r := c.get("/health"); r.code != http.StatusOK || strings.TrimSpace(r.body) != `{"status":"healthy"}` {
			t.Errorf("health for who may not read the rest: %d %s", r.code, r.body)
		}
	}
	if r := nobody.get("/openapi.json"); r.code != http.StatusOK {
		t.Errorf("the document, for somebody without rights: %d", r.code)
	}
	scrapes := s.as(serviceAccountWith(t, s.pay, "scraper", rbacv1.PolicyRule{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}))
	if r := scrapes.get("/metrics"); r.code != http.StatusOK {
		t.Errorf("the metrics, for somebody who may get /metrics: %d %s", r.code, r.body)
	}
	scrapes.get("/events").problem(t, http.StatusForbidden)
}

// checkShutdown lets a request begin before the end of khook, and finish after it.
func checkShutdown(t *testing.T, s *served) {
	conn, err := net.Dial("tcp", s.api)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := "kind: Hook\n"
	fmt.Fprintf(conn, "POST /api/v1/hooks/validate HTTP/1.1\r\nHost: khook\r\nAuthorization: Bearer %s\r\nContent-Type: application/yaml\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", s.token, len(body))
	answers := bufio.NewReader(conn)
	if line, err := answers.ReadString('\n'); err != nil || !strings.Contains(line, "100") { // the handler reads now
		t.Fatalf("%q %v", line, err)
	}
	_ = s.cmd.Process.Signal(os.Interrupt)
	eventually(t, "no new connection is taken", func() error {
		c, err := net.Dial("tcp", s.api)
		if err == nil {
			c.Close()
			return fmt.Errorf("one was")
		}
		return nil
	})
	fmt.Fprint(conn, body)
	_, _ = answers.ReadString('\n') // the empty line of 100
	resp, err := http.ReadResponse(answers, nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("the request under way: %+v %v", resp, err)
	}
	<-s.done
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("khook ended with %d", code)
	}
}

func TestTheAPIIsOpenOnlyWhereOneSaysSo(t *testing.T) {
	kagent := kagenttest.New(t, kagenttest.Options{})
	p := controller(t, append(settings(kagent, t.TempDir()), "--api-auth", "none")...).ready()
	if code, _ := get(t, "http://"+p.api+"/api/v1/events"); code != http.StatusOK {
		t.Errorf("on the loopback address: %d", code)
	}
	for _, args := range [][]string{
		{"--api-auth", "none", "--api-bind-address", "0.0.0.0:0"},
		{"--api-auth", "none", "--api-bind-address", ":9999"},
		{"--api-open-to-everybody-on-the-network"},
		{"--api-tls-cert-file", "x"},
		{"--api-bind-address", "here"},
		{"--api-rate-limit", "0"},
	} {
		if code, _, errs := runCLI(t, append([]string{"controller"}, args...)...); code == 0 || !strings.Contains(errs, "--api-") {
			t.Errorf("%v: %d %s", args, code, errs)
		}
	}
}

func TestTheAPISpeaksTLSWithACertificateThatCanChange(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	writeCertificate(t, cert, key, 1)
	kagent := kagenttest.New(t, kagenttest.Options{})
	p := controller(t, append(settings(kagent, t.TempDir()), "--api-auth", "none", "--api-tls-cert-file", cert, "--api-tls-key-file", key)...).ready()
	asked := func() (serial int64, proto string, err error) {
		pool := x509.NewCertPool()
		text, _ := os.ReadFile(cert)
		pool.AppendCertsFromPEM(text)
		c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "khook"}, ForceAttemptHTTP2: true, DisableKeepAlives: true}}
		resp, err := c.Get("https://" + p.api + "/api/v1/health")
		if err != nil {
			return 0, "", err
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.TLS.PeerCertificates[0].SerialNumber.Int64(), resp.Proto, nil
	}
	if serial, proto, err := asked(); err != nil || serial != 1 || proto != "HTTP/2.0" {
		t.Fatalf("certificate %d over %s, %v", serial, proto, err)
	}
	writeCertificate(t, cert, key, 2)
	eventually(t, "the new certificate is used", func() error {
		serial, _, err := asked()
		if err != nil || serial != 2 {
			return fmt.Errorf("certificate %d, %w", serial, err)
		}
		return nil
	})
}

// writeCertificate makes a certificate for the name khook that signs itself.
func writeCertificate(t *testing.T, certFile, keyFile string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "khook"}, DNSNames: []string{"khook"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{keyFile: {Type: "EC PRIVATE KEY", Bytes: private}, certFile: {Type: "CERTIFICATE", Bytes: der}} {
		var text bytes.Buffer
		if err := pem.Encode(&text, block); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAClientThatAsksTooOftenIsToldToWait(t *testing.T) {
	kagent := kagenttest.New(t, kagenttest.Options{})
	p := controller(t, append(settings(kagent, t.TempDir()), "--api-auth", "none", "--api-rate-limit", "1", "--api-rate-burst", "3")...).ready()
	c := caller{t, "http://" + p.api + api.Base, ""}
	for range 3 {
		if r := c.get("/events"); r.code != http.StatusOK {
			t.Fatalf("%d %s", r.code, r.body)
		}
	}
	r := c.get("/events")
	if r.problem(t, http.StatusTooManyRequests, "Retry-After"); r.header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After: %q", r.header.Get("Retry-After"))
	}
}

func TestAStandbyAnswersQueriesToo(t *testing.T) {
	ns, dir := namespace(t), t.TempDir()
	kagent := kagenttest.New(t, kagenttest.Options{})
	args := append(settings(kagent, dir), "--leader-elect", "--leader-election-namespace", ns, "--api-auth", "none")
	grantLease(t, ns)
	replicas := []caller{}
	for range 2 {
		replicas = append(replicas, caller{t, "http://" + controller(t, args...).api + api.Base, ""})
	}
	becomes(t, newPod(t, ns, "cart", "cart-abc-1"), 1, "Error")
	leaders := 0
	for _, c := range replicas {
		eventually(t, "each replica shows the event", func() error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			req, _ := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/events/"+ns, nil)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if text, _ := io.ReadAll(resp.Body); !strings.Contains(string(text), "cart-abc-1") {
				return fmt.Errorf("%s", text)
			}
			return nil
		})
		var h api.Health
		eventually(t, "it has started", func() error {
			if h = read[api.Health](c, "/health"); h.Pipeline.State == "starting" {
				return errors.New("a watch is not open yet")
			}
			return nil
		})
		if h.Leader {
			leaders++
		}
		if want := map[bool]string{true: "leading", false: "standby"}[h.Leader]; h.Pipeline.State != want || h.Leader != (len(h.Plugins) > 0) {
			t.Errorf("%+v", h)
		}
	}
	if leaders != 1 {
		t.Errorf("%d leaders", leaders)
	}
}
