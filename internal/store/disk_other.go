//go:build !linux

package store

// Disk is not known here: both are 0.
func (s *Store) Disk() (size, free uint64, err error) { return 0, 0, nil }
