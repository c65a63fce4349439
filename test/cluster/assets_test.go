package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestAssetsThatAreGivenWin(t *testing.T) {
	cmd := program(t, t.TempDir(), "assets")
	cmd.Env = append(cmd.Env, "KUBEBUILDER_ASSETS=/given", "KHOOK_CACHE="+t.TempDir())
	if out, err := cmd.Output(); err != nil || string(out) != "/given\n" {
		t.Errorf("%q %v", out, err)
	}
}

func TestABinaryOfAnotherVersionIsNotTaken(t *testing.T) {
	a := &assets{program: map[string]string{}}
	cache := t.TempDir()
	b := binaries[0]
	if ok, err := a.find(b, cache); ok || err != nil {
		t.Fatalf("found in an empty folder: %v %v", ok, err)
	}
	if err := os.MkdirAll(filepath.Dir(a.program[b.name]), 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.ReadFile(os.Args[0]) // a Go program, but not etcd
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range [][]byte{self, nil} {
		if err := os.WriteFile(a.program[b.name], text, 0o755); err != nil {
			t.Fatal(err)
		}
		if ok, err := a.find(b, cache); ok || err != nil {
			t.Errorf("%d bytes that are not etcd are taken for it: %v", len(text), err)
		}
	}
}

// The staging modules of Kubernetes v1.X.Y are v0.X.Y, all of them.
func TestModulesOfKubernetesHaveItsVersion(t *testing.T) {
	replace := regexp.MustCompile(`(?m)^\s*(?:replace )?(k8s\.io/\S+) => (\S+) (\S+)$`)
	for _, module := range []string{"kubernetes", "kubelet"} {
		version, err := versionOf(module, kubernetes)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join("build", module, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		lines := replace.FindAllStringSubmatch(string(text), -1)
		if len(lines) < 20 {
			t.Errorf("%s has %d replace lines", module, len(lines))
		}
		want := strings.Replace(version, "v1.", "v0.", 1)
		for _, l := range lines {
			if l[1] != l[2] || l[3] != want {
				t.Errorf("%s: %s is replaced by %s %s, want %s", module, l[1], l[2], l[3], want)
			}
		}
	}
}
