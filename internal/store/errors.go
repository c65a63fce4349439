package store

import "errors"

// ErrNotFound is returned for an ID that the store has no row for.
var ErrNotFound = errors.New("not found")

var (
	errNewer  = errors.New("the file was written by a newer khook")
	errClosed = errors.New("the history is closed")
)
