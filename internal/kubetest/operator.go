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
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", "github.com/prometheus-operator/prometheus-operator")
	cmd.Dir = filepath.Join(root, "tools", "prometheus-operator")
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("download the Prometheus Operator's module: %w: %s", err, out)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		return nil, fmt.Errorf("download the Prometheus Operator's module: %w", err)
	}
	dir := filepath.Join(module.Dir, "example", "prometheus-operator-crd")
	return []string{filepath.Join(dir, "monitoring.coreos.com_servicemonitors.yaml"), filepath.Join(dir, "monitoring.coreos.com_prometheusrules.yaml")}, nil
}
