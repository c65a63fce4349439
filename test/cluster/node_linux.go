package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// node is the container side of the cluster: containerd with the cluster's own configuration,
// folders and socket, and a kubelet.
type node struct {
	dir, socket string
}

const (
	nodeName   = "khook-node"
	bridgeName = "khook0"
	subnet     = "10.244.77.0/24"
)

// packages are what Debian has for it; the names are those of a file that each brings.
var debian = map[string]string{
	"containerd": "/usr/bin/containerd", "runc": "/usr/sbin/runc", "containernetworking-plugins": "/usr/lib/cni/bridge",
	"busybox-static": "/bin/busybox", "iproute2": "/sbin/ip", "iptables": "/usr/sbin/iptables",
}

func (c *cluster) startNode(ctx context.Context) error {
	if err := install(ctx); err != nil {
		return err
	}
	n := &node{dir: c.dir, socket: filepath.Join(c.dir, "containerd.sock")}
	c.containers = n
	if err := n.configure(); err != nil {
		return err
	}
	if err := c.spawn("/usr/bin/containerd", "--config", n.in("containerd.toml")); err != nil {
		return err
	}
	if err := c.await(ctx, "containerd", time.Minute, func(ctx context.Context) error {
		return exec.CommandContext(ctx, "ctr", "-a", n.socket, "version").Run()
	}); err != nil {
		return err
	}
	if err := n.importImages(ctx); err != nil {
		return fmt.Errorf("make the images: %w", err)
	}
	ports, err := freePorts(2)
	if err != nil {
		return err
	}
	if err := n.configureKubelet(ports); err != nil {
		return err
	}
	if err := c.spawn("kubelet", "--config", n.in("kubelet.json"), "--kubeconfig", c.kubeconfig, "--hostname-override", nodeName,
		"--node-ip", "127.0.0.1", "--root-dir", n.in("kubelet")); err != nil {
		return err
	}
	return c.await(ctx, "the node", 3*time.Minute, c.nodeReady)
}

// install gets what is missing from Debian.
func install(ctx context.Context) error {
	var missing []string
	for pkg, file := range debian {
		if _, err := os.Stat(file); err != nil {
			missing = append(missing, pkg)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	say("installing %s", strings.Join(missing, " "))
	for _, args := range [][]string{{"update", "-q"}, append([]string{"install", "-y", "-q", "--no-install-recommends"}, missing...)} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w\n%s", args[0], err, out)
		}
	}
	return nil
}

func (n *node) in(name string) string { return filepath.Join(n.dir, name) }

// configure writes the configuration of containerd and of the network. Network namespaces are
// kept below the state folder, so that they are found at the end.
func (n *node) configure() error {
	containerd := fmt.Sprintf(`version = 2
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
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = %q
[plugins."io.containerd.internal.v1.opt"]
  path = %q
`, n.in("containerd"), n.in("run"), n.socket, n.in("cni"), n.in("opt"))
	network, err := json.Marshal(map[string]any{
		"cniVersion": "0.4.0", "name": "khook",
		"plugins": []any{
			map[string]any{"type": "bridge", "bridge": bridgeName, "isGateway": true, "ipMasq": false,
				"ipam": map[string]any{"type": "host-local", "dataDir": n.in("ipam"), "ranges": [][]any{{map[string]string{"subnet": subnet}}},
					"routes": []any{map[string]string{"dst": "0.0.0.0/0"}}}},
			map[string]any{"type": "loopback"},
		},
	})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(n.in("cni"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(n.in("containerd.toml"), []byte(containerd), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(n.in("cni"), "10-khook.conflist"), network, 0o600)
}

func (n *node) configureKubelet(ports []int) error {
	if err := makeCgroups(); err != nil {
		return err
	}
	if err := os.WriteFile(n.in("resolv.conf"), []byte("nameserver 127.0.0.1\n"), 0o644); err != nil {
		return err
	}
	config, err := json.Marshal(map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"address": "127.0.0.1", "port": ports[0], "healthzPort": ports[1], "healthzBindAddress": "127.0.0.1",
		"authentication": map[string]any{"anonymous": map[string]bool{"enabled": true}, "webhook": map[string]bool{"enabled": false}},
		"authorization":  map[string]string{"mode": "AlwaysAllow"},
		"cgroupDriver":   "cgroupfs", "cgroupRoot": "/" + cgroupName, "failSwapOn": false, "enforceNodeAllocatable": []string{},
		"containerRuntimeEndpoint": "unix://" + n.socket, "clusterDNS": []string{"10.96.0.10"}, "clusterDomain": "cluster.local",
		"resolvConf": n.in("resolv.conf"), "evictionHard": map[string]string{}, "oomScoreAdj": 0, "makeIPTablesUtilChains": false,
		"staticPodPath": "", "volumePluginDir": n.in("volumeplugins"), "podLogsDir": n.in("podlogs"), "localStorageCapacityIsolation": false,
	})
	if err != nil {
		return err
	}
	return os.WriteFile(n.in("kubelet.json"), config, 0o600)
}

// makeCgroups makes the cgroup below which the Pods run, in each tree.
func makeCgroups() error {
	trees, _ := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
	roots := []string{}
	for _, t := range trees {
		if info, err := os.Lstat(filepath.Dir(t)); err == nil && info.IsDir() {
			roots = append(roots, filepath.Dir(t))
		}
	}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		roots = []string{"/sys/fs/cgroup"}
	}
	for _, root := range roots {
		if err := os.MkdirAll(filepath.Join(root, cgroupName), 0o755); err != nil {
			return fmt.Errorf("make a cgroup: %w", err)
		}
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} { // version 1 wants them set
			if text, err := os.ReadFile(filepath.Join(root, file)); err == nil {
				_ = os.WriteFile(filepath.Join(root, cgroupName, file), text, 0o644)
			}
		}
	}
	return nil
}

func (c *cluster) nodeReady(ctx context.Context) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.server+"/api/v1/nodes/"+nodeName, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var found struct {
		Status struct {
			Conditions []struct{ Type, Status, Message string }
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&found); err != nil {
		return err
	}
	for _, cond := range found.Status.Conditions {
		if cond.Type == "Ready" && cond.Status == "True" {
			return nil
		}
	}
	return fmt.Errorf("the kubelet has not made it ready: %v", found.Status.Conditions)
}

// stop ends all containers, while containerd can still be asked to.
func (n *node) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ctr", "-a", n.socket, "-n", "k8s.io", "tasks", "ls", "-q").Output()
	if err != nil {
		return nil //nolint:nilerr // it has ended: cleanUp does the rest
	}
	for _, id := range strings.Fields(string(out)) {
		_ = exec.CommandContext(ctx, "ctr", "-a", n.socket, "-n", "k8s.io", "tasks", "rm", "-f", id).Run()
	}
	return nil
}

func unmountPoint(path string) error {
	err := syscall.Unmount(path, syscall.MNT_DETACH)
	if err == syscall.EINVAL || err == syscall.ENOENT { // gone with another one
		return nil
	}
	return err
}

func removeBridge() error {
	if _, err := os.Stat("/sys/class/net/" + bridgeName); err != nil {
		return nil //nolint:nilerr // there is none
	}
	if out, err := exec.Command("ip", "link", "delete", bridgeName).CombinedOutput(); err != nil {
		return fmt.Errorf("remove the bridge: %w: %s", err, out)
	}
	return nil
}
