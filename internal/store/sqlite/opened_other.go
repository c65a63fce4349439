//go:build !linux

package sqlite

// openedBy is known on Linux only.
func openedBy(string) (process string, err error) { return "", nil }
