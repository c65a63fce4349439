package client

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"

	corev1 "k8s.io/api/core/v1"
)

// transport speaks to --server.
func (o *Options) transport() (http.RoundTripper, error) {
	config, err := o.tlsConfig(o.TLSServerName, o.InsecureSkipTLSVerify)
	if err != nil {
		return nil, err
	}
	t := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // it is one
	t.TLSClientConfig = config
	return t, nil
}

// tlsConfig checks the server's certificate for a name, that of the URL if it is empty, unless it is to go unchecked.
func (o *Options) tlsConfig(name string, unchecked bool) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: name, InsecureSkipVerify: unchecked} //nolint:gosec // as the user asks, or where the tunnel vouches for it
	if o.CAFile == "" {
		return config, nil
	}
	text, err := os.ReadFile(o.CAFile)
	if err != nil {
		return nil, fmt.Errorf("--ca-file: %w", err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("--ca-file: %s has no certificate in PEM", o.CAFile)
	}
	return config, nil
}

// tunnel speaks to khook through a port that is forwarded to its Pod: with TLS if its Service says so. The tunnel
// goes through the API server and ends within the Pod, so that it is they who vouch for the other end. With --ca-file
// the certificate is checked all the same, for the name of the Service; without it there is nothing to check it
// against, and nobody on the way that a check would keep out.
func (o *Options) tunnel(svc *corev1.Service) (scheme string, _ http.RoundTripper, _ error) {
	if !speaksTLS(svc) {
		return "http", http.DefaultTransport, nil
	}
	config, err := o.tlsConfig(cmp.Or(o.TLSServerName, svc.Name+"."+svc.Namespace+".svc"), o.InsecureSkipTLSVerify || o.CAFile == "")
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
