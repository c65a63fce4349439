package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// nodeCommand makes this program the first process of a node: in a PID and a mount namespace of
// its own, it starts containerd and the kubelet. When it ends, however it does, the kernel ends
// all processes in there and undoes all mounts, and with them the Pods' network namespaces.
const nodeCommand = "node"

const (
	planName   = "node.json"
	socketName = "containerd.sock"
	resolvConf = "resolv.conf"
)

// plan is what to start.
type plan struct{ Containerd, Kubelet []string }

// covered are folders of the machine that containerd, the network plugins and the kubelet write
// to whatever their configuration says. The node has empty ones in their place.
var covered = []string{"/run/containerd", "/var/lib/cni", "/var/lib/kubelet", "/var/log/containers"}

// tunables are settings of the machine's kernel, below /proc/sys, that the kubelet and the bridge
// plugin would change. The node sees them as they want them.
var tunables = map[string]string{
	"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
	"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000", "net/ipv4/ip_forward": "1",
}

// runNode returns when a part of the node has ended.
func runNode(dir string) error {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM)
	var p plan
	text, err := os.ReadFile(filepath.Join(dir, planName))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &p); err != nil {
		return err
	}
	if err := makeMounts(dir); err != nil {
		return fmt.Errorf("make the node's mounts: %w", err)
	}
	containerd, err := startLogged(filepath.Join(dir, "containerd.log"), p.Containerd)
	if err != nil {
		return err
	}
	if err := awaitSocket(filepath.Join(dir, socketName), containerd, filepath.Join(dir, "containerd.log")); err != nil {
		return err
	}
	kubelet, err := startLogged(filepath.Join(dir, "kubelet.log"), p.Kubelet)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- reap(map[int]string{containerd: "containerd", kubelet: "kubelet"}, dir) }()
	select {
	case err := <-ended:
		return err
	case <-told:
		return errors.New("told to end")
	}
}

func makeMounts(dir string) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts to itself: %w", err)
	}
	const plain = syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC
	if err := syscall.Mount("proc", "/proc", "proc", plain, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	for _, path := range covered {
		if err := syscall.Mount("tmpfs", path, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "mode=0755"); err != nil {
			return fmt.Errorf("mount over %s: %w", path, err)
		}
	}
	// Names are resolved by nobody here; the kubelet only wants a file.
	if err := os.WriteFile(filepath.Join(dir, resolvConf), []byte("nameserver 127.0.0.1\n"), 0o644); err != nil {
		return err
	}
	for name, value := range tunables {
		real, shown := filepath.Join("/proc/sys", name), filepath.Join(dir, "sys", name)
		if _, err := os.Stat(real); err != nil {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(shown), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(shown, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := syscall.Mount(shown, real, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount over %s: %w", real, err)
		}
	}
	return nil
}

// startLogged starts a program. It is reaped by reap.
func startLogged(logPath string, args []string) (pid int, err error) {
	log, err := os.Create(logPath)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	cmd := exec.Command(args[0], args[1:]...) //nolint:noctx // the kernel ends it
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin:/usr/bin:/bin") // runc is no user's program
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start %s: %w", args[0], err)
	}
	return cmd.Process.Pid, nil
}

// awaitSocket waits until somebody answers on the socket; the kubelet does not start before.
func awaitSocket(socket string, pid int, log string) error {
	deadline := time.Now().Add(time.Minute)
	for {
		conn, err := net.DialTimeout("unix", socket, time.Second) //nolint:noctx // it has a limit
		if err == nil {
			return conn.Close()
		}
		if p, ok := readProcess(pid); !ok || p.zombie {
			return fmt.Errorf("containerd ended at its start:\n%s", tail(log, 3000))
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("containerd does not answer: %w\n%s", err, tail(log, 3000))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// reap is what the first process of a PID namespace has to do: wait for every orphan. It returns
// when one of the named processes has ended.
func reap(names map[int]string, dir string) error {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for the node's processes: %w", err)
		}
		if name := names[pid]; name != "" {
			return fmt.Errorf("%s ended (exit code %d, signal %d):\n%s", name, status.ExitStatus(), status.Signal(), tail(filepath.Join(dir, name+".log"), 3000))
		}
	}
}
