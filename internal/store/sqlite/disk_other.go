//go:build !linux

package sqlite

// Disk is not known here: both are 0.
func (*Engine) Disk() (size, free uint64, err error) { return 0, 0, nil }
