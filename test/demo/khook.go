package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/kagent-dev/khook/internal/api/client"
)

// khook is the controller as a process, in a folder of its own.
type khook struct {
	program, server, kagent, log string

	api  *client.Client
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// diedError is why the story ends when khook does.
type diedError struct{ error }

// How long khook's own times are at the pace of the recordings.
const (
	stabilization = 15 * time.Second
	pendingAfter  = 20 * time.Second
	quietAfter    = 10 * time.Minute
	checkEvery    = 5 * time.Second
	// Long enough that the Deployment that is fixed after five minutes has recovered at its end.
	verifyWindow = 330 * time.Second
)

// startKhook runs the controller with times that suit a demo.
func startKhook(ctx context.Context, o options, kagent string, tell *teller) (*khook, error) {
	dir, err := os.MkdirTemp("", "khook-demo-")
	if err != nil {
		return nil, err
	}
	address, err := freeAddress(ctx, o.port, tell)
	if err != nil {
		return nil, err
	}
	k := &khook{program: o.khook, server: "http://" + address, kagent: kagent, log: filepath.Join(dir, "khook.log"), done: make(chan struct{})}
	k.api = client.New(k.server, "", nil, 10*time.Second)
	log, err := os.Create(k.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p := o.pace()
	k.cmd = exec.Command(o.khook, "controller", "--no-leader-elect", "--log-format", "text", //nolint:noctx // end ends it, after it was asked for the summary
		"--kagent-url", kagent, "--database", filepath.Join(dir, "khook.db"), "--api-bind-address", address, "--api-auth", "none",
		"--metrics-bind-address", "127.0.0.1:0", "--health-probe-bind-address", "127.0.0.1:0",
		"--stabilization", p.of(stabilization).String(), "--pending-after", p.of(pendingAfter).String(), "--quiet-after", p.of(quietAfter).String(),
		"--verify-window", p.of(verifyWindow).String(), "--agent-check-every", max(p.of(checkEvery), time.Second).String())
	k.cmd.Stdout, k.cmd.Stderr = log, log
	// A terminal sends Ctrl-C to its whole process group; khook is asked once more before it ends.
	k.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := k.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: build it with \"make build\"", err), os.RemoveAll(dir))
	}
	go func() {
		_ = k.cmd.Wait()
		close(k.done)
	}()
	return k, nil
}

// guard returns a context that ends with khook.
func (k *khook) guard(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-k.done:
			cancel(diedError{fmt.Errorf("khook ended (%s); the end of its log, %s:\n%s", k.cmd.ProcessState, k.log, lastLines(k.log, 15))})
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// died says whether ctx ended since khook did.
func (k *khook) died(ctx context.Context) bool {
	var died diedError
	return errors.As(context.Cause(ctx), &died)
}

// end ends khook, and removes its folder unless it failed by itself, so that somebody can read its log.
func (k *khook) end() {
	select {
	case <-k.done:
		return
	default:
	}
	_ = k.cmd.Process.Signal(os.Interrupt)
	select {
	case <-k.done:
	case <-time.After(20 * time.Second):
		_ = k.cmd.Process.Kill()
		<-k.done
	}
	os.RemoveAll(filepath.Dir(k.log))
}

// lastLines are the last lines of khook's log, without the demo's own questions.
func lastLines(path string, n int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	lines = slices.DeleteFunc(lines, func(line string) bool { return strings.Contains(line, " msg=request logger=api ") })
	return "  " + strings.Join(lines[max(0, len(lines)-n):], "\n  ")
}

// freeAddress is where khook's API listens: the port that was asked for, or the next that nobody has.
func freeAddress(ctx context.Context, port int, tell *teller) (string, error) {
	const tries = 50
	for p := port; p < port+tries; p++ {
		if err := free(ctx, p); err == nil {
			if p != port {
				tell.say(me, "Port %d is taken by another program: khook's HTTP API is on port %d.", port, p)
			}
			return net.JoinHostPort("127.0.0.1", strconv.Itoa(p)), nil
		}
	}
	return "", fmt.Errorf("the ports %d to %d are all taken: name another by --port", port, port+tries-1)
}

// free says whether nobody listens on the port: on the loopback address, or on all, which some systems let others share.
func free(ctx context.Context, port int) error {
	for _, host := range []string{"127.0.0.1", ""} {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			return err
		}
		l.Close()
	}
	return nil
}

// tellHowToAsk prints what is where, and what to try in another terminal.
func (k *khook) tellHowToAsk(tell *teller) {
	tell.say(me, "While it runs, ask khook from another terminal, in this folder:")
	tell.plain(fmt.Sprintf(`
    the dashboard      %s/
    khook's HTTP API   %s/api/v1/events
    khook's log        %s
    the sample agent   %s

    export KHOOK_SERVER=%s
    export KUBECONFIG=%s

    %s incidents --status firing           # what is failing now?
    %s events --hook shop/shop             # why did the Hook call its agent, or not?
    %s deliveries                          # what were agents called for, and what came of it?
`, k.server, k.server, k.log, k.kagent, k.server, os.Getenv("KUBECONFIG"), k.program, k.program, k.program))
}
