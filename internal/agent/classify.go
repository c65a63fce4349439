package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// explain makes an Error of whatever went wrong with op. A call that only reads has no effect
// however it fails.
func explain(op string, err error, read bool) error {
	if err == nil {
		return nil
	}
	e := *classify(err)
	if e.Op == "" {
		e.Op = op
	}
	e.NoEffect = e.NoEffect || read
	e.Reason = incident.Clean(e.Reason, delivery.MaxError)
	return &e
}

func classify(err error) *Error {
	var (
		known   *Error
		token   *tokenError
		rpc     *rpcError
		status  *statusError
		garbled *garbledError
		broken  *brokenError
	)
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &token):
		return &Error{Kind: KindUnauthorized, NoEffect: true, RetryAfter: tokenPause, Reason: token.Error(), Err: token}
	case errors.As(err, &rpc):
		return fromRPC(rpc)
	case errors.As(err, &status):
		return fromStatus(status)
	case errors.As(err, &garbled):
		return &Error{Kind: KindBadAnswer, Reason: garbled.Error(), Err: garbled}
	case errors.As(err, &broken):
		return fromBroken(broken)
	default: // the SDK could not make sense of the JSON that it got
		return &Error{Kind: KindBadAnswer, Reason: "the answer is not what A2A says: " + err.Error(), Err: err}
	}
}

// fromStatus judges an HTTP status that is not 200. What kagent or a proxy before it refuses at
// the door had no effect; of a server error nobody knows what came before it.
func fromStatus(s *statusError) *Error {
	e := &Error{Reason: s.Error(), RetryAfter: s.retryAfter, Err: s}
	switch {
	case s.code == http.StatusUnauthorized, s.code == http.StatusForbidden:
		e.Kind, e.NoEffect, e.RetryAfter = KindUnauthorized, true, max(s.retryAfter, tokenPause)
		e.Reason += ". Check khook's token, headers and user ID for kagent"
	case s.code == http.StatusNotFound, s.code == http.StatusGone:
		e.Kind, e.NoEffect, e.RetryAfter, e.stale = KindNoAgent, true, max(s.retryAfter, absentPause), true
	case s.code == http.StatusTooManyRequests:
		e.Kind, e.NoEffect = KindRateLimited, true
	case s.code == http.StatusServiceUnavailable && s.retryAfter > 0:
		e.Kind, e.down = KindRateLimited, true
	case s.code >= 500:
		e.Kind, e.down = KindLost, s.code != http.StatusInternalServerError
	case s.code == http.StatusRequestTimeout, s.code == http.StatusConflict:
		e.Kind = KindLost
	case s.code == http.StatusBadRequest && !s.json: // how kagent refuses a version that it does not speak
		e.Kind, e.NoEffect, e.stale = KindWrongDialect, true, true
	case s.code >= 300:
		e.Kind, e.NoEffect = KindRefused, true
		e.stale = s.code == http.StatusBadRequest || s.code == http.StatusMethodNotAllowed
	default:
		e.Kind = KindBadAnswer
	}
	return e
}

// Codes of JSON-RPC and A2A errors.
const (
	codeParse          = -32700
	codeInvalidRequest = -32600
	codeNoMethod       = -32601
	codeInvalidParams  = -32602
	codeTaskNotFound   = -32001
	codeNotCancelable  = -32002
	codeUnsupported    = -32004
	codeContentType    = -32005
	codeBadAgent       = -32006
	codeExtension      = -32008
	codeVersion        = -32009
	codeUnauthorized   = -31401
	codeForbidden      = -31403
)

// fromRPC judges a JSON-RPC error. Only the codes that are given before an agent gets the message
// count as without effect; an internal error may come at any time.
func fromRPC(r *rpcError) *Error {
	e := &Error{Reason: r.Error(), code: r.code, RetryAfter: r.retryAfter, Err: r}
	switch r.code {
	case codeParse, codeInvalidRequest, codeInvalidParams, codeUnsupported, codeContentType, codeExtension:
		e.Kind, e.NoEffect, e.stale = KindRefused, true, true
	case codeNotCancelable:
		e.Kind, e.NoEffect = KindRefused, true
	case codeNoMethod, codeVersion:
		e.Kind, e.NoEffect, e.stale = KindWrongDialect, true, true
	case codeTaskNotFound:
		e.Kind, e.NoEffect = KindTaskGone, true
	case codeUnauthorized, codeForbidden:
		e.Kind, e.NoEffect, e.RetryAfter = KindUnauthorized, true, max(r.retryAfter, tokenPause)
	case codeBadAgent:
		e.Kind = KindBadAnswer
	default:
		e.Kind = KindLost
	}
	return e
}

// fromBroken judges a request that got no complete answer.
func fromBroken(b *brokenError) *Error {
	e := &Error{Kind: KindLost, Reason: b.reason(), Err: b.err}
	if !b.sent {
		e.Kind, e.NoEffect = KindUnreachable, true
	}
	// A request that was sent and not answered in time may be the fault of one slow agent.
	e.down = !b.sent || !timedOut(b.err)
	return e
}

func timedOut(err error) bool {
	var noAnswer noAnswerError
	var netErr net.Error
	return errors.As(err, &noAnswer) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &netErr) && netErr.Timeout()
}

func (b *brokenError) reason() string {
	var (
		dns      *net.DNSError
		cert     *tls.CertificateVerificationError
		unknown  x509.UnknownAuthorityError
		record   tls.RecordHeaderError
		noAnswer noAnswerError
	)
	switch {
	case errors.As(b.err, &dns):
		return fmt.Sprintf("the name of kagent's host %s can't be resolved: %s", b.host, dns.Err)
	case errors.Is(b.err, syscall.ECONNREFUSED):
		return fmt.Sprintf("kagent's host %s refuses connections: is kagent running, and the port right?", b.host)
	case errors.As(b.err, &cert), errors.As(b.err, &unknown), errors.As(b.err, &record):
		return fmt.Sprintf("no TLS connection to kagent's host %s: %v", b.host, b.err)
	case errors.As(b.err, &noAnswer) && b.sent:
		return fmt.Sprintf("kagent at %s gave no complete answer within %s", b.host, noAnswer.after.Round(time.Millisecond))
	case errors.As(b.err, &noAnswer):
		return fmt.Sprintf("no connection to kagent at %s within %s", b.host, noAnswer.after.Round(time.Millisecond))
	case errors.Is(b.err, context.Canceled):
		return fmt.Sprintf("the request to kagent at %s was given up", b.host)
	case b.sent:
		return fmt.Sprintf("the connection to kagent at %s broke before its answer was complete: %v", b.host, b.err)
	default:
		return fmt.Sprintf("no connection to kagent at %s: %v", b.host, b.err)
	}
}

// answered says whether err, which may be nil, is an answer of a server that is there.
func answered(err error) bool {
	var status *statusError
	return err == nil || errors.As(err, &status) && status.code < 500
}
