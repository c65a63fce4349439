package app

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
)

// errNotReady is the whole answer of a readiness check that fails: the port asks nobody who they are.
var errNotReady = errors.New("not ready: khook's log says why, and /api/v1/health to those who may read it")

// withheldEvery is how often at most a check that goes on failing says why in the log.
const withheldEvery = time.Minute

// withheld is a readiness check whose reason goes to the log, and not to whoever reaches the port: it may
// name namespaces and hosts.
type withheld struct {
	name  string
	check func(*http.Request) error
	clock clock.PassiveClock
	log   logr.Logger

	mu       sync.Mutex
	loggedAt time.Time // zero while it does not fail
}

// withheld is a check that fails without a reason.
func (a *App) withheld(name string, check healthz.Checker) healthz.Checker {
	return (&withheld{name: name, check: check, clock: clock.RealClock{}, log: a.log}).answer
}

func (w *withheld) answer(r *http.Request) error {
	err := w.check(r)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		w.loggedAt = time.Time{}
		return nil
	}
	if now := w.clock.Now(); w.loggedAt.IsZero() || now.Sub(w.loggedAt) >= withheldEvery {
		w.loggedAt = now
		w.log.Error(err, "khook is not ready", "check", w.name)
	}
	return errNotReady
}
