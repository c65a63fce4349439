package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// debian is what a node takes from Debian: the packages, by a file that each brings.
var debian = map[string]string{
	"containerd": "/usr/bin/containerd", "runc": "/usr/sbin/runc", "containernetworking-plugins": "/usr/lib/cni/bridge",
	"busybox-static": "/bin/busybox", "iproute2": "/sbin/ip", "iptables": "/usr/sbin/iptables",
}

// install gets what is missing. It is not interrupted: a half installed package helps nobody.
func install(ctx context.Context) error {
	var missing []string
	for pkg, path := range debian {
		if _, err := os.Stat(path); err != nil {
			missing = append(missing, pkg)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	names := strings.Join(missing, " ")
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("the node needs %s: install them (there is no apt-get here)", names)
	}
	say("installing %s", names)
	for _, args := range [][]string{{"update", "-q"}, append([]string{"install", "-y", "-q", "--no-install-recommends"}, missing...)} {
		cmd := exec.CommandContext(context.WithoutCancel(ctx), "apt-get", append([]string{"-o", "DPkg::Lock::Timeout=120"}, args...)...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		cmd.SysProcAttr = dieWithParent(true)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("install %s: apt-get %s: %w\n%s", names, args[0], err, out)
		}
	}
	return nil
}
