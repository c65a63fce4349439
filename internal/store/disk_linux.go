package store

import (
	"fmt"
	"path/filepath"
	"syscall"
)

// Disk is the size of the file system that the history is on, and how much of it khook may still
// fill, in bytes. A history in memory has none: both are 0.
func (s *Store) Disk() (size, free uint64, err error) {
	if s.memory {
		return 0, 0, nil
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(filepath.Dir(s.cfg.Path), &fs); err != nil {
		return 0, 0, fmt.Errorf("ask for the room on the history's disk: %w", err)
	}
	return fs.Blocks * uint64(fs.Bsize), fs.Bavail * uint64(fs.Bsize), nil
}
