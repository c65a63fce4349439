package app

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"

	"github.com/kagent-dev/khook/internal/ca"
)

// checkTLS checks the settings of TLS of all ports.
func (o *Options) checkTLS() []error {
	var errs []error
	wrong := func(is bool, why string) {
		if is {
			errs = append(errs, errors.New(why))
		}
	}
	wrong((o.APITLSCertFile == "") != (o.APITLSKeyFile == ""), "--api-tls-cert-file and --api-tls-key-file belong together: set both or none")
	wrong(o.APITLSSelfSigned && o.APITLSCertFile != "", "--api-tls-self-signed and --api-tls-cert-file exclude each other: leave one out")
	wrong((o.MetricsTLSCertFile == "") != (o.MetricsTLSKeyFile == ""), "--metrics-tls-cert-file and --metrics-tls-key-file belong together: set both or none")
	wrong(o.MetricsTLSCertFile != "" && !o.MetricsSecure, "--metrics-tls-cert-file is of use with --metrics-secure only: add it")
	wrong(o.MetricsSecure && o.APIAuth == "none", "--metrics-secure asks who scrapes, and --api-auth=none does not let it: leave one of them out")
	wrong(o.TLSCAConfigMap != "" && !o.ownAuthority(), "--tls-ca-configmap is of use with khook's own authority only: add --api-tls-self-signed, or --metrics-secure without a certificate")
	if why := validation.IsDNS1123Subdomain(o.TLSCAConfigMap); o.TLSCAConfigMap != "" && len(why) > 0 {
		errs = append(errs, fmt.Errorf("--tls-ca-configmap is %q, which is no name of a ConfigMap", o.TLSCAConfigMap))
	}
	for _, name := range o.TLSNames {
		if net.ParseIP(name) == nil && len(validation.IsDNS1123Subdomain(name)) > 0 && len(validation.IsWildcardDNS1123Subdomain(name)) > 0 {
			errs = append(errs, fmt.Errorf("--tls-names has %q, which is neither a DNS name nor an IP address", name))
		}
	}
	return errs
}

// ownAuthority says whether a port has a certificate of khook's own authority.
func (o *Options) ownAuthority() bool {
	return o.APITLSSelfSigned || o.MetricsSecure && o.MetricsTLSCertFile == ""
}

// certificate is a port's, as tls.Config asks for it; nil: the port has no TLS.
type certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)

// certificates are those of the ports.
type certificates struct{ api, metrics certificate }

// certificates reads or makes what the ports need, and adds to the manager what keeps it up to date.
func (a *App) certificates(mgr ctrl.Manager) (found certificates, err error) {
	o := &a.options
	if o.ownAuthority() {
		own, err := a.authority(mgr)
		if err != nil {
			return found, err
		}
		if o.APITLSSelfSigned {
			found.api = own
		}
		if o.MetricsSecure {
			found.metrics = own
		}
	}
	if o.APITLSCertFile != "" {
		if found.api, err = certificateOf(mgr, o.APITLSCertFile, o.APITLSKeyFile); err != nil {
			return found, fmt.Errorf("--api-tls-cert-file: %w", err)
		}
	}
	if o.MetricsTLSCertFile != "" {
		if found.metrics, err = certificateOf(mgr, o.MetricsTLSCertFile, o.MetricsTLSKeyFile); err != nil {
			return found, fmt.Errorf("--metrics-tls-cert-file: %w", err)
		}
	}
	return found, nil
}

// certificateOf is that of two files, which are read again when they change.
func certificateOf(mgr ctrl.Manager, certFile, keyFile string) (certificate, error) {
	watcher, err := certwatcher.New(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	return watcher.GetCertificate, mgr.Add(watcher)
}

// authority takes up khook's own authority beside the history, or makes it, and has its certificate told.
func (a *App) authority(mgr ctrl.Manager) (certificate, error) {
	o := &a.options
	dir := filepath.Join(o.folder(), "tls")
	own, made, err := ca.Open(ca.Config{Dir: dir, Names: o.TLSNames})
	if err != nil {
		return nil, err
	}
	if made {
		a.log.Info("made a certificate authority: clients need its certificate", "folder", dir, "configMap", o.TLSCAConfigMap)
	}
	if o.TLSCAConfigMap == "" {
		return own.GetCertificate, nil
	}
	return own.GetCertificate, mgr.Add(&authorityTeller{
		client: a.kube.tell, namespace: o.leaseNamespace(), name: o.TLSCAConfigMap, pem: own.PEM(), log: a.log.WithName("tls"),
	})
}

// authorityTeller writes the certificate of khook's own authority into a ConfigMap, where clients find it. It looks
// after it: another installation of the chart may have emptied it.
type authorityTeller struct {
	client          kubernetes.Interface
	namespace, name string
	pem             []byte
	log             logr.Logger
}

// Start implements manager.Runnable.
func (a *authorityTeller) Start(ctx context.Context) error { return runEvery(ctx, time.Minute, a.tell) }

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (*authorityTeller) NeedLeaderElection() bool { return false }

func (a *authorityTeller) tell(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	patch, err := json.Marshal(map[string]any{"data": map[string]string{"ca.crt": string(a.pem)}})
	if err == nil {
		_, err = a.client.CoreV1().ConfigMaps(a.namespace).Patch(ctx, a.name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "khook"})
	}
	if err != nil && !errors.Is(ctx.Err(), context.Canceled) {
		a.log.Error(err, "cannot write the certificate of khook's authority into its ConfigMap, will retry", "namespace", a.namespace, "name", a.name)
	}
}
