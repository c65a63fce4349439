package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"
)

// child is a process of the cluster.
type child struct {
	name string
	cmd  *exec.Cmd
	told atomic.Bool   // to end
	done chan struct{} // closed when it has ended
	log  string
}

// spawn starts a process of the cluster; its log is in the cluster's folder.
func (c *cluster) spawn(name string, change func(*syscall.SysProcAttr), path string, args ...string) error {
	logPath := filepath.Join(c.dir, name+".log")
	log, err := os.Create(logPath)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(path, args...) //nolint:noctx // close ends it, after those that need it
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, c.dir
	cmd.Env = append(os.Environ(), marker+"="+c.dir)
	cmd.SysProcAttr = dieWithParent(true)
	if change != nil {
		change(cmd.SysProcAttr)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	ch := &child{name: name, cmd: cmd, done: make(chan struct{}), log: logPath}
	died := c.died
	go func() {
		_ = cmd.Wait()
		close(ch.done)
		if !ch.told.Load() {
			died <- ch
		}
	}()
	c.children = append(c.children, ch)
	return c.home.note(entry{PID: cmd.Process.Pid, Started: startTime(cmd.Process.Pid)})
}

// run starts one of the programs that were built.
func (c *cluster) run(name string, args ...string) error {
	return c.spawn(name, nil, c.assets.program[name], args...)
}

// await repeats a check until it passes, a process ends, or time is up.
func (c *cluster) await(ctx context.Context, what string, limit time.Duration, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not within %s", limit))
	defer cancel()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		select {
		case ch := <-c.died:
			return ch.ended()
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", what, errors.Join(context.Cause(ctx), err))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// ended says how a process ended that was not told to.
func (ch *child) ended() error {
	return fmt.Errorf("%s ended (%s):\n%s", ch.name, ch.cmd.ProcessState, tail(ch.log, 4000))
}

// end asks the process to end, and kills it if it has not within the grace.
func (ch *child) end(grace time.Duration) {
	ch.told.Store(true)
	_ = ch.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-ch.done:
	case <-time.After(grace):
		_ = ch.cmd.Process.Kill()
		<-ch.done
	}
}

// tail is the end of a log, at most limit bytes.
func tail(path string, limit int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-limit):])
}
