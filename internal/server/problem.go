package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// problemType is the content type of errors (RFC 9457).
const problemType = "application/problem+json"

// writeProblem answers with an error of the kind that its status has.
func writeProblem(w http.ResponseWriter, status int, detail string) {
	writeProblemOf(w, kindOfStatus[status], status, detail)
}

// writeProblemOf answers with an error of a kind.
func writeProblemOf(w http.ResponseWriter, kind problemKind, status int, detail string) {
	writeModel(w, &huma.ErrorModel{Type: kind.uri(), Title: http.StatusText(status), Status: status, Detail: detail})
}

func writeModel(w http.ResponseWriter, model *huma.ErrorModel) {
	_ = withKind(model) // which is the same
	h := w.Header()
	h.Set("Content-Type", problemType)
	h.Del("Content-Encoding")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(model.Status)
	_ = json.NewEncoder(w).Encode(model)
}

// wrongParameter is the error about one query parameter.
func wrongParameter(name string, value any, message string) huma.StatusError {
	return huma.Error400BadRequest("query parameter "+name+": "+message, &huma.ErrorDetail{Location: "query." + name, Message: message, Value: value})
}

// ownErrors makes the errors of an API, and of no other in the process, say what khook's users need. It must come before
// the routes are registered.
//
// huma would have its globals NewError and NewErrorWithContext replaced for this, which changes every API of the process.
// A transformer sees each error before it is written, but not before huma has read its status: hence the middleware.
func ownErrors(a huma.API) {
	a.UseMiddleware(func(ctx huma.Context, next func(huma.Context)) { next(statusContext{ctx}) })
}

// wrappedContext is huma.Context, under a name that leaves the name Context to its method.
type wrappedContext huma.Context

// statusContext answers with 400 what huma answers with 422: khook does not tell the two apart.
type statusContext struct{ wrappedContext }

// SetStatus implements huma.Context.
func (c statusContext) SetStatus(code int) { c.wrappedContext.SetStatus(ownStatus(code)) }

// Unwrap is for humago.Unwrap.
func (c statusContext) Unwrap() huma.Context { return c.wrappedContext }

func ownStatus(code int) int {
	if code == http.StatusUnprocessableEntity {
		return http.StatusBadRequest
	}
	return code
}

// explainError is a huma.Transformer that rewrites the errors that huma made, and gives each error its kind. Other bodies
// pass as they are.
func explainError(ctx huma.Context, _ string, body any) (any, error) {
	model, ok := body.(*huma.ErrorModel)
	if !ok {
		return body, nil
	}
	if status := ownStatus(model.Status); status != model.Status {
		model.Status, model.Title = status, http.StatusText(status)
	}
	switch {
	case model.Status == http.StatusInternalServerError:
		model.Errors = nil // what went wrong inside is for the log
	case model.Detail == "request body is required":
		model.Detail = "the body is empty: send at least one Hook"
	case model.Status == http.StatusRequestEntityTooLarge:
		model.Detail = "the body is too large: send fewer Hooks at once (" + model.Detail + ")"
	case model.Status == http.StatusBadRequest && model.Detail == "validation failed":
		explainParameters(model, ctx.Operation())
	}
	return withKind(model), nil
}

// explainParameters says what unknown parameters could have been, and puts the first error into the
// sentence that people read first.
func explainParameters(model *huma.ErrorModel, op *huma.Operation) {
	for _, e := range model.Errors {
		if e == nil {
			continue
		}
		if e.Message == "unknown query parameter" {
			e.Message = "there is no such parameter; this route takes " + parameters(op)
		}
		e.Message = strings.TrimPrefix(e.Message, "invalid value: ") // what Instant says
		e.Value = echoed(e.Value)
		if model.Detail == "validation failed" {
			model.Detail = fmt.Sprintf("%s: %s", strings.Replace(e.Location, ".", " parameter ", 1), e.Message)
		}
	}
}

// echoed is a wrong value as it can be sent back: bounded, and JSON has no infinite numbers.
func echoed(value any) any {
	switch v := value.(type) {
	case string:
		return incident.Truncate(v, 100)
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return fmt.Sprint(v)
		}
	}
	return value
}

func parameters(op *huma.Operation) string {
	var names []string
	for _, p := range op.Parameters {
		if p.In == "query" {
			names = append(names, p.Name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// storeError turns an error of the store into one of the API.
func (s *Server) storeError(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return huma.Error404NotFound("there is nothing with that ID; it may have been deleted with the old history")
	case ctx.Err() != nil:
		return huma.ErrorWithHeaders(ofKind(answerTooSlow, huma.Error503ServiceUnavailable("the answer took too long: ask for less, such as a shorter range of time")),
			http.Header{"Retry-After": {"5"}})
	}
	s.cfg.Log.Error(err, "cannot answer a request", "request", requestID(ctx))
	if store.Unavailable(err) {
		return huma.ErrorWithHeaders(huma.Error503ServiceUnavailable("khook's history can't be read or written now: try again; its log says why (request "+requestID(ctx)+")"),
			http.Header{"Retry-After": {"5"}})
	}
	return huma.Error500InternalServerError("khook could not read its history; its log says why (request " + requestID(ctx) + ")")
}
