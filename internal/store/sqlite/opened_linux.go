package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// openMark is the byte of the shared memory that each process has locked for as long as it has a history with a write-ahead log open
// (SQLite's UNIX_SHM_DMS).
const openMark = 128

// openedBy says which process has the file open; empty if none has. What this process itself has open is not found.
func openedBy(path string) (process string, err error) {
	f, err := os.Open(path + "-shm")
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("find out who has the history open: %w", err)
	}
	defer f.Close()
	mark := unix.Flock_t{Type: unix.F_WRLCK, Start: openMark, Len: 1}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &mark); err != nil {
		return "", fmt.Errorf("find out who has the history open: %w", err)
	}
	switch {
	case mark.Type == unix.F_UNLCK:
		return "", nil
	case mark.Pid == 0:
		return "a process of another container", nil
	}
	return fmt.Sprint("process ", mark.Pid), nil
}
