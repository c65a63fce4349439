package server

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// problemKind is the type of a problem document without the part that all have in common. Clients
// switch on it, so that a kind keeps its name; docs/api.md has a line for each.
type problemKind string

// The kinds that are no mere status.
const (
	noSuchRoute           problemKind = "no-such-route"
	crossOrigin           problemKind = "cross-origin"
	sessionEnded          problemKind = "session-ended"
	insecureLogin         problemKind = "insecure-login"
	standby               problemKind = "standby"
	notDurable            problemKind = "not-durable"
	outcomeUnknown        problemKind = "outcome-unknown"
	answerTooSlow         problemKind = "answer-too-slow"
	kubernetesUnavailable problemKind = "kubernetes-unavailable"
)

// kindOfStatus are the kinds that problems of a status have if they have no kind of their own.
var kindOfStatus = map[int]problemKind{
	http.StatusBadRequest:            "invalid-request",
	http.StatusUnauthorized:          "unauthenticated",
	http.StatusForbidden:             "forbidden",
	http.StatusNotFound:              "not-found",
	http.StatusMethodNotAllowed:      "method-not-allowed",
	http.StatusNotAcceptable:         "not-acceptable",
	http.StatusRequestTimeout:        "body-too-slow",
	http.StatusConflict:              "conflict",
	http.StatusRequestEntityTooLarge: "body-too-large",
	http.StatusUnsupportedMediaType:  "unsupported-media-type",
	http.StatusMisdirectedRequest:    "unknown-host",
	http.StatusUpgradeRequired:       "upgrade-required",
	http.StatusPreconditionRequired:  "question-id-required",
	http.StatusTooManyRequests:       "too-many-requests",

	http.StatusRequestHeaderFieldsTooLarge: "header-too-large",

	http.StatusInternalServerError: "internal-error",
	http.StatusServiceUnavailable:  "unavailable",
}

// problemDocs is where the kinds are explained.
const problemDocs = "https://github.com/kagent-dev/khook/blob/main/docs/api.md#problem-"

// uri is the type of a problem document: where its kind is explained.
func (k problemKind) uri() string {
	if k == "" {
		return "about:blank" // RFC 9457, section 4.2.1: it says no more than the status
	}
	return problemDocs + string(k)
}

// ofKind gives an error a kind other than that of its status.
func ofKind(kind problemKind, err huma.StatusError) huma.StatusError {
	if model, ok := err.(*huma.ErrorModel); ok {
		model.Type = kind.uri()
	}
	return err
}

// withKind gives an error that has no kind yet that of its status.
func withKind(model *huma.ErrorModel) *huma.ErrorModel {
	if model.Type == "" {
		model.Type = kindOfStatus[model.Status].uri()
	}
	return model
}
