// Command khook watches a Kubernetes cluster for failures and calls AI agents about them.
package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"

	_ "golang.org/x/crypto/x509roots/fallback" // where the system has no certificate authorities: khook's image has none

	"github.com/kagent-dev/khook/internal/cli"
)

// version is set by the build; see Makefile.
var version = ""

func main() { os.Exit(untilSignal()) }

// untilSignal runs the command line of the process until it ends or is told to.
func untilSignal() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return cli.Main(ctx, os.Args[1:], cli.Env{Out: os.Stdout, Err: os.Stderr, Version: buildVersion(), Program: filepath.Base(os.Args[0])})
}

// buildVersion is the version of the build, or of the module if it was built by go install.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
