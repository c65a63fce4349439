package sqlite

import (
	"fmt"
	"path/filepath"
	"syscall"
)

// Disk implements engine.Engine.
func (e *Engine) Disk() (size, free uint64, err error) {
	if e.memory {
		return 0, 0, nil
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(filepath.Dir(e.cfg.Path), &fs); err != nil {
		return 0, 0, fmt.Errorf("ask for the room on the history's disk: %w", err)
	}
	return fs.Blocks * uint64(fs.Bsize), fs.Bavail * uint64(fs.Bsize), nil
}
