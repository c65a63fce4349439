package main

import (
	"context"
	_ "embed"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed versions.txt
var versionTable string

// release is a Kubernetes version that the tests run on.
type release struct {
	minor  string // such as 1.30
	module string // folder below build/
}

// releases are those of versions.txt, the newest last.
func releases() []release {
	var all []release
	for line := range strings.Lines(versionTable) {
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] != "#" {
			all = append(all, release{fields[0], fields[1]})
		}
	}
	return all
}

// releaseOf is the release of a minor version, the newest if it is empty. The error names those that there are.
func releaseOf(minor string) (release, error) {
	all := releases()
	if minor == "" {
		return all[len(all)-1], nil
	}
	i := slices.IndexFunc(all, func(r release) bool { return r.minor == strings.TrimPrefix(minor, "v") })
	if i >= 0 {
		return all[i], nil
	}
	names := make([]string, len(all))
	for i, r := range all {
		names[i] = r.minor
	}
	return release{}, fmt.Errorf("there is no Kubernetes %q to test on: take one of %s (K8S=%s)", minor, strings.Join(names, ", "), names[0])
}

// of is the binary as the release has it: those of the control plane are built from the release's module.
func (b binary) of(r release) binary {
	if b.module == newest {
		b.module = r.module
	}
	if b.cached == newest {
		b.cached = r.module
	}
	return b
}

// checkGiven fails if the API server in a folder is not of the release: tests that were asked to run on one version
// must not pass on another.
func (r release) checkGiven(ctx context.Context, dir string) error {
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "kube-apiserver"), "--version").Output()
	if err != nil {
		return fmt.Errorf("ask the kube-apiserver that KUBEBUILDER_ASSETS names for its version: %w", err)
	}
	version := strings.TrimSpace(string(out))
	if !strings.HasPrefix(version, "Kubernetes v"+r.minor+".") {
		return fmt.Errorf("KUBEBUILDER_ASSETS names %s, not the %s that K8S asks for: unset one of them", version, r.minor)
	}
	return nil
}
