// Command demo shows khook's main job on a real API server: a sample agent, khook, a Hook, and
// failures that were recorded on a real node, played in real time.
//
// Run it with "make demo", which starts a control plane for it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
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

func main() { os.Exit(untilSignal()) }

func untilSignal() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctrllog.SetLogger(logr.Discard())
	if err := run(ctx); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		return 1
	}
	return 0
}

func run(ctx context.Context) error {
	khook := flag.String("khook", filepath.Join("bin", "khook"), "the khook program")
	folder := flag.String("recordings", filepath.Join("test", "recordings"), "the folder of the recordings")
	crd := flag.String("crd", filepath.Join("config", "crd"), "the folder of the CRD")
	quit := flag.Bool("quit", false, "end when the recordings have ended, rather than wait for Ctrl-C")
	flag.Parse()

	c, err := connect(*crd)
	if err != nil {
		return err
	}
	tell := newTeller()
	tell.say(me, "a real API server is up, and the CRD of the Hooks is in it")
	agent, err := startAgent(tell)
	if err != nil {
		return fmt.Errorf("start the sample agent: %w", err)
	}
	defer agent.Close()
	tell.say(me, "a sample agent listens at %s: a real A2A server, but a stand-in without a language model", agent.URL)
	end, err := startKhook(ctx, *khook, agent.URL)
	if err != nil {
		return fmt.Errorf("start khook: %w", err)
	}
	defer end()
	if err := apply(ctx, c, tell); err != nil {
		return err
	}
	go tell.follow(ctx, c)
	for _, name := range recordings {
		if err := play(ctx, c, filepath.Join(*folder, name+".jsonl"), tell); err != nil {
			return err
		}
	}
	tell.say(me, "four Pods now fail as they did on a real node; the demo takes five and a half minutes, Ctrl-C ends it")
	if err := tell.players.Wait(); err != nil {
		return err
	}
	if ctx.Err() == nil {
		tell.say(me, "the recordings have ended; Ctrl-C ends the demo")
	}
	if !*quit {
		<-ctx.Done()
	}
	return nil
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

// startKhook runs the controller in a folder of its own, with times that suit a demo.
func startKhook(ctx context.Context, program, kagent string) (end func(), err error) {
	dir, err := os.MkdirTemp("", "khook-demo-")
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "khook.log"))
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program, "controller", "--no-leader-elect", "--log-format", "text",
		"--kagent-url", kagent, "--database", filepath.Join(dir, "khook.db"),
		"--metrics-bind-address", "127.0.0.1:0", "--health-probe-bind-address", "127.0.0.1:0", "--api-auth", "none",
		"--stabilization", "20s", "--pending-after", "20s", "--agent-check-every", "5s")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w: build it with \"make build\"", err)
	}
	return func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		log.Close()
		os.RemoveAll(dir)
	}, nil
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
	tell.say(me, "Hook shop/shop is applied: it names agent kagent/stand-in for all four event types")
	return waitReady(ctx, c, hook)
}

// waitReady waits until khook says that the Hook works.
func waitReady(ctx context.Context, c client.Client, hook *v1alpha2.Hook) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		if err := c.Get(ctx, client.ObjectKeyFromObject(hook), hook); err != nil {
			return err
		}
		for _, cond := range hook.Status.Conditions {
			if cond.Type == v1alpha2.ConditionReady && cond.Status == metav1.ConditionTrue {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("khook does not make the Hook ready: %w", ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}
