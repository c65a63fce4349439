package cli

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kagent-dev/khook/internal/ca"
)

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
	return server, write(t, "ca.crt", string(own.PEM()))
}

func TestCLISpeaksTLSToAServerThatItCanCheck(t *testing.T) {
	server, caFile := secured(t, "khook.kagent.svc")
	_, other := secured(t)
	const warning = "khook: warning: the server's certificate is not checked"
	for name, c := range map[string]struct {
		args  []string
		fails string
		warns bool
	}{
		"with its authority":              {args: []string{"--ca-file", caFile}},
		"as kubectl calls it":             {args: []string{"--certificate-authority", caFile}},
		"for the name of its Service":     {args: []string{"--ca-file", caFile, "--tls-server-name", "khook.kagent.svc"}},
		"unchecked, with a warning":       {args: []string{"--insecure-skip-tls-verify"}, warns: true},
		"not with the system's":           {fails: "certificate"},
		"not with another authority":      {args: []string{"--ca-file", other}, fails: "certificate"},
		"not for a name that it has not":  {args: []string{"--ca-file", caFile, "--tls-server-name", "khook.other.svc"}, fails: "khook.other.svc"},
		"not with what is no certificate": {args: []string{"--ca-file", write(t, "x", "?")}, fails: "has no certificate in PEM"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := khook(t, append([]string{"events", "--server", server.URL, "--token", "very-secret"}, c.args...)...)
			if (code != 0) != (c.fails != "") || !strings.Contains(errs, c.fails) || strings.Contains(errs, warning) != c.warns || strings.Contains(out+errs, "very-secret") {
				t.Errorf("%d %s %s", code, out, errs)
			}
		})
	}
}

func TestCLISaysThatAPortSpeaksTLS(t *testing.T) {
	server, _ := secured(t)
	code, _, errs := khook(t, "events", "--server", strings.Replace(server.URL, "https:", "http:", 1))
	if code != 1 || !strings.Contains(errs, "speaks TLS") || !strings.Contains(errs, "https://") {
		t.Errorf("%d %s", code, errs)
	}
}
