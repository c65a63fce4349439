package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/kagent-dev/khook/internal/cli"
	"github.com/kagent-dev/khook/internal/kubetest"
)

// be makes the test binary be the demo or, when the demo starts it, khook.
const be = "KHOOK_TEST_BE"

func TestMain(m *testing.M) {
	switch os.Getenv(be) {
	case "demo":
		os.Setenv(be, "khook")
		os.Exit(untilSignal(os.Args[1:], os.Stdout, os.Stderr))
	case "khook":
		os.Exit(beKhook())
	}
	os.Exit(m.Run())
}

func beKhook() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	return cli.Main(ctx, os.Args[1:], cli.Env{Out: os.Stdout, Err: os.Stderr, Version: "demo"})
}

// played is a demo that runs.
type played struct {
	t    *testing.T
	cmd  *exec.Cmd
	done chan struct{}

	mu  sync.Mutex
	out bytes.Buffer
}

func (p *played) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(text)
}

func (p *played) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// demo starts the demo on an API server of its own.
func demo(t *testing.T, env []string, args ...string) *played {
	t.Helper()
	server, err := kubetest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	admin, err := server.AddUser(envtest.User{Name: "admin", Groups: []string{"system:masters"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := admin.KubeConfig()
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(kubeconfig, text, 0o600); err != nil {
		t.Fatal(err)
	}
	p := &played{t: t, done: make(chan struct{})}
	p.cmd = exec.Command(os.Args[0], append([]string{"--khook", os.Args[0], "--recordings", "../recordings", "--crd", "../../config/crd"}, args...)...)
	p.cmd.Env = append(append(os.Environ(), be+"=demo", "KUBECONFIG="+kubeconfig, "TMPDIR="+t.TempDir()), env...)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Signal(os.Interrupt) // it ends its khook
		<-p.done
	})
	return p
}

// says waits until the demo has said something.
func (p *played) says(text string) {
	p.t.Helper()
	for deadline := time.Now().Add(4 * time.Minute); !strings.Contains(p.String(), text); time.Sleep(50 * time.Millisecond) {
		select {
		case <-p.done:
			if !strings.Contains(p.String(), text) {
				p.t.Fatalf("the demo ended without saying %q:\n%s", text, p)
			}
		default:
			if time.Now().After(deadline) {
				p.t.Fatalf("waited in vain for %q:\n%s", text, p)
			}
		}
	}
}

// code is its exit code, once it has ended.
func (p *played) code() int {
	<-p.done
	return p.cmd.ProcessState.ExitCode()
}

// takenPort is one that another program has.
func takenPort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().(*net.TCPAddr).Port
}

func TestTheDemoTellsWhatKhookDecidesAndWhatCameOfIt(t *testing.T) {
	port := takenPort(t)
	p := demo(t, nil, "--fast", "--port", strconv.Itoa(port))
	p.says(fmt.Sprintf("Port %d is taken by another program", port))
	p.says("export KHOOK_SERVER=http://127.0.0.1:")
	for _, text := range []string{
		"EventFiring: oom-kill in Deployment/oom-hog: calling agent kagent/stand-in",
		"pod-restart of Deployment/oom-hog: explained by the oom-kill, no second call",
		"oom-kill of Deployment/oom-hog again: same group, no second call",
		"more OOM kills of Deployment/oom-hog: same group, no second call",
		"outcome of the call about pod-restart in Pod/crash-once-then-recover: recovered after the agent had ended",
		"outcome of the call about probe-failed in Pod/readiness-fail: persisting",
		"khook goes on answering; Ctrl-C ends the demo",
	} {
		p.says(text)
	}
	_, summed, _ := strings.Cut(p.String(), "What happened:")
	rows := map[string]string{}
	for line := range strings.Lines(summed) {
		if words := strings.Fields(line); len(words) > 4 {
			rows[words[0]+" "+words[1]] = strings.Join(words[2:], " ")
		}
	}
	for name, want := range map[string]string{
		"oom-kill Deployment/oom-hog":             "6 1 5 duplicate ended recovered",
		"pod-restart Deployment/oom-hog":          "5 0 5 explained ended -",
		"pod-restart Pod/crash-once-then-recover": "1 1 - ended recovered",
		"pod-pending Pod/volume-missing":          "1 1 - ended recovered",
	} {
		if rows[name] != want {
			t.Errorf("%s: %q, not %q", name, rows[name], want)
		}
	}
	if n := strings.Count(p.String(), "stand-in without"); n != 1 {
		t.Errorf("the stand-in is introduced %d times", n)
	}
	somebody := beside(t, p)
	somebody.takesWhatIsShown(p)
	somebody.answersTheQuestions()
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := p.code(); code != 0 {
		t.Errorf("exit code %d after Ctrl-C:\n%s", code, p)
	}
}

func TestADemoWhoseKhookEndsShowsTheEndOfItsLog(t *testing.T) {
	p := demo(t, []string{"LOG_LEVEL=chatty"})
	if code := p.code(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{"demo: khook ended", `but got "chatty"`, "khook.log"} {
		if !strings.Contains(p.String(), want) {
			t.Errorf("%q is not in\n%s", want, p)
		}
	}
}
