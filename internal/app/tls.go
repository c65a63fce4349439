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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
	wrong(o.TLSAuthoritySecret != "" && !o.ownAuthority(), "--tls-authority-secret is of use with khook's own authority only: add --api-tls-self-signed, or --metrics-secure without a certificate")
	if why := validation.IsDNS1123Subdomain(o.TLSAuthoritySecret); o.TLSAuthoritySecret != "" && len(why) > 0 {
		errs = append(errs, fmt.Errorf("--tls-authority-secret is %q, which is no name of a Secret", o.TLSAuthoritySecret))
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
func (a *App) certificates(ctx context.Context, mgr ctrl.Manager) (found certificates, err error) {
	o := &a.options
	if o.ownAuthority() {
		own, err := a.authority(ctx, mgr)
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

// authority takes up khook's own authority from its Secret, or from beside the history, or makes it, and has its certificate told.
func (a *App) authority(ctx context.Context, mgr ctrl.Manager) (certificate, error) {
	o := &a.options
	var keeper ca.Keeper = ca.Folder(filepath.Join(o.folder(), "tls"))
	if o.TLSAuthoritySecret != "" {
		keeper = &authoritySecret{client: a.kube.tell, namespace: o.leaseNamespace(), name: o.TLSAuthoritySecret}
	}
	start, cancel := context.WithTimeout(ctx, authorityTimeout)
	defer cancel()
	own, made, err := ca.Open(start, ca.Config{Keeper: keeper, Names: o.TLSNames})
	if err != nil {
		return nil, err
	}
	k := &authorityKeeper{own: own, client: a.kube.tell, namespace: o.leaseNamespace(), configMap: o.TLSCAConfigMap, log: a.log.WithName("tls")}
	if made {
		k.sayMade()
	}
	return own.GetCertificate, mgr.Add(k)
}

// authorityTimeout is how long the API server has to tell or to take the authority.
const authorityTimeout = 10 * time.Second

// authorityKeeper keeps khook's own authority up to date, and writes its certificate into a ConfigMap, where clients find it. It looks
// after it: another installation of the chart may have emptied it, and another replica may have replaced the authority.
type authorityKeeper struct {
	own                  *ca.Authority
	client               kubernetes.Interface
	namespace, configMap string // no ConfigMap: it is not told
	log                  logr.Logger
}

func (k *authorityKeeper) sayMade() {
	k.log.Info("made a certificate authority: clients need its certificate", "keptIn", k.own.String(), "configMap", k.configMap)
}

// Start implements manager.Runnable.
func (k *authorityKeeper) Start(ctx context.Context) error { return runEvery(ctx, time.Minute, k.look) }

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (*authorityKeeper) NeedLeaderElection() bool { return false }

func (k *authorityKeeper) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, authorityTimeout)
	defer cancel()
	made, err := k.own.Refresh(ctx)
	switch {
	case made:
		k.sayMade()
	case err != nil && !errors.Is(ctx.Err(), context.Canceled):
		k.log.Error(err, "cannot look after the certificate authority, will retry: what is served goes by the one that is known")
	}
	if k.configMap != "" {
		k.tell(ctx)
	}
}

func (k *authorityKeeper) tell(ctx context.Context) {
	patch, err := json.Marshal(map[string]any{"data": map[string]string{"ca.crt": string(k.own.PEM())}})
	if err == nil {
		_, err = k.client.CoreV1().ConfigMaps(k.namespace).Patch(ctx, k.configMap, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "khook"})
	}
	if err != nil && !errors.Is(ctx.Err(), context.Canceled) {
		k.log.Error(err, "cannot write the certificate of khook's authority into its ConfigMap, will retry", "namespace", k.namespace, "name", k.configMap)
	}
}

// authoritySecret keeps the authority of several replicas in a Secret, which exists: khook may read and write that one, and make none.
type authoritySecret struct {
	client          kubernetes.Interface
	namespace, name string
}

// authorityKey is the Secret's key.
const authorityKey = "authority.pem"

// Load implements ca.Keeper.
func (s *authoritySecret) Load(ctx context.Context) ([]byte, string, error) {
	found, err := s.client.CoreV1().Secrets(s.namespace).Get(ctx, s.name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, "", fmt.Errorf("it does not exist: make it (kubectl -n %s create secret generic %s), or leave --tls-authority-secret out", s.namespace, s.name)
	case apierrors.IsForbidden(err):
		return nil, "", fmt.Errorf("khook needs the rights get and update on it: %w", err)
	case err != nil:
		return nil, "", err
	}
	return found.Data[authorityKey], found.ResourceVersion, nil
}

// Save implements ca.Keeper.
func (s *authoritySecret) Save(ctx context.Context, text []byte, version string) error {
	secrets := s.client.CoreV1().Secrets(s.namespace)
	found, err := secrets.Get(ctx, s.name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if found.ResourceVersion != version {
		return ca.ErrChanged
	}
	if found.Data == nil {
		found.Data = map[string][]byte{}
	}
	found.Data[authorityKey] = text
	if _, err = secrets.Update(ctx, found, metav1.UpdateOptions{FieldManager: "khook"}); apierrors.IsConflict(err) {
		return ca.ErrChanged
	}
	return err
}

// String implements ca.Keeper.
func (s *authoritySecret) String() string {
	return fmt.Sprintf("the Secret %s/%s", s.namespace, s.name)
}
