package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
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
		return &Error{Kind: delivery.Unauthorized, NoEffect: true, RetryAfter: delivery.Unauthorized.Rule().Pause, Reason: token.Error(), Err: token}
	case errors.As(err, &rpc):
		return fromRPC(rpc)
	case errors.As(err, &status):
		return fromStatus(status)
	case errors.As(err, &garbled):
		return &Error{Kind: delivery.BadAnswer, Reason: garbled.Error(), Err: garbled}
	case errors.As(err, &broken):
		return fromBroken(broken)
	default: // the SDK could not make sense of the JSON that it got
		return &Error{Kind: delivery.BadAnswer, Reason: "the answer is not what A2A says: " + err.Error(), Err: err}
	}
}

// fromStatus judges an HTTP status that is not 200. What kagent or a proxy before it refuses at the door had no effect; of a server
// error nobody knows what came before it. Only few statuses judge the message itself: what else there is comes from something on the
// way, and says nothing of what kagent will say once the way is right.
func fromStatus(s *statusError) *Error {
	e := &Error{Reason: s.Error(), RetryAfter: s.retryAfter, Err: s, Kind: delivery.Astray}
	switch s.code {
	case http.StatusUnauthorized, http.StatusForbidden:
		e.Kind, e.RetryAfter = delivery.Unauthorized, max(s.retryAfter, delivery.Unauthorized.Rule().Pause)
		e.Reason += ". Check khook's token, headers and user ID for kagent"
	case http.StatusNotFound, http.StatusGone:
		e.Kind, e.RetryAfter, e.stale = delivery.NoAgent, max(s.retryAfter, delivery.NoAgent.Rule().Pause), true
	case http.StatusTooManyRequests:
		e.Kind = delivery.RateLimited
	case http.StatusRequestTimeout, http.StatusConflict:
		e.Kind = delivery.Lost
	case http.StatusBadRequest:
		e.stale = true
		if e.Kind = delivery.Refused; !s.json { // how kagent refuses a version that it does not speak
			e.Kind = delivery.WrongDialect
		}
	case http.StatusMethodNotAllowed:
		e.Kind, e.stale = delivery.WrongDialect, true
	case http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		e.Kind = delivery.Refused
	default:
		if s.code >= 500 {
			e.Kind = delivery.Lost
		} else if s.code < 300 {
			e.Kind = delivery.BadAnswer
		}
	}
	e.NoEffect = e.Kind.Rule().Effect == delivery.NoEffect
	return e
}

// Codes of JSON-RPC and A2A errors.
const (
	codeParse          = -32700
	codeInvalidRequest = -32600
	codeNoMethod       = -32601
	codeInvalidParams  = -32602
	codeInternal       = -32603
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
		e.Kind, e.stale = delivery.Refused, true
	case codeNotCancelable:
		e.Kind = delivery.Refused
	case codeNoMethod, codeVersion:
		e.Kind, e.stale = delivery.WrongDialect, true
	case codeTaskNotFound:
		e.Kind, e.NoEffect = delivery.TaskGone, true
	case codeUnauthorized, codeForbidden:
		e.Kind, e.RetryAfter = delivery.Unauthorized, max(r.retryAfter, delivery.Unauthorized.Rule().Pause)
	case codeBadAgent:
		e.Kind = delivery.BadAnswer
	case codeInternal:
		e.Kind = internal(r.message)
	default:
		e.Kind = delivery.Lost
	}
	e.NoEffect = e.NoEffect || e.Kind.Rule().Effect == delivery.NoEffect
	return e
}

// internal tells kagent's own internal errors apart, as 0.8.6 and 0.9.12 word them (docs/decisions/0025): it could not connect to its
// agent, or could not read what the agent said.
func internal(message string) delivery.Fault {
	switch {
	case strings.HasPrefix(message, "failed to send HTTP request: ") && strings.Contains(message, ": dial tcp"):
		return delivery.AgentDown
	case strings.HasPrefix(message, "failed to decode response: "), strings.HasPrefix(message, "failed to parse SSE data: "):
		return delivery.Unreadable
	}
	return delivery.Lost
}

// inDialect judges anew what one dialect means otherwise: kagent 1.x says "unsupported operation" as a matter of course, while it makes,
// pauses or resumes a session, and wants the same message again.
func inDialect(err error, d dialectSpec) error {
	e := as(err)
	if e == nil || e.code != codeUnsupported || !d.hitl || e.Kind != delivery.Refused {
		return err
	}
	busy := *e
	busy.Kind, busy.stale = delivery.NotReady, false
	return &busy
}

// fromBroken judges a request that got no complete answer.
func fromBroken(b *brokenError) *Error {
	e := &Error{Kind: delivery.Lost, Reason: b.reason(), Err: b.err}
	if !b.sent {
		e.Kind, e.NoEffect = delivery.Unreachable, true
	}
	return e
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
