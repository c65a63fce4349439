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

// Kind says what sort of failure an Error is, and with it what to do.
type Kind string

// The kinds of failures.
const (
	KindUnreachable  Kind = "unreachable"   // no connection: nothing was sent; try again
	KindLost         Kind = "lost"          // the answer was lost, or says nothing of the message's fate; look, then send
	KindRateLimited  Kind = "rate-limited"  // kagent wants fewer calls; try again after RetryAfter
	KindNoAgent      Kind = "no-agent"      // kagent has no such agent; it may come
	KindUnauthorized Kind = "unauthorized"  // kagent does not accept who calls; tokens rotate, so try again, slowly
	KindRefused      Kind = "refused"       // the call itself is wrong; the same again is refused again
	KindWrongDialect Kind = "wrong-dialect" // kagent does not understand the call, although it was just looked which dialect it speaks
	KindBadAnswer    Kind = "bad-answer"    // the answer is none: no JSON, too large, for another task
	KindTaskGone     Kind = "task-gone"     // kagent does not know the task
)

// Pauses before another attempt where kagent names none.
const (
	tokenPause    = time.Minute      // after KindUnauthorized
	absentPause   = 15 * time.Second // after KindNoAgent
	maxRetryAfter = time.Hour        // bounds what kagent may ask for
)

// ErrNoAgent is what errors.Is finds in an Error of kind KindNoAgent.
var ErrNoAgent = errors.New("no such agent")

// ErrNoStream is returned by Follow for an agent whose card offers no streams: poll.
var ErrNoStream = errors.New("the agent offers no stream")

// Error is a call that failed.
type Error struct {
	Kind   Kind
	Op     string // what was tried, such as "call agent kagent/k8s-agent"
	Reason string // why it failed and what to do, for people; cleaned and bounded
	// NoEffect says that the call certainly had no effect: it may be repeated as it was. After a
	// Send without it, the next Send of that message must set Resend.
	NoEffect   bool
	RetryAfter time.Duration // how long to wait at least; zero if it does not matter
	Dialect    string        // in which a message was sent; "" if none was, or it does not matter
	Err        error         // the cause, if there is one beside Reason

	stale bool // suggests that kagent has changed its dialect, as after an upgrade
	down  bool // kagent as a whole did not answer
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

// Is makes an Error of kind KindNoAgent an ErrNoAgent.
func (e *Error) Is(target error) bool { return target == ErrNoAgent && e.Kind == KindNoAgent }

func as(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return nil
}

func isKind(err error, k Kind) bool {
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
func Final(err error) bool { return isKind(err, KindRefused) }

// Limited says whether the call is worth only a few more attempts: the agent is absent, or what
// it answers is no answer.
func Limited(err error) bool {
	return isKind(err, KindNoAgent) || isKind(err, KindBadAnswer) || isKind(err, KindWrongDialect)
}

// TaskGone says whether kagent does not know the task.
func TaskGone(err error) bool { return isKind(err, KindTaskGone) }

// Down says whether kagent as a whole did not answer, rather than refuse or fail at one agent.
func Down(err error) bool {
	e := as(err)
	return e != nil && e.down && !errors.Is(err, context.Canceled)
}

// RetryAfter is how long to wait at least before another attempt; zero if it does not matter.
func RetryAfter(err error) time.Duration {
	if e := as(err); e != nil {
		return e.RetryAfter
	}
	return 0
}

// SentIn is the dialect in which the message was sent whose call failed with err; "" if none was.
func SentIn(err error) string {
	if e := as(err); e != nil {
		return e.Dialect
	}
	return ""
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
