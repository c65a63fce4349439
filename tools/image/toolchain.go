package main

import (
	"context"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// namedToolchain is the Go release that the go.mod of a folder names, such as "go1.26.11".
func namedToolchain(ctx context.Context, source string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "edit", "-json")
	cmd.Dir, cmd.Env = source, append(os.Environ(), "GOTOOLCHAIN=local") // any Go reads a go.mod
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("read go.mod in %s: %w", source, err)
	}
	var mod struct{ Toolchain string }
	if err := json.Unmarshal(out, &mod); err != nil {
		return "", fmt.Errorf("read go.mod in %s: %w", source, err)
	}
	if !strings.HasPrefix(mod.Toolchain, "go") {
		return "", fmt.Errorf("go.mod in %s has no line such as \"toolchain go1.26.11\": it says by which Go the image is built", source)
	}
	return mod.Toolchain, nil
}

// builtBy holds that a program was built by exactly this Go. Another one gives another program of
// the same source, so the image would have another digest, and may have another one's vulnerabilities.
func builtBy(program, toolchain string) error {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return err
	}
	// An experiment follows the release: "go1.26.11 X:nogreenteagc".
	if info.GoVersion != toolchain {
		return fmt.Errorf("it was built by %s, and go.mod names %s: unset GOEXPERIMENT, and see that go can fetch that release", info.GoVersion, toolchain)
	}
	return nil
}
