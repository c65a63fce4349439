package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kagent-dev/khook/internal/access"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// Actions does what people want done with deliveries. A *delivery.RefusedError says why it can't be
// done, ErrStandby that another replica has to; ErrNotTaken, ErrIntakeFull and ErrOutcomeUnknown are of a replica that asked the one that leads. What it returns without an error is in the history: khook does it also after
// a crash, and once. by is who wants it, and is recorded.
type Actions interface {
	Reply(ctx context.Context, id, by string, r delivery.Reply) (*delivery.Delivery, error)
	Cancel(ctx context.Context, id, by string) (*delivery.Delivery, error)
	Retry(ctx context.Context, id, by string) (*delivery.Delivery, error)
	Resume(ctx context.Context, id, by string) (*delivery.Delivery, error)
}

// ErrStandby is returned by Actions of a replica that does not lead.
var ErrStandby = errors.New("this replica does not lead")

// What becomes of what a replica that does not lead asked the one that does.
var (
	// ErrNotTaken says that nothing was done and nothing will be.
	ErrNotTaken = errors.New("the replica that leads did not take it")
	// ErrIntakeFull is ErrNotTaken because too many wait.
	ErrIntakeFull = errors.New("too many wait for the replica that leads")
	// ErrOutcomeUnknown says that it is not known whether it was done, or will be.
	ErrOutcomeUnknown = errors.New("it is not known what became of it")
)

// unknownPerson is who acts where nobody is asked who they are (--api-auth=none).
const unknownPerson = "somebody (without authentication)"

type replyInput struct {
	StoryPath
	Body struct {
		Text       string           `json:"text,omitempty" maxLength:"16384" doc:"What to tell the agent." example:"Yes, the volume may be resized."`
		Decision   delivery.Verdict `json:"decision,omitempty" enum:"approve,reject" doc:"Where the agent asks for an approval."`
		QuestionID string           `json:"questionId,omitempty" maxLength:"256" doc:"The question that is meant, as the delivery has it; refused if the agent now asks another one. A decision must name it."`
	}
}

type created[T any] struct {
	Location string `header:"Location"`
	Body     T
}

type accepted[T any] struct{ Body T }

func (s *Server) registerActions() {
	action := func(id, path, summary, description string, status int, errs ...int) huma.Operation {
		return huma.Operation{
			OperationID: id, Method: http.MethodPost, Path: api.Base + "/deliveries/{id}/" + path, Tags: []string{tagStory}, Summary: summary,
			Description:   description + " Who did it is recorded in the delivery's log. The answer has no texts for who may not read them.",
			DefaultStatus: status, MaxBodyBytes: s.cfg.Limits.MaxBody, BodyReadTimeout: 20 * time.Second,
			Errors: append(append(errs, http.StatusNotFound, http.StatusConflict, http.StatusUnsupportedMediaType), commonErrors...),
		}
	}
	huma.Register(s.api, action("replyToDelivery", "reply", "Answer the agent's question",
		"For a delivery that is input-required. The answer is recorded, and given to the agent once, also when khook ends meanwhile. "+
			"A decision (approve or reject) must name the question by questionId: without one it is refused with 428, and with 409 if the agent now asks something else. "+
			"A text needs the verb update on hooks/deliveries for the Hook, a decision the verb approve.", http.StatusAccepted, http.StatusPreconditionRequired), s.reply)
	huma.Register(s.api, action("cancelDelivery", "cancel", "Cancel a delivery",
		"One whose agent was not called yet is not sent; of another the agent is told to stop. Needs the verb update on hooks/deliveries for the Hook.", http.StatusAccepted),
		simple(s, func(a Actions) act { return a.Cancel }))
	huma.Register(s.api, action("retryDelivery", "retry", "Try a delivery again",
		"Makes a new delivery that asks the same about the same incidents, and says so. Each delivery can be tried again once; then its repetition can. Needs the verb update on hooks/deliveries for the Hook.", http.StatusCreated), s.retry)
	huma.Register(s.api, action("resumeDelivery", "resume", "Let calls through again",
		"For the group that the delivery is of: the loop guard forgets the calls until now. If something of the group still fails, its agent is called. Needs the verb update on hooks/deliveries for the Hook.", http.StatusAccepted),
		simple(s, func(a Actions) act { return a.Resume }))
}

// act is one of the Actions.
type act func(ctx context.Context, id, by string) (*delivery.Delivery, error)

func simple(s *Server, pick func(Actions) act) func(context.Context, *StoryPath) (*accepted[api.Delivery], error) {
	return func(ctx context.Context, in *StoryPath) (*accepted[api.Delivery], error) {
		d, err := s.act(ctx, in.ID, toAct, func(a Actions, by string) (*delivery.Delivery, error) { return pick(a)(ctx, in.ID, by) })
		if err != nil {
			return nil, err
		}
		return &accepted[api.Delivery]{s.changed(ctx, d)}, nil
	}
}

// reply answers an agent's question. A decision must name the question, which is checked when it is recorded and once more
// right before it is sent: else a person who read one question would approve another that the agent asks by then.
func (s *Server) reply(ctx context.Context, in *replyInput) (*accepted[api.Delivery], error) {
	text := strings.TrimSpace(in.Body.Text)
	if text == "" && in.Body.Decision == "" {
		return nil, huma.Error400BadRequest("the reply is empty: send a text, or a decision (approve or reject) where the agent asks for an approval")
	}
	if len(text) > delivery.MaxReply {
		return nil, huma.Error400BadRequest(fmt.Sprintf("the text has %d bytes: send at most %d", len(text), delivery.MaxReply))
	}
	kind := toAct
	if in.Body.Decision != "" {
		kind = toDecide
	}
	if in.Body.Decision != "" && in.Body.QuestionID == "" {
		return nil, huma.Error428PreconditionRequired("a decision must name the question that it is about: read the delivery, and send its questionId")
	}
	r := delivery.Reply{Text: text, Decision: in.Body.Decision, QuestionID: in.Body.QuestionID}
	d, err := s.act(ctx, in.ID, kind, func(a Actions, by string) (*delivery.Delivery, error) { return a.Reply(ctx, in.ID, by, r) })
	if err != nil {
		return nil, err
	}
	return &accepted[api.Delivery]{s.changed(ctx, d)}, nil
}

func (s *Server) retry(ctx context.Context, in *StoryPath) (*created[api.Delivery], error) {
	d, err := s.act(ctx, in.ID, toAct, func(a Actions, by string) (*delivery.Delivery, error) { return a.Retry(ctx, in.ID, by) })
	if err != nil {
		return nil, err
	}
	return &created[api.Delivery]{api.Base + "/deliveries/" + d.ID, s.changed(ctx, d)}, nil
}

// deed is what a caller does with deliveries, and the right that it takes.
type deed struct {
	what  string
	right func(delivery.HookRef) access.Right
}

var (
	toAct    = deed{"act on the deliveries", access.ActOn}
	toDecide = deed{"approve or reject what the agents ask for in the deliveries", access.Decide}
)

// act does what a caller wants done with a delivery, if the caller may.
func (s *Server) act(ctx context.Context, id string, kind deed, do func(a Actions, by string) (*delivery.Delivery, error)) (*delivery.Delivery, error) {
	dl, of, err := lookUp(ctx, s, func(v view) (*delivery.Delivery, error) { return v.Delivery(ctx, id) })
	if of.Reader == nil {
		return nil, err
	}
	if err != nil {
		dl = &delivery.Delivery{}
	}
	if err := of.allowFound(ctx, err, dl.Hook, kind.right); err != nil {
		return nil, err
	}
	if !of.own {
		return nil, huma.Error409Conflict(fmt.Sprintf("the delivery is of cluster %s, and only that cluster's khook acts on it: ask there", of.cluster()))
	}
	if err := s.allowOn(ctx, kind.what, kind.right(dl.Hook)); err != nil {
		return nil, err
	}
	if s.cfg.Actions == nil {
		return nil, s.standby()
	}
	by := incident.Clean(callerName(ctx), delivery.MaxPerson)
	if by == "" {
		by = unknownPerson
	}
	d, err := do(s.cfg.Actions, by)
	var refused *delivery.RefusedError
	switch {
	case errors.As(err, &refused):
		return nil, huma.Error409Conflict(refused.Reason)
	case err != nil:
		if asked := s.askedLeader(ctx, err); asked != nil {
			return nil, asked
		}
		return nil, s.storeError(ctx, err)
	}
	s.cfg.Log.Info("a person acted on a delivery", "delivery", id, "hook", dl.Hook, "route", routeOf(ctx), "user", by, "request", requestID(ctx))
	return d, nil
}

func (s *Server) standby() error {
	return huma.ErrorWithHeaders(ofKind(standby, huma.Error503ServiceUnavailable("this replica of khook does not lead, or not yet: try again, or ask the leader")), http.Header{"Retry-After": {"5"}})
}

// askedLeader is how a caller is told that this replica, which does not lead, could not have it done by the one that does; nil if it is something else.
func (s *Server) askedLeader(ctx context.Context, err error) error {
	again := http.Header{"Retry-After": {"5"}}
	switch {
	case errors.Is(err, ErrStandby):
		return s.standby()
	case errors.Is(err, ErrIntakeFull):
		return huma.ErrorWithHeaders(ofKind(standby, huma.Error503ServiceUnavailable("this replica of khook does not lead, and too much waits for the one that does: nothing was done; try again")), again)
	case errors.Is(err, ErrOutcomeUnknown): // without Retry-After: it may be done by then
		s.cfg.Log.Error(err, "it is not known what became of what a person wanted", "request", requestID(ctx))
		return ofKind(outcomeUnknown, huma.Error503ServiceUnavailable("this replica of khook does not lead, and could not find out whether the one that does has done it, or will within a minute: look before you ask again (request "+requestID(ctx)+")"))
	case errors.Is(err, ErrNotTaken):
		s.cfg.Log.Info("the replica that leads did not take what a person wants", "reason", err.Error(), "request", requestID(ctx))
		return huma.ErrorWithHeaders(ofKind(standby, huma.Error503ServiceUnavailable("this replica of khook does not lead, and none that does took it up in time: nothing was done, and nothing will be; try again")), again)
	}
	return nil
}
