package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"

	corev1 "k8s.io/api/core/v1"
)

// AfterApply warns of what takes the protection of TLS away. kong calls it once the flags are read.
func (f *apiFlags) AfterApply(io streams) error {
	if f.InsecureSkipTLSVerify {
		fmt.Fprintln(io.err, "khook: warning: the server's certificate is not checked (--insecure-skip-tls-verify): whoever is on the way can read the token; --ca-file checks it")
	}
	return nil
}

// transport speaks to --server.
func (f *apiFlags) transport() (http.RoundTripper, error) {
	config, err := f.tlsConfig(f.TLSServerName, f.InsecureSkipTLSVerify)
	if err != nil {
		return nil, err
	}
	t := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // it is one
	t.TLSClientConfig = config
	return t, nil
}

// tlsConfig checks the server's certificate for a name, that of the URL if it is empty, unless it is to go unchecked.
func (f *apiFlags) tlsConfig(name string, unchecked bool) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: name, InsecureSkipVerify: unchecked} //nolint:gosec // as the user asks, or where the tunnel vouches for it
	if f.CAFile == "" {
		return config, nil
	}
	text, err := os.ReadFile(f.CAFile)
	if err != nil {
		return nil, fmt.Errorf("--ca-file: %w", err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("--ca-file: %s has no certificate in PEM", f.CAFile)
	}
	return config, nil
}

// tunnel speaks to khook through a port that is forwarded to its Pod: with TLS if its Service says so. The tunnel
// goes through the API server and ends within the Pod, so that it is they who vouch for the other end. With --ca-file
// the certificate is checked all the same, for the name of the Service; without it there is nothing to check it
// against, and nobody on the way that a check would keep out.
func (f *apiFlags) tunnel(svc *corev1.Service) (scheme string, _ http.RoundTripper, _ error) {
	if !speaksTLS(svc) {
		return "http", http.DefaultTransport, nil
	}
	config, err := f.tlsConfig(cmp.Or(f.TLSServerName, svc.Name+"."+svc.Namespace+".svc"), f.InsecureSkipTLSVerify || f.CAFile == "")
	if err != nil {
		return "", nil, err
	}
	t := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // it is one
	t.TLSClientConfig = config
	return "https", t, nil
}

// speaksTLS says whether the API's port of khook's Service has TLS: the chart writes it into appProtocol.
func speaksTLS(svc *corev1.Service) bool {
	port := apiServicePort(svc)
	return port != nil && port.AppProtocol != nil && *port.AppProtocol == "https"
}
