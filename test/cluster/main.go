// Command cluster builds and runs a real Kubernetes for khook's tests and its demo: etcd and the
// control plane, and on request a node with real containers. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"time"
)

const usage = `usage: go run -C test/cluster . COMMAND [FLAGS]

  assets [--node]                   build what is missing, print the folder of etcd, kube-apiserver and kubectl
  run [--node] [FLAGS] -- COMMAND   start a cluster, run COMMAND with its KUBECONFIG, end everything
  up [--node]                       start a cluster until Ctrl-C

  --node         with a node: kubelet, containerd and runc (Linux and root)
  --cwd DIR      the working directory of COMMAND
  --existing-ok  use the cluster of KUBECONFIG, if that is set, and start none
`

// options are the flags of all commands.
type options struct {
	node, existing bool
	cwd            string
}

func main() {
	// Children are to die with this process (Pdeathsig), which Linux ties to the thread that
	// started them: all are started from the main one.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := run(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func run(ctx context.Context, args []string) (int, error) {
	var o options
	flags := flag.NewFlagSet("cluster", flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	flags.BoolVar(&o.node, "node", false, "")
	flags.BoolVar(&o.existing, "existing-ok", false, "")
	flags.StringVar(&o.cwd, "cwd", "", "")
	command := ""
	for len(args) > 0 { // flags may stand before and after the command
		if err := flags.Parse(args); err != nil {
			return 2, nil //nolint:nilerr // the flag set has said why
		}
		if command != "" {
			args = flags.Args()
			break
		}
		if flags.NArg() == 0 {
			break
		}
		command, args = flags.Arg(0), flags.Args()[1:]
	}
	switch command {
	case "assets":
		return 0, printAssets(ctx, o)
	case "up":
		return withCluster(ctx, o, nil)
	case "run":
		if len(args) == 0 {
			return 2, errors.New("run needs a COMMAND after --")
		}
		if o.existing && os.Getenv("KUBECONFIG") != "" {
			return runCommand(ctx, o, args, os.Environ())
		}
		return withCluster(ctx, o, args)
	default:
		flags.Usage()
		return 2, nil
	}
}

func printAssets(ctx context.Context, o options) error {
	if dir := os.Getenv("KUBEBUILDER_ASSETS"); dir != "" && !o.node {
		fmt.Println(dir)
		return nil
	}
	a, err := buildAssets(ctx, o.node)
	if err == nil {
		fmt.Println(a.dir)
	}
	return err
}

// withCluster starts a cluster, runs the command (or waits, if there is none), and ends everything.
func withCluster(ctx context.Context, o options, command []string) (code int, err error) {
	assets, err := buildAssets(ctx, o.node)
	if err != nil {
		return 1, err
	}
	c, err := newCluster(assets, o.node)
	if err != nil {
		return 1, err
	}
	defer func() {
		if closeErr := c.close(); closeErr != nil {
			err = errors.Join(err, fmt.Errorf("end the cluster: %w", closeErr))
		}
	}()
	if err := c.start(ctx); err != nil {
		return 1, err
	}
	if command == nil {
		say("ready: export KUBECONFIG=%s", c.kubeconfig)
		<-ctx.Done()
		return 0, nil
	}
	env := append(os.Environ(), "KUBECONFIG="+c.kubeconfig, "KUBEBUILDER_ASSETS="+assets.dir,
		"PATH="+assets.dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	return runCommand(ctx, o, command, env)
}

// commandGrace is how long the command may take to end after a signal.
const commandGrace = 30 * time.Second

func runCommand(ctx context.Context, o options, command, env []string) (int, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir, cmd.Env = o.cwd, env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = dieWithParent()
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = commandGrace
	err := cmd.Run()
	if ctx.Err() != nil && cmd.ProcessState != nil { // it was told to end, and how it did counts
		return max(cmd.ProcessState.ExitCode(), 0), nil
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	if err != nil {
		return 1, fmt.Errorf("run %s: %w", command[0], err)
	}
	return 0, nil
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "cluster: "+format+"\n", args...) }
