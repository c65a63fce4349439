package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// cgroupName is the cgroup below which all Pods of the node run.
const cgroupName = "khook-test-node"

const cgroupRoot = "/sys/fs/cgroup"

// controllers are what a kubelet wants of cgroups version 2.
const controllers = "+cpu +cpuset +io +memory +pids"

// trees are the roots of the cgroups: one tree for each controller under version 1, one in all
// under version 2.
func trees() []string {
	if _, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.controllers")); err == nil {
		return []string{cgroupRoot}
	}
	var roots []string
	found, _ := filepath.Glob(filepath.Join(cgroupRoot, "*", "cgroup.procs"))
	for _, f := range found {
		if info, err := os.Lstat(filepath.Dir(f)); err == nil && info.IsDir() { // not a link to another
			roots = append(roots, filepath.Dir(f))
		}
	}
	return roots
}

// makeCgroups makes the cgroup below which the Pods run, in each tree.
func makeCgroups() error {
	for _, root := range trees() {
		dir := filepath.Join(root, cgroupName)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make a cgroup: %w", err)
		}
		if root == cgroupRoot {
			return delegate(root, dir)
		}
		for _, setting := range []string{"cpuset.cpus", "cpuset.mems"} { // version 1 wants them set
			if text, err := os.ReadFile(filepath.Join(root, setting)); err == nil {
				_ = os.WriteFile(filepath.Join(dir, setting), text, 0o644)
			}
		}
	}
	return nil
}

// delegate lets the cgroups below dir have all controllers (version 2).
func delegate(dirs ...string) error {
	for _, dir := range dirs {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte(controllers), 0o644); err != nil {
			return fmt.Errorf("give controllers to the cgroups in %s: %w; in a container, its processes have to be in a cgroup below the root first", dir, err)
		}
	}
	return nil
}

// removeNode removes what a node made outside of its namespaces, once its processes have ended.
// The kernel takes a moment to undo namespaces after the last process.
func removeNode() error {
	var err error
	for range 100 {
		if err = errors.Join(removeCgroups(), removeBridge()); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

func removeCgroups() error {
	var all []string
	for _, root := range trees() {
		_ = filepath.WalkDir(filepath.Join(root, cgroupName), func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.IsDir() {
				all = append(all, path)
			}
			return nil
		})
	}
	var errs []error
	for _, dir := range slices.Backward(all) { // the deepest first
		errs = append(errs, ignoreMissing(syscall.Rmdir(dir)))
	}
	return errors.Join(errs...)
}

// makeBridge makes the Pods' network, in which the machine has its own and the API server's address.
func makeBridge() error {
	for _, args := range [][]string{
		{"link", "add", bridgeName, "type", "bridge"},
		{"address", "add", hostAddress + "/24", "dev", bridgeName}, // the first one: the bridge plugin looks at it
		{"address", "add", apiServerIP + "/32", "dev", bridgeName},
		{"link", "set", bridgeName, "up"},
	} {
		if out, err := exec.Command(debian["iproute2"], args...).CombinedOutput(); err != nil { //nolint:noctx // returns at once
			return fmt.Errorf("ip %s %s: %w: %s", args[0], args[1], err, out)
		}
	}
	return nil
}

// removeBridge waits for the Pods' ends of it, which go with their network namespaces.
func removeBridge() error {
	if _, err := os.Stat(filepath.Join("/sys/class/net", bridgeName)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	ports, err := os.ReadDir(filepath.Join("/sys/class/net", bridgeName, "brif"))
	if err != nil {
		return err
	}
	if len(ports) > 0 {
		return fmt.Errorf("%s still has the port %s", bridgeName, ports[0].Name())
	}
	if out, err := exec.Command(debian["iproute2"], "link", "delete", bridgeName).CombinedOutput(); err != nil { //nolint:noctx // returns at once
		return fmt.Errorf("remove the bridge: %w: %s", err, out)
	}
	return nil
}
