package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// binary is a program that is built from a Go module below build/, at the version that its go.mod
// names.
type binary struct {
	name, module, pkg string
	group             string // module whose version names the cache folder
	ldflags           string // %s is the version
	node              bool   // needed for a node only
}

const kubernetes = "k8s.io/kubernetes"

var binaries = []binary{
	{name: "etcd", module: "etcd", pkg: "go.etcd.io/etcd/server/v3", group: "kubernetes", ldflags: ""},
	{name: "kube-apiserver", module: "kubernetes", pkg: kubernetes + "/cmd/kube-apiserver", group: "kubernetes", ldflags: versionFlags},
	{name: "kubectl", module: "kubernetes", pkg: kubernetes + "/cmd/kubectl", group: "kubernetes", ldflags: versionFlags},
	{name: "kube-scheduler", module: "kubernetes", pkg: kubernetes + "/cmd/kube-scheduler", group: "kubernetes", ldflags: versionFlags, node: true},
	{name: "kube-controller-manager", module: "kubernetes", pkg: kubernetes + "/cmd/kube-controller-manager", group: "kubernetes", ldflags: versionFlags, node: true},
	{name: "kubelet", module: "kubelet", pkg: kubernetes + "/cmd/kubelet", group: "kubelet", ldflags: versionFlags, node: true},
}

const versionFlags = "-X k8s.io/component-base/version.gitVersion=%s -X k8s.io/client-go/pkg/version.gitVersion=%s"

// assets is what was built.
type assets struct {
	dir     string            // with etcd, kube-apiserver and kubectl, as envtest wants it
	cache   string            // where it all is
	program map[string]string // path of each binary
}

// cacheDir is where binaries are kept from one run to the next.
func cacheDir() (string, error) {
	if dir := os.Getenv("KHOOK_CACHE"); dir != "" {
		return filepath.Join(dir, "cluster"), nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache folder: %w; set KHOOK_CACHE", err)
	}
	return filepath.Join(dir, "khook", "cluster"), nil
}

// buildAssets builds what is missing. Another run that does the same is waited for.
func buildAssets(ctx context.Context, node bool) (*assets, error) {
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	a := &assets{cache: cache, program: map[string]string{}}
	var missing []binary
	for _, b := range binaries {
		if b.node && !node {
			continue
		}
		version, err := versionOf(b.group)
		if err != nil {
			return nil, err
		}
		dir := filepath.Join(cache, b.group+"-"+version)
		a.program[b.name] = filepath.Join(dir, b.name)
		if b.name == "kube-apiserver" {
			a.dir = dir
		}
		if _, err := os.Stat(a.program[b.name]); err != nil {
			missing = append(missing, b)
		}
	}
	if len(missing) == 0 {
		return a, nil
	}
	unlock, err := lock(cache)
	if err != nil {
		return nil, err
	}
	defer unlock()
	for _, b := range missing {
		if _, err := os.Stat(a.program[b.name]); err == nil {
			continue // the other run has built it
		}
		if err := b.build(ctx, a.program[b.name]); err != nil {
			return nil, fmt.Errorf("build %s: %w", b.name, err)
		}
	}
	return a, nil
}

var required = map[string]*regexp.Regexp{
	"kubernetes": regexp.MustCompile(`(?m)k8s\.io/kubernetes (v\S+)`),
	"kubelet":    regexp.MustCompile(`(?m)k8s\.io/kubernetes (v\S+)`),
}

// versionOf reads the version of a module below build/ from its go.mod.
func versionOf(module string) (string, error) {
	text, err := os.ReadFile(filepath.Join("build", module, "go.mod"))
	if err != nil {
		return "", fmt.Errorf("%w: run this in test/cluster (go run -C test/cluster .)", err)
	}
	found := required[module].FindSubmatch(text)
	if found == nil {
		return "", fmt.Errorf("build/%s/go.mod requires no %s", module, required[module])
	}
	return string(found[1]), nil
}

// lock holds the cache folder against other runs.
func lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		say("another run builds: waiting for it")
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return func() { f.Close() }, nil
}

// build compiles the binary and puts it in its place only when it is whole.
func (b binary) build(ctx context.Context, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	dir := filepath.Join("build", b.module)
	say("building %s, once; its modules are downloaded first", b.name)
	total, err := packages(ctx, dir, b.pkg)
	if err != nil {
		return err
	}
	ldflags := "-s -w"
	if b.ldflags != "" {
		version, err := versionOf(b.module)
		if err != nil {
			return err
		}
		ldflags += " " + strings.ReplaceAll(b.ldflags, "%s", version)
	}
	part := to + ".part"
	started := time.Now()
	cmd := exec.CommandContext(ctx, "go", "build", "-v", "-trimpath", "-ldflags", ldflags, "-o", part, b.pkg)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	cmd.SysProcAttr = dieWithParent()
	progress, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	other := showProgress(progress, b.name, total)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%w\n%s", err, other)
	}
	if err := os.Rename(part, to); err != nil {
		return err
	}
	say("%s is built (%s)", b.name, time.Since(started).Round(time.Second))
	return nil
}

// packages counts what is to be compiled.
func packages(ctx context.Context, dir, pkg string) (int, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-deps", pkg)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("%w\n%s", err, errs.String())
	}
	return bytes.Count(out.Bytes(), []byte("\n")), nil
}

// showProgress counts the packages that go build names, and returns what else it says.
func showProgress(r io.Reader, name string, total int) string {
	var other strings.Builder
	terminal := isTerminal()
	n, last := 0, time.Now()
	for lines := bufio.NewScanner(r); lines.Scan(); {
		line := lines.Text()
		if strings.ContainsAny(line, " \t:") {
			fmt.Fprintln(&other, line)
			continue
		}
		n++
		every := 30 * time.Second
		if terminal {
			every = 200 * time.Millisecond
		}
		if time.Since(last) < every {
			continue
		}
		last = time.Now()
		if terminal {
			fmt.Fprintf(os.Stderr, "\r\033[Kcluster: %s: %d of up to %d packages", name, n, total)
		} else {
			say("%s: %d of up to %d packages", name, n, total)
		}
	}
	if terminal {
		fmt.Fprint(os.Stderr, "\r\033[K")
	}
	return other.String()
}

func isTerminal() bool {
	info, err := os.Stderr.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
