package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

const lockName = "lock"

// errLocked is returned for a file that another process holds.
var errLocked = errors.New("locked by another process")

// lock holds a file against other processes until it is closed or this one ends, however it does.
// If another has it, it says so and waits.
func lock(ctx context.Context, path, waiting string) (*os.File, error) {
	for said := false; ; said = true {
		f, err := tryLock(path, os.O_CREATE)
		if !errors.Is(err, errLocked) {
			return f, err
		}
		if !said {
			say("%s", waiting)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// tryLock is errLocked if another process holds the file. The file that it returns is the one at
// path, and not one that was removed meanwhile.
func tryLock(path string, flags int) (*os.File, error) {
	f, err := os.OpenFile(path, flags|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errLocked
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	held, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if there, err := os.Stat(path); err != nil || !os.SameFile(held, there) {
		f.Close()
		return nil, errLocked // its holder was just removing it
	}
	return f, nil
}
