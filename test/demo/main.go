// Command demo shows khook's main job on a real API server: a sample agent, khook, a Hook, and
// failures that were recorded on a real node, played as they came.
//
// Run it with "make demo", which starts a control plane for it; "make demo ARGS=--fast" takes a minute.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/go-logr/logr"

	"github.com/kagent-dev/khook/api/v1alpha2"
)

const namespace = "shop"

// recordings are played beside each other: one recovers by itself within seconds, one goes on
// until it is fixed, one waits for something that comes later, one never gets ready.
var recordings = []string{"crash-once-then-recover", "oom-hog", "volume-missing", "readiness-fail"}

// options are the flags.
type options struct {
	khook, recordings, crd string
	port                   int
	fast, quit             bool
}

func main() { os.Exit(untilSignal(os.Args[1:], os.Stdout, os.Stderr)) }

// untilSignal returns the exit code: that somebody has seen enough (Ctrl-C) is no failure.
func untilSignal(args []string, out, errs io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctrllog.SetLogger(logr.Discard())
	o, err := parse(args, errs)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return 2 // the flags have said why
	}
	if err := run(ctx, o, newTeller(out)); err != nil && ctx.Err() == nil {
		fmt.Fprintln(errs, "demo:", err)
		return 1
	}
	return 0
}

func parse(args []string, errs io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.StringVar(&o.khook, "khook", filepath.Join("bin", "khook"), "the khook program")
	flags.StringVar(&o.recordings, "recordings", filepath.Join("test", "recordings"), "the folder of the recordings")
	flags.StringVar(&o.crd, "crd", filepath.Join("config", "crd"), "the folder of the CRD")
	flags.IntVar(&o.port, "port", 8082, "the port of khook's HTTP API; if it is taken, another one")
	flags.BoolVar(&o.fast, "fast", false, "play everything in about a minute, six times as fast as it was recorded")
	flags.BoolVar(&o.quit, "quit", false, "end after the summary, rather than wait for Ctrl-C")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		err = fmt.Errorf("there is no argument %q, only flags", flags.Arg(0))
		fmt.Fprintln(errs, "demo:", err)
	}
	return o, err
}

// pace is by how much time is compressed.
type pace int

// The paces of the demo.
const (
	asRecorded pace = 1
	fast       pace = 6
)

func (o options) pace() pace {
	if o.fast {
		return fast
	}
	return asRecorded
}

// of is how long something takes at this pace.
func (p pace) of(d time.Duration) time.Duration { return d / time.Duration(p) }

func run(ctx context.Context, o options, tell *teller) error {
	c, err := connect(o.crd)
	if err != nil {
		return err
	}
	agent, err := startAgent(tell, o.pace())
	if err != nil {
		return fmt.Errorf("start the sample agent: %w", err)
	}
	defer agent.Close()
	tell.say(me, "A real API server is up, and a sample agent at %s: a real A2A server, but a stand-in without a language model, which "+
		"changes nothing, so that what recovers here does so as it did when it was recorded.", agent.URL)
	k, err := startKhook(ctx, o, agent.URL, tell)
	if err != nil {
		return fmt.Errorf("start khook: %w", err)
	}
	defer k.end()
	ctx, cancel := k.guard(ctx)
	defer cancel()
	if err := tellStory(ctx, o, c, k, tell); err != nil && !k.died(ctx) {
		return err
	}
	if k.died(ctx) {
		return context.Cause(ctx)
	}
	return nil
}

// tellStory applies the Hook, plays the failures, tells what khook decides, and sums it up at the end or at Ctrl-C.
func tellStory(ctx context.Context, o options, c client.WithWatch, k *khook, tell *teller) error {
	if err := apply(ctx, c, tell); err != nil {
		return err
	}
	k.tellHowToAsk(tell)
	go tell.follow(ctx, c)
	told := newStory(k.api, o.pace())
	following, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(following)
		told.follow(ctx, ended, tell)
	}()
	for _, name := range recordings {
		if err := play(ctx, c, filepath.Join(o.recordings, name+".jsonl"), o.pace(), tell); err != nil {
			return err
		}
	}
	tell.say(me, "Four Pods now fail as they did on a real node. %s Ctrl-C ends it.", o.pace().told())
	if err := tell.players.Wait(); err != nil {
		return err
	}
	if ctx.Err() == nil {
		tell.say(me, "The recordings have ended; khook still watches what becomes of the Pods.")
	}
	close(ended)
	<-following // until all outcomes are known, or ctx ends
	// Ctrl-C has ended ctx, and khook still answers: it has a process group of its own.
	if err := told.sumUp(context.WithoutCancel(ctx), tell); err != nil {
		return err
	}
	if !o.quit && ctx.Err() == nil {
		tell.say(me, "khook goes on answering; Ctrl-C ends the demo.")
		<-ctx.Done()
	}
	return nil
}

// told says how long it takes.
func (p pace) told() string {
	if p == asRecorded {
		return "It takes six minutes; make demo ARGS=--fast takes one."
	}
	return fmt.Sprintf("It takes a little more than a minute, since times are compressed: a second here stands for %d, and the times that khook is set to are as much shorter.", p)
}

// connect finds the cluster of KUBECONFIG and installs the CRD.
func connect(crd string) (client.WithWatch, error) {
	if os.Getenv("KUBECONFIG") == "" {
		return nil, errors.New(`KUBECONFIG is not set: run "make demo", which starts a control plane for it`)
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return nil, err
	}
	cfg.QPS, cfg.Burst = 100, 200
	if _, err := envtest.InstallCRDs(cfg, envtest.CRDInstallOptions{Paths: []string{crd}, ErrorIfPathMissing: true}); err != nil {
		return nil, fmt.Errorf("install the CRD: %w", err)
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha2.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	return client.NewWithWatch(cfg, client.Options{Scheme: scheme})
}

const prompt = `{{.EventType}} of {{.Workload}} in {{.Namespace}}: {{.EventMessage}}.
Find out why, and say what should be done.`

// apply makes the namespace and the Hook.
func apply(ctx context.Context, c client.Client, tell *teller) error {
	hook := &v1alpha2.Hook{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "shop"}}
	for _, t := range []string{"oom-kill", "pod-restart", "pod-pending", "probe-failed"} {
		id := "kagent/stand-in"
		hook.Spec.EventConfigurations = append(hook.Spec.EventConfigurations, v1alpha2.EventConfiguration{EventType: t, AgentId: &id, Prompt: prompt})
	}
	for _, obj := range []client.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, hook} {
		if err := c.Create(ctx, obj); err != nil {
			return fmt.Errorf("create %T: %w", obj, err)
		}
	}
	if err := waitReady(ctx, c, hook); err != nil {
		return err
	}
	tell.say(me, "Hook shop/shop is ready: it names agent kagent/stand-in for all four event types.")
	return nil
}

// waitReady waits until khook says that the Hook works, or ctx ends, as it does with khook.
func waitReady(ctx context.Context, c client.Client, hook *v1alpha2.Hook) error {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("it says nothing of it within a minute"))
	defer cancel()
	for {
		if err := c.Get(ctx, client.ObjectKeyFromObject(hook), hook); err != nil && ctx.Err() == nil {
			return err
		}
		for _, cond := range hook.Status.Conditions {
			if cond.Type == v1alpha2.ConditionReady && cond.Status == metav1.ConditionTrue {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("khook does not make the Hook ready: %w", context.Cause(ctx))
		case <-time.After(100 * time.Millisecond):
		}
	}
}
