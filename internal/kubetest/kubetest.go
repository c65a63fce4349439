// Package kubetest starts a real kube-apiserver for tests.
//
// It imitates nothing of Kubernetes and knows nothing of khook; code that is no test must not import it.
package kubetest

import (
	"errors"
	"fmt"
	"os"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// Env is a running API server.
type Env struct {
	*envtest.Environment
	Config *rest.Config // of an administrator
	certs  string       // folder of the API server, so that it can be stopped and started again
}

// Start starts etcd and kube-apiserver from the folder that KUBEBUILDER_ASSETS names, with the
// CRDs of some folders installed. Start one for each test binary, in TestMain, and Stop it.
func Start(crdDirs ...string) (*Env, error) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		return nil, errors.New(`KUBEBUILDER_ASSETS is not set: run "make test", or set it to a folder with etcd, kube-apiserver and kubectl`)
	}
	env := &envtest.Environment{CRDDirectoryPaths: crdDirs, ErrorIfCRDPathMissing: true}
	// Pods of tests have no service account.
	env.ControlPlane.GetAPIServer().Configure().Append("disable-admission-plugins", "ServiceAccount")
	certs, err := os.MkdirTemp("", "khook-apiserver-")
	if err != nil {
		return nil, fmt.Errorf("start the API server: %w", err)
	}
	env.ControlPlane.GetAPIServer().CertDir = certs
	cfg, err := env.Start()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the API server: %w", err), env.Stop(), os.RemoveAll(certs))
	}
	cfg.QPS, cfg.Burst = 1000, 2000
	return &Env{Environment: env, Config: cfg, certs: certs}, nil
}

// Stop ends the API server and etcd.
func (e *Env) Stop() {
	if err := errors.Join(e.Environment.Stop(), os.RemoveAll(e.certs)); err != nil {
		fmt.Fprintln(os.Stderr, "stop the API server:", err)
	}
}
