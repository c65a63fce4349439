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
	"strings"
	"syscall"
	"time"
)

// build compiles the binary and puts it in its place only when it is whole.
func (b binary) build(ctx context.Context, to string) (err error) {
	version, err := versionOf(b.module, b.source)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	say("building %s %s, once; its modules are downloaded first", b.name, version)
	started := time.Now()
	total, err := b.packages(ctx)
	if err != nil {
		return err
	}
	part := to + ".part"
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreMissing(os.Remove(part)))
		}
	}()
	cmd := b.goCommand(ctx, "build", "-v", "-trimpath", "-ldflags", b.ldflags(version), "-o", part, b.source+b.pkg)
	progress, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	other := showProgress(progress, b.name, total)
	if err := cmd.Wait(); err != nil {
		return errors.Join(context.Cause(ctx), fmt.Errorf("%w\n%s", err, other))
	}
	if err := os.Rename(part, to); err != nil {
		return err
	}
	say("%s is built (%s)", b.name, time.Since(started).Round(time.Second))
	return nil
}

func (b binary) ldflags(version string) string {
	if b.source != kubernetes {
		return "-s -w"
	}
	return fmt.Sprintf("-s -w -X k8s.io/component-base/version.gitVersion=%s -X k8s.io/client-go/pkg/version.gitVersion=%s", version, version)
}

// goCommand runs go in the binary's module. A canceled one is interrupted, as by Ctrl-C, so that
// it removes its own temporary files.
func (b binary) goCommand(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = filepath.Join("build", b.module)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	cmd.SysProcAttr = dieWithParent(true)
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// packages counts what the binary is compiled from.
func (b binary) packages(ctx context.Context) (int, error) {
	cmd := b.goCommand(ctx, "list", "-deps", b.source+b.pkg)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return 0, errors.Join(context.Cause(ctx), fmt.Errorf("%w\n%s", err, errs.String()))
	}
	return bytes.Count(out.Bytes(), []byte("\n")), nil
}

// showProgress counts the packages that go build names, and returns what else it says.
func showProgress(r io.Reader, name string, total int) string {
	var other strings.Builder
	terminal := isTerminal()
	every := 30 * time.Second
	if terminal {
		every = 200 * time.Millisecond
	}
	n, last := 0, time.Now()
	for lines := bufio.NewScanner(r); lines.Scan(); {
		line := lines.Text()
		if strings.ContainsAny(line, " \t:") {
			fmt.Fprintln(&other, line)
			continue
		}
		n++
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
	_, _ = io.Copy(&other, r) // after a line that is too long
	return other.String()
}

func isTerminal() bool {
	info, err := os.Stderr.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
