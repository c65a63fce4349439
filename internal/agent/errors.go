package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// maxRetryAfter bounds what kagent may ask for.
const maxRetryAfter = time.Hour

// ErrNoAgent is what errors.Is finds in an Error of kind delivery.NoAgent.
var ErrNoAgent = errors.New("no such agent")

// ErrNoStream is returned by Follow for an agent whose card offers no streams: poll.
var ErrNoStream = errors.New("the agent offers no stream")

// Error is a call that failed.
type Error struct {
	Kind   delivery.Fault
	Op     string // what was tried, such as "call agent kagent/k8s-agent"
	Reason string // why it failed and what to do, for people; cleaned and bounded
	// NoEffect says that the call certainly had no effect: it may be repeated as it was. After a Send without it the message must be
	// looked for, see Look, before it may be sent again to a kagent that does not know messages by their IDs.
	NoEffect   bool
	RetryAfter time.Duration // how long to wait at least; zero if it does not matter
	Err        error         // the cause, if there is one beside Reason

	stale bool // suggests that kagent has changed its dialect, as after an upgrade
	code  int  // of the JSON-RPC error, if it was one
}

// Error is a sentence for people.
func (e *Error) Error() string {
	text := e.Reason
	if e.Op != "" {
		text = e.Op + ": " + text
	}
	if !e.NoEffect {
		text += " (the message may have arrived)"
	}
	return incident.Clean(text, delivery.MaxError)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is makes an Error of kind delivery.NoAgent an ErrNoAgent.
func (e *Error) Is(target error) bool { return target == ErrNoAgent && e.Kind == delivery.NoAgent }

func as(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return nil
}

func isKind(err error, k delivery.Fault) bool {
	e := as(err)
	return e != nil && e.Kind == k
}

// outdated says that what is remembered of the agent may be wrong, and that the call may be made
// again.
func outdated(err error) bool {
	e := as(err)
	return e != nil && e.stale && e.NoEffect
}

// NoEffect says whether the call that failed with err certainly had no effect.
func NoEffect(err error) bool {
	e := as(err)
	return e != nil && e.NoEffect
}

// Final says whether the same call would fail again, for good.
func Final(err error) bool { return isKind(err, delivery.Refused) }

// TaskGone says whether kagent does not know the task.
func TaskGone(err error) bool { return isKind(err, delivery.TaskGone) }

// Fault is what sort of failure err is: Lost where it is none that is known.
func Fault(err error) delivery.Fault {
	if e := as(err); e != nil {
		return e.Kind
	}
	return delivery.Lost
}

// RetryAfter is how long to wait at least before another attempt; zero if it does not matter.
func RetryAfter(err error) time.Duration {
	if e := as(err); e != nil {
		return e.RetryAfter
	}
	return 0
}

// Explain returns a sentence for people: bounded, on one line, without secrets.
func Explain(err error) string {
	if err == nil {
		return ""
	}
	if e := as(err); e != nil {
		return e.Error()
	}
	return incident.Clean(err.Error(), delivery.MaxError)
}

// Brief says what sort of failure it was, without a word of what kagent or an agent answered: for logs
// and Kubernetes Events, which are kept in places where prompts and answers do not belong.
func Brief(err error) string {
	var status *statusError
	var rpc *rpcError
	var broken *brokenError
	var token *tokenError
	e := as(err)
	switch {
	case err == nil:
		return ""
	case errors.As(err, &status):
		return fmt.Sprintf("kagent answered %d %s", status.code, http.StatusText(status.code))
	case errors.As(err, &rpc):
		return fmt.Sprintf("the agent answered with error %d", rpc.code)
	case errors.As(err, &broken):
		return incident.Clean(broken.reason(), delivery.MaxError)
	case errors.As(err, &token):
		return token.Error()
	case e != nil:
		return string(e.Kind)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err.Error()
	}
	return "an error"
}
