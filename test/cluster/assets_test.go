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
	cmd.Env = append(cmd.Env, "KUBEBUILDER_ASSETS=/given", "KHOOK_CACHE="+t.TempDir(), "K8S=")
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
	modules := []string{"kubelet"}
	for _, r := range releases() {
		modules = append(modules, r.module)
	}
	for _, module := range modules {
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

// The version in versions.txt is that of the module.
func TestTheTableOfVersionsNamesTheModulesOfThem(t *testing.T) {
	all := releases()
	for _, r := range all {
		version, err := versionOf(r.module, kubernetes)
		if err != nil || !strings.HasPrefix(version, "v"+r.minor+".") {
			t.Errorf("%s is %s: %v", r.minor, version, err)
		}
	}
	if got, err := releaseOf(""); err != nil || got != all[len(all)-1] || got.module != newest {
		t.Errorf("without a version it is %v, %v", got, err)
	}
	if _, err := releaseOf("9.9"); err == nil || !strings.Contains(err.Error(), "take one of 1.30, 1.33, 1.37 ") {
		t.Errorf("a version that is not there: %v", err)
	}
}

// Tests that are asked to run on one version do not run on another that KUBEBUILDER_ASSETS happens to name.
func TestAssetsThatAreGivenAreOfTheVersionAskedFor(t *testing.T) {
	given := t.TempDir()
	server := "#!/bin/sh\necho Kubernetes v1.33.13\n"
	if err := os.WriteFile(filepath.Join(given, "kube-apiserver"), []byte(server), 0o755); err != nil {
		t.Fatal(err)
	}
	for k8s, want := range map[string]string{
		"":     "",
		"1.33": "",
		"1.30": "KUBEBUILDER_ASSETS names Kubernetes v1.33.13, not the 1.30 that K8S asks for",
	} {
		cmd := program(t, t.TempDir(), "assets")
		cmd.Env = append(cmd.Env, "KUBEBUILDER_ASSETS="+given, "KHOOK_CACHE="+t.TempDir(), "K8S="+k8s)
		out, err := cmd.CombinedOutput()
		if (err == nil) != (want == "") || !strings.Contains(string(out), want) {
			t.Errorf("K8S=%s: %v: %s", k8s, err, out)
		}
	}
}
