package main

import (
	"net/http"
	"time"

	"github.com/kagent-dev/khook/internal/store"
)

// seams are where a test gets between the process and what it writes to: kagent, the API server and
// the history. No flag sets them, so that they are zero in production.
type seams struct {
	kagent  http.RoundTripper                         // carries what goes to kagent
	cluster func(http.RoundTripper) http.RoundTripper // wraps what goes to the API server
	commit  func(store.Commit)

	lease, renew, retry *time.Duration // of the leader election
}
