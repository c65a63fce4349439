package kubetest

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
)

// OperatorCRDs are the files of the ServiceMonitor and PrometheusRule resources, which come with the
// Prometheus Operator's Go module; root is khook's folder.
func OperatorCRDs(ctx context.Context, root string) ([]string, error) {
	return filesOf(ctx, filepath.Join(root, "tools", "prometheus-operator"), "github.com/prometheus-operator/prometheus-operator",
		"example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml", "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml")
}

// CertManagerCRDs are the files of the Certificate and Issuer resources, which come with cert-manager's Go module;
// root is khook's folder.
func CertManagerCRDs(ctx context.Context, root string) ([]string, error) {
	return filesOf(ctx, filepath.Join(root, "tools", "cert-manager"), "github.com/cert-manager/cert-manager",
		"deploy/crds/cert-manager.io_certificates.yaml", "deploy/crds/cert-manager.io_issuers.yaml")
}

// filesOf are files of a Go module, in the version that the go.mod of a folder names.
func filesOf(ctx context.Context, dir, path string, names ...string) ([]string, error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", path)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("download the module %s: %w: %s", path, err, out)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		return nil, fmt.Errorf("download the module %s: %w", path, err)
	}
	files := make([]string, len(names))
	for i, name := range names {
		files[i] = filepath.Join(module.Dir, name)
	}
	return files, nil
}
