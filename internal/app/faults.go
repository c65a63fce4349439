package app

import (
	"net/http"
	"time"

	"github.com/kagent-dev/khook/internal/store"
)

// Faults are where a test gets between the process and what it writes to, to inject faults: kagent, the API server,
// notifiers and the history. No flag sets them: they are zero in production.
type Faults struct {
	Kagent  http.RoundTripper                         // carries what goes to kagent
	Cluster func(http.RoundTripper) http.RoundTripper // wraps what goes to the API server
	Notify  func(http.RoundTripper) http.RoundTripper // wraps what goes to notifiers
	Commit  func(store.Commit)                        // is called before and after each commit

	Lease, Renew, Retry *time.Duration // of the leader election
}
