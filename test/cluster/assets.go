package main

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// binary is a program that is built from a Go module below build/, at the version that its go.mod
// names.
type binary struct {
	name   string
	module string // folder below build/
	source string // module that the program is of
	pkg    string // its package, below source
	cached string // folder below build/ whose Kubernetes version names the folder in the cache
	node   bool   // needed for a node only
}

const (
	kubernetes = "k8s.io/kubernetes"
	etcdModule = "go.etcd.io/etcd/server/v3"

	newest = "kubernetes" // the folder below build/ of the newest Kubernetes
)

var binaries = []binary{
	{name: "etcd", module: "etcd", source: etcdModule, cached: "kubernetes"},
	{name: "kube-apiserver", module: "kubernetes", source: kubernetes, pkg: "/cmd/kube-apiserver", cached: "kubernetes"},
	{name: "kubectl", module: "kubernetes", source: kubernetes, pkg: "/cmd/kubectl", cached: "kubernetes"},
	{name: "kube-scheduler", module: "kubernetes", source: kubernetes, pkg: "/cmd/kube-scheduler", cached: "kubernetes", node: true},
	{name: "kube-controller-manager", module: "kubernetes", source: kubernetes, pkg: "/cmd/kube-controller-manager", cached: "kubernetes", node: true},
	{name: "kubelet", module: "kubelet", source: kubernetes, pkg: "/cmd/kubelet", cached: "kubelet", node: true},
}

// assets is what was built.
type assets struct {
	dir     string            // with etcd, kube-apiserver and kubectl, as envtest wants it
	program map[string]string // path of each binary
}

// buildAssets builds what is missing, and waits for another run that does so. What is in the
// folder of KUBEBUILDER_ASSETS is taken from there and never built.
func buildAssets(ctx context.Context, o options) (*assets, error) {
	a := &assets{program: map[string]string{}}
	given := os.Getenv("KUBEBUILDER_ASSETS")
	if given != "" && !filepath.IsAbs(given) {
		given = filepath.Join(o.cwd, given)
	}
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	r, err := releaseOf(o.k8s)
	if err != nil {
		return nil, err
	}
	if given != "" && o.k8s != "" {
		if err := r.checkGiven(ctx, given); err != nil {
			return nil, err
		}
	}
	var missing []binary
	for _, b := range binaries {
		b = b.of(r)
		if b.node && !o.node {
			continue
		}
		if given != "" && !b.node {
			a.dir, a.program[b.name] = given, filepath.Join(given, b.name)
			continue
		}
		ok, err := a.find(b, cache)
		if err != nil {
			return nil, err
		}
		if !ok {
			missing = append(missing, b)
		}
	}
	if len(missing) == 0 {
		return a, nil
	}
	return a, a.build(ctx, cache, missing)
}

// find notes where the binary is to be, and says whether it is there in the right version.
func (a *assets) find(b binary, cache string) (bool, error) {
	version, err := versionOf(b.cached, kubernetes)
	if err != nil {
		return false, err
	}
	want, err := versionOf(b.module, b.source)
	if err != nil {
		return false, err
	}
	kind, _, _ := strings.Cut(b.cached, "-")
	dir := filepath.Join(cache, kind+"-"+version)
	path := filepath.Join(dir, b.name)
	a.program[b.name] = path
	if !b.node {
		a.dir = dir
	}
	info, err := buildinfo.ReadFile(path) // a Go program knows what it was made of
	return err == nil && info.Path == b.source+b.pkg && info.Main.Version == want, nil
}

func (a *assets) build(ctx context.Context, cache string, missing []binary) error {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return fmt.Errorf("make the cache folder: %w; KHOOK_CACHE names another", err)
	}
	held, err := lock(ctx, filepath.Join(cache, lockName), "another run builds: waiting for it")
	if err != nil {
		return err
	}
	defer held.Close()
	for _, b := range missing {
		switch ok, err := a.find(b, cache); {
		case err != nil:
			return err
		case ok:
			continue // the other run has built it
		}
		if err := b.build(ctx, a.program[b.name]); err != nil {
			return fmt.Errorf("build %s: %w", b.name, err)
		}
	}
	return nil
}

// cacheDir is where binaries are kept from one run to the next.
func cacheDir() (string, error) {
	if dir := os.Getenv("KHOOK_CACHE"); dir != "" {
		return filepath.Join(dir, "cluster"), nil
	}
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
		return filepath.Join(dir, "khook", "cluster"), nil
	}
	userHome, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the cache folder: %w; set KHOOK_CACHE", err)
	}
	return filepath.Join(userHome, ".cache", "khook", "cluster"), nil
}

// versionOf reads from its go.mod which version of a module the module below build/ requires.
func versionOf(module, required string) (string, error) {
	path := filepath.Join("build", module, "go.mod")
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("%w: run this in test/cluster (go run -C test/cluster .)", err)
	}
	line := regexp.MustCompile(`(?m)^(?:require)?\s+` + regexp.QuoteMeta(required) + ` (v\S+)`)
	found := line.FindStringSubmatch(string(text))
	if found == nil {
		return "", fmt.Errorf("%s requires no %s", path, required)
	}
	return found[1], nil
}
