package agent

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/kagent-dev/khook/internal/incident"
)

// maxRefusal bounds what is read of an answer that is an error, maxBegin what is kept of it.
const (
	maxRefusal = 64 << 10
	maxBegin   = 300
)

// excerpt is the beginning of a body, cleaned for people: at most maxBegin bytes.
func excerpt(body []byte) string {
	return incident.Clean(string(body[:min(len(body), 4*maxBegin)]), maxBegin)
}

// statusError is an HTTP status other than 200.
type statusError struct {
	code       int
	body       string // its beginning, cleaned
	json       bool   // it is a JSON object
	failure    string // of kagent's REST envelope: its error as a text
	retryAfter time.Duration
	location   string
}

func (e *statusError) Error() string {
	text := fmt.Sprintf("kagent answered %d %s", e.code, http.StatusText(e.code))
	if e.location != "" && e.code < 400 {
		return text + " to " + incident.Clean(e.location, maxBegin) + ": use the right URL of kagent, redirects are not followed"
	}
	if e.body != "" {
		text += ": " + e.body
	}
	return text
}

// rpcError is a JSON-RPC error object.
type rpcError struct {
	code       int
	message    string
	retryAfter time.Duration
}

func (e *rpcError) Error() string {
	return fmt.Sprintf("the agent answered with error %d: %s", e.code, incident.Clean(e.message, maxBegin))
}

// garbledError is an answer that is none.
type garbledError struct {
	reason string
	large  bool // it is larger than is allowed
}

func (e *garbledError) Error() string { return e.reason }

// brokenError is a request without a complete answer.
type brokenError struct {
	host string
	sent bool // its headers were written: it may have arrived
	err  error
}

func (e *brokenError) Error() string { return e.reason() }
func (e *brokenError) Unwrap() error { return e.err }

// findRPCError returns the JSON-RPC error in body, nil if there is none. What it carries as data may be of any shape. A gateway's own
// error, {"error":{"code":404}}, is none: its code is an HTTP status.
func findRPCError(body []byte) *rpcError {
	var envelope struct {
		Error *struct {
			Code    int             `json:"code"`
			Message string          `json:"message"`
			Data    json.RawMessage `json:"data"`
		} `json:"error"`
	}
	err := json.Unmarshal(body, &envelope)
	if e := envelope.Error; err == nil && e != nil && (e.Code != 0 || e.Message != "") && (e.Code < 100 || e.Code > 599) {
		return &rpcError{code: e.Code, message: e.Message, retryAfter: retryAfterMs(e.Data)}
	}
	return nil
}

var pauseInData = regexp.MustCompile(`"retryAfterMs":\s*"?([0-9]{1,8})`)

// retryAfterMs finds the pause that kagent 1.x asks for in the metadata of its errors (ErrorInfo, KAGENT_SEND_NOT_ACCEPTED).
func retryAfterMs(data json.RawMessage) time.Duration {
	found := pauseInData.FindSubmatch(data[:min(len(data), maxRefusal)])
	if found == nil {
		return 0
	}
	ms, err := strconv.Atoi(string(found[1]))
	if err != nil {
		return 0
	}
	return min(time.Duration(ms)*time.Millisecond, maxRetryAfter)
}

// retryAfter reads the header of that name: seconds or a date. Zero if there is none.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(strings.TrimSpace(value), 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, min(at.Sub(now), maxRetryAfter))
	}
	return 0
}

func isObject(body []byte) bool {
	var object map[string]json.RawMessage
	return json.Unmarshal(body, &object) == nil
}
