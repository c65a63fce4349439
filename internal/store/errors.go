package store

import (
	"errors"

	"github.com/kagent-dev/khook/internal/store/engine"
)

// Unavailable says whether an error is about the state of the database: what was asked for can be asked for again later.
func Unavailable(err error) bool {
	var state *engine.StateError
	return errors.As(err, &state) || errors.Is(err, ErrUnknown)
}

// ErrNotFound is returned for an ID that the store has no row for.
var ErrNotFound = errors.New("not found")

var (
	errNewer  = errors.New("the file was written by a newer khook")
	errClosed = errors.New("the history is closed")
)
