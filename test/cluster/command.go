package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

// signals are those that ask this program to end. The first one ends ctx; COMMAND gets them all.
type signals struct {
	ctx context.Context
	ch  chan os.Signal
}

// signaled is why signals.ctx ended.
type signaled struct{ syscall.Signal }

func (s signaled) Error() string { return "ended by a signal: " + s.String() }

// catchSignals takes every signal that would end this program, since it has to end others first.
// A reader of its output that has gone (SIGPIPE) is no reason to end.
func catchSignals() *signals {
	endWithGoRun()
	ctx, cancel := context.WithCancelCause(context.Background())
	s := &signals{ctx: ctx, ch: make(chan os.Signal, 16)}
	caught := make(chan os.Signal, 16)
	signal.Notify(caught, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	go func() {
		for sig := range caught {
			if sig == syscall.SIGPIPE {
				continue
			}
			if sig, ok := sig.(syscall.Signal); ok {
				cancel(signaled{sig})
			}
			select {
			case s.ch <- sig:
			default: // it has been told often enough
			}
		}
	}()
	return s
}

// code is the exit code for an error: a shell's, if a signal was its cause.
func (s *signals) code(err error) int {
	var sig signaled
	switch {
	case err == nil:
		return 0
	case errors.As(context.Cause(s.ctx), &sig):
		return 128 + int(sig.Signal)
	default:
		return 1
	}
}

// unstarted is what to return where COMMAND could not be run. That somebody pressed Ctrl-C meanwhile is no error where
// that is how it ends anyway.
func (s *signals) unstarted(o options, err error) (int, error) {
	var sig signaled
	if o.interruptible && errors.As(context.Cause(s.ctx), &sig) && sig.Signal == syscall.SIGINT {
		return 0, nil
	}
	return s.code(err), err
}

// commandGrace is how long COMMAND may take to end after it was told to.
const commandGrace = 30 * time.Second

// runCommand runs COMMAND to its end and returns its exit code. It gets the signals that this
// program gets. It is told to end if a part of the cluster dies.
func runCommand(s *signals, died <-chan *child, dir string, args, env []string) (int, error) {
	// In a terminal's foreground it stays in our process group, so that it can read from the
	// terminal; the terminal then sends it Ctrl-C itself. Else it has a group of its own.
	shared := inForeground()
	cmd := exec.Command(args[0], args[1:]...) //nolint:noctx // it is told to end, and gives its exit code
	cmd.Dir, cmd.Env = dir, env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = dieWithParent(!shared)
	if err := cmd.Start(); err != nil {
		return 127, fmt.Errorf("run %s: %w", args[0], err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	var lost error
	var kill <-chan time.Time
	for {
		select {
		case err := <-done:
			return exitCode(cmd, err, lost)
		case sig := <-s.ch:
			if shared && (sig == syscall.SIGINT || sig == syscall.SIGQUIT) {
				continue
			}
			tell(cmd, sig, shared)
		case ch := <-died:
			lost = ch.ended()
			say("%v\nending the command, which has no cluster any more", lost)
			tell(cmd, syscall.SIGTERM, shared)
		case <-kill:
			tell(cmd, syscall.SIGKILL, shared)
		}
		if kill == nil {
			kill = time.After(commandGrace)
		}
	}
}

func tell(cmd *exec.Cmd, sig os.Signal, shared bool) {
	number, ok := sig.(syscall.Signal)
	if ok && !shared {
		_ = syscall.Kill(-cmd.Process.Pid, number) // its whole process group
		return
	}
	_ = cmd.Process.Signal(sig)
}

// exitCode is COMMAND's, as a shell tells it. If the cluster was lost, it is never 0.
func exitCode(cmd *exec.Cmd, err, lost error) (int, error) {
	code := 0
	var exit *exec.ExitError
	switch status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); {
	case ok && status.Signaled():
		code = 128 + int(status.Signal())
	case errors.As(err, &exit):
		code = exit.ExitCode()
	case err != nil:
		return 1, fmt.Errorf("run %s: %w", cmd.Path, err)
	}
	if lost != nil {
		return max(code, 1), errors.New("a part of the cluster ended before the command did")
	}
	return code, nil
}
