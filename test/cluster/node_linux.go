package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

const nodeName = "khook-node"

// startNode starts containerd and the kubelet as one child, in namespaces of their own.
func (c *cluster) startNode(ctx context.Context) error {
	if err := install(ctx); err != nil {
		return err
	}
	if err := c.configureNode(); err != nil {
		return fmt.Errorf("configure the node: %w", err)
	}
	if err := errors.Join(makeBridge(), c.serveAPI()); err != nil {
		return fmt.Errorf("make the node's network: %w", err)
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	ownNamespaces := func(a *syscall.SysProcAttr) { a.Cloneflags = syscall.CLONE_NEWPID | syscall.CLONE_NEWNS }
	if err := c.spawn("node", ownNamespaces, program, nodeCommand, c.dir); err != nil {
		return err
	}
	if err := c.await(ctx, "containerd", time.Minute, func(ctx context.Context) error {
		return exec.CommandContext(ctx, "ctr", "-a", c.in(socketName), "version").Run()
	}); err != nil {
		return err
	}
	if err := c.importImages(ctx); err != nil {
		return fmt.Errorf("make the images: %w", err)
	}
	if err := c.await(ctx, "the kubelet", time.Minute, c.giveAddress); err != nil {
		return fmt.Errorf("%w\n%s", err, tail(c.in("kubelet.log"), 4000))
	}
	if err := c.await(ctx, "the node", 2*time.Minute, c.nodeReady); err != nil {
		return fmt.Errorf("%w\n%s", err, tail(c.in("kubelet.log"), 4000))
	}
	// Without it no Pod can be made.
	return c.await(ctx, "the default service account", time.Minute, func(ctx context.Context) error {
		return c.get(ctx, "/api/v1/namespaces/default/serviceaccounts/default", nil)
	})
}

// giveAddress tells the API server where the kubelet listens (for logs and exec): on the loopback,
// since it lets everybody in. A kubelet does not give itself such an address, but takes it from a
// cloud provider, whose part this plays.
func (c *cluster) giveAddress(ctx context.Context) error {
	for _, args := range [][]string{
		{"patch", "node", nodeName, "--subresource=status", "--type=merge", "-p", `{"status":{"addresses":[{"type":"InternalIP","address":"127.0.0.1"}]}}`},
		{"taint", "node", nodeName, "node.cloudprovider.kubernetes.io/uninitialized-"},
	} {
		cmd := exec.CommandContext(ctx, c.assets.program["kubectl"], append([]string{"--kubeconfig", c.kubeconfig}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("kubectl %s: %w: %s", args[0], err, out)
		}
	}
	return nil
}

// configureNode writes what runNode starts from, and makes what has to be on the machine itself.
func (c *cluster) configureNode() error {
	if err := c.home.note(entry{Node: true}); err != nil {
		return err
	}
	for _, path := range covered {
		if err := c.home.makeDir(path); err != nil {
			return err
		}
	}
	if err := makeCgroups(); err != nil {
		return err
	}
	ports, err := freePorts(1)
	if err != nil {
		return err
	}
	for _, dir := range []string{"cni", staticPods} {
		if err := os.MkdirAll(c.in(dir), 0o755); err != nil {
			return err
		}
	}
	for name, config := range map[string]any{"kubelet.json": c.kubeletConfig(ports[0]), "cni/10-khook.conflist": c.networkConfig(), planName: c.plan()} {
		text, err := json.MarshalIndent(config, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(c.in(name), text, 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(c.in("containerd.toml"), []byte(c.containerdConfig()), 0o600)
}

func (c *cluster) plan() plan {
	return plan{
		Containerd: []string{debian["containerd"], "--config", c.in("containerd.toml")},
		Kubelet: []string{c.assets.program["kubelet"], "--config", c.in("kubelet.json"), "--kubeconfig", c.kubeconfig,
			"--hostname-override", nodeName, "--cloud-provider", "external", "--root-dir", c.in("kubelet"), "--cert-dir", c.in("kubelet-pki")},
	}
}

func (c *cluster) containerdConfig() string {
	return fmt.Sprintf(`version = 2
root = %q
state = %q
[grpc]
  address = %q
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = %q
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %q
    conf_dir = %q
[plugins."io.containerd.internal.v1.opt"]
  path = %q
`, c.in("containerd"), c.in("run"), c.in(socketName), snapshotter(c.dir), filepath.Dir(debian["containernetworking-plugins"]),
		c.in("cni"), c.in("opt"))
}

// snapshotter is overlayfs, but where the folder is itself on one (in a container).
func snapshotter(dir string) string {
	const overlay = 0x794c7630
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err == nil && fs.Type == overlay {
		return "native"
	}
	return "overlayfs"
}

// networkConfig is a bridge that reaches the machine and the other Pods, and nothing else.
func (c *cluster) networkConfig() any {
	return map[string]any{
		"cniVersion": "0.4.0", "name": "khook",
		"plugins": []any{
			map[string]any{"type": "bridge", "bridge": bridgeName, "isGateway": true, "ipMasq": false,
				"ipam": map[string]any{"type": "host-local", "dataDir": c.in("ipam"), "ranges": [][]any{{map[string]string{"subnet": subnet}}},
					"routes": []any{map[string]string{"dst": "0.0.0.0/0"}}}},
			map[string]any{"type": "loopback"},
		},
	}
}

func (c *cluster) kubeletConfig(port int) any {
	return map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"address": "127.0.0.1", "port": port, "healthzPort": 0,
		"authentication": map[string]any{"anonymous": map[string]bool{"enabled": true}, "webhook": map[string]bool{"enabled": false}},
		"authorization":  map[string]string{"mode": "AlwaysAllow"},
		"cgroupDriver":   "cgroupfs", "cgroupRoot": "/" + cgroupName, "failSwapOn": false, "enforceNodeAllocatable": []string{},
		"containerRuntimeEndpoint": "unix://" + c.in(socketName), "clusterDNS": []string{clusterDNS}, "clusterDomain": "cluster.local",
		"resolvConf": c.in(resolvConf), "evictionHard": map[string]string{}, "oomScoreAdj": 0, "makeIPTablesUtilChains": false,
		"staticPodPath": c.in(staticPods), "fileCheckFrequency": "2s", "volumePluginDir": c.in("volumeplugins"), "podLogsDir": c.in("podlogs"), "localStorageCapacityIsolation": false,
	}
}

// nodeReady also wants no taints: Pods that come before they are gone would find no node.
func (c *cluster) nodeReady(ctx context.Context) error {
	var found struct {
		Spec   struct{ Taints []struct{ Key string } }
		Status struct {
			Conditions []struct{ Type, Status, Message string }
		}
	}
	if err := c.get(ctx, "/api/v1/nodes/"+nodeName, &found); err != nil {
		return err
	}
	for _, cond := range found.Status.Conditions {
		if cond.Type == "Ready" && cond.Status == "True" && len(found.Spec.Taints) == 0 {
			return nil
		}
	}
	return fmt.Errorf("the kubelet has not made it ready: %v, taints %v", found.Status.Conditions, found.Spec.Taints)
}
