// Command cluster builds and runs a real Kubernetes for khook's tests and its demo: etcd and the
// control plane, and on request a node with real containers. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
)

const usage = `usage: go run -C test/cluster . COMMAND [FLAGS]

  assets [--node]                   build what is missing, print the folder of etcd, kube-apiserver and kubectl
  run [--node] [FLAGS] -- COMMAND   start a cluster, run COMMAND with its KUBECONFIG, end everything
  up [--node] [FLAGS]               start a cluster until Ctrl-C

  --node         with a node: kubelet, containerd and runc (Linux and root)
  --kubernetes V another Kubernetes than the newest, such as 1.30: one of versions.txt; or the variable K8S
  --image FILE   an archive of images that the node is to have; may be repeated
  --cwd DIR      the working directory of COMMAND; relative paths are taken from there
  --dir DIR      keep the cluster's data and logs in DIR, which is new or empty
  --keep         leave data and logs at the end (everything else is removed)
  --existing-ok  use the cluster of KUBECONFIG, if that is set, and start none
  --interrupt-ok Ctrl-C is how COMMAND is meant to end: it is no error, also while the cluster starts
`

// options are the flags of all commands.
type options struct {
	node, existing, keep bool
	interruptible        bool
	cwd, dir             string
	images               []string
	k8s                  string // minor version of Kubernetes; the newest if empty
}

func main() {
	// Children are to die with this process (Pdeathsig), which Linux ties to the thread that
	// started them: all are started from the main one.
	runtime.LockOSThread()
	if len(os.Args) == 3 && os.Args[1] == nodeCommand {
		fmt.Fprintln(os.Stderr, "cluster:", runNode(os.Args[2]))
		os.Exit(1)
	}
	s := catchSignals()
	code, err := run(s, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// run does what the arguments say. The exit code is that of the COMMAND, if one was run.
func run(s *signals, args []string) (int, error) {
	o, command, args, err := parse(args)
	if err != nil {
		return 2, nil //nolint:nilerr // the flag set has said why
	}
	switch command {
	case "assets":
		err := printAssets(s.ctx, o)
		return s.code(err), err
	case "up":
		return withCluster(s, o, nil)
	case "run":
		if len(args) == 0 {
			return 2, errors.New("run needs a COMMAND after --")
		}
		if o.existing && os.Getenv("KUBECONFIG") != "" {
			return runCommand(s, nil, o.cwd, args, os.Environ())
		}
		return withCluster(s, o, args)
	default:
		fmt.Fprint(os.Stderr, usage)
		return 2, nil
	}
}

// parse takes flags before and after the command; what stands after them is rest.
func parse(args []string) (o options, command string, rest []string, err error) {
	flags := flag.NewFlagSet("cluster", flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	flags.BoolVar(&o.node, "node", false, "")
	flags.BoolVar(&o.existing, "existing-ok", false, "")
	flags.BoolVar(&o.keep, "keep", false, "")
	flags.BoolVar(&o.interruptible, "interrupt-ok", false, "")
	flags.StringVar(&o.cwd, "cwd", "", "")
	flags.StringVar(&o.dir, "dir", "", "")
	flags.StringVar(&o.k8s, "kubernetes", os.Getenv("K8S"), "")
	flags.Func("image", "", func(path string) error {
		o.images = append(o.images, path)
		return nil
	})
	if err := flags.Parse(args); err != nil || flags.NArg() == 0 {
		return o, "", nil, err
	}
	command = flags.Arg(0)
	err = flags.Parse(flags.Args()[1:])
	return o, command, flags.Args(), err
}

func printAssets(ctx context.Context, o options) error {
	a, err := buildAssets(ctx, o)
	if err == nil {
		fmt.Println(a.dir)
	}
	return err
}

// withCluster starts a cluster, runs the command (or waits, if there is none), and ends everything.
func withCluster(s *signals, o options, command []string) (code int, err error) {
	a, err := buildAssets(s.ctx, o)
	if err != nil {
		return s.unstarted(o, err)
	}
	c, err := newCluster(s.ctx, a, o)
	if err != nil {
		return s.unstarted(o, err)
	}
	defer func() {
		if closeErr := c.close(); closeErr != nil {
			err = errors.Join(err, fmt.Errorf("end the cluster: %w", closeErr))
		}
	}()
	if err := c.start(s.ctx); err != nil {
		return s.unstarted(o, err)
	}
	if command == nil {
		return c.wait(s)
	}
	// A COMMAND without a folder is looked for in the PATH that it will have.
	if err := os.Setenv("PATH", a.dir+string(os.PathListSeparator)+os.Getenv("PATH")); err != nil {
		return 1, err
	}
	return runCommand(s, c.died, o.cwd, command, c.environ())
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "cluster: "+format+"\n", args...) }
