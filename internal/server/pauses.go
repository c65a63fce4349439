package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/access"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// Pausing stops calls and resumes them because people want it so. What Pause and Resume return without an error is in the history;
// ErrStandby, ErrNotTaken, ErrIntakeFull and ErrOutcomeUnknown are as those of Actions.
type Pausing interface {
	// Pauses are those that are not over, the widest first.
	Pauses(ctx context.Context) (delivery.Pauses, error)
	// Pause replaces a pause of the same scope, and returns how many deliveries are canceled, if it is to cancel. ErrNotDurable says
	// that calls are paused in this process, and the history could not be written.
	Pause(ctx context.Context, p delivery.Pause) (canceled int, err error)
	// Resume ends the pause of a scope; ended is false if there was none.
	Resume(ctx context.Context, scope delivery.PauseScope, by string) (ended bool, err error)
}

// ErrNotDurable is returned where a pause holds in this process only.
var ErrNotDurable = errors.New("not durable")

// ScopeBody is whose calls are meant.
type ScopeBody struct {
	All       bool   `json:"all,omitempty" doc:"All Hooks of all namespaces."`
	Namespace string `json:"namespace,omitempty" maxLength:"63" doc:"All Hooks of this namespace, or one of them." example:"shop"`
	Hook      string `json:"hook,omitempty" maxLength:"253" doc:"This Hook of the namespace." example:"memory"`
}

// scope is what the body names; what is to be stopped must be said, and not left out by mistake.
func (b *ScopeBody) scope() (delivery.PauseScope, error) {
	switch {
	case b.All && (b.Namespace != "" || b.Hook != ""):
		return delivery.PauseScope{}, huma.Error400BadRequest("all means all Hooks of all namespaces: leave namespace and hook out, or all")
	case !b.All && b.Namespace == "":
		return delivery.PauseScope{}, huma.Error400BadRequest(`say whose calls are meant: "all": true, a namespace, or a namespace and a hook`)
	}
	if b.Namespace != "" && len(validation.IsDNS1123Label(b.Namespace)) > 0 || b.Hook != "" && len(validation.IsDNS1123Subdomain(b.Hook)) > 0 {
		return delivery.PauseScope{}, huma.Error400BadRequest("namespace and hook must be names as Kubernetes has them: lower-case letters, digits and -")
	}
	return delivery.PauseScope{Namespace: b.Namespace, Hook: b.Hook}, nil
}

type pauseInput struct {
	Body struct {
		ScopeBody
		Reason string `json:"reason" maxLength:"500" doc:"Why, for those who will find it paused." example:"INC-1234: the agent restarts healthy Pods"`
		For    string `json:"for,omitempty" maxLength:"20" doc:"For how long, as a duration of at most 720h; absent: until a person resumes." example:"2h"`
		Cancel bool   `json:"cancel,omitempty" doc:"Tell the agents that are at work for these Hooks to stop."`
	}
}

type resumeInput struct{ Body ScopeBody }

type pausesInput struct {
	Namespace string `query:"namespace" maxLength:"63" doc:"Those that concern this namespace; needs the right for all namespaces if absent."`
}

func (s *Server) registerPauses() {
	getRoute(s, "listPauses", "/pauses", tagHooks, "List pauses", "What people have paused, and until when.", s.listPauses)
	post := func(id, path, summary, description string) huma.Operation {
		return huma.Operation{
			OperationID: id, Method: http.MethodPost, Path: api.Base + path, Tags: []string{tagHooks}, Summary: summary,
			Description:  description + " Needs the verb update on hooks/pause: for the Hook, in the namespace, or in all namespaces.",
			MaxBodyBytes: s.cfg.Limits.MaxBody, BodyReadTimeout: 20 * time.Second,
			Errors: append([]int{http.StatusConflict, http.StatusUnsupportedMediaType}, commonErrors...),
		}
	}
	huma.Register(s.api, post("pause", "/pause", "Stop the calls of Hooks",
		"At once, also those that wait; they are made when calls are resumed, if there is still reason to. Events are recorded as paused. "+
			"A pause survives restarts, and nothing that applies Hooks ends it; one of the same scope is replaced. 503 of the kind not-durable says that calls are paused in this process, and that the history could not be written."), s.pause)
	huma.Register(s.api, post("resume", "/resume", "Let the calls of Hooks go on",
		"Ends the pause of exactly this scope; the answer has the pauses that go on stopping some of these Hooks' calls."), s.resume)
}

func (s *Server) listPauses(ctx context.Context, in *pausesInput) (*api.Pauses, error) {
	if err := s.allow(ctx, in.Namespace); err != nil {
		return nil, err
	}
	all, err := s.pausesOf(ctx)
	if err != nil {
		return nil, err
	}
	list := api.Pauses{Items: []api.Pause{}}
	for i := range all {
		if in.Namespace == "" || all[i].Namespace == "" || all[i].Namespace == in.Namespace {
			list.Items = append(list.Items, api.PauseOf(&all[i]))
		}
	}
	return &list, nil
}

// pausesOf are the pauses; none where nothing can be paused.
func (s *Server) pausesOf(ctx context.Context) (delivery.Pauses, error) {
	if s.cfg.Pausing == nil {
		return nil, nil
	}
	all, err := s.cfg.Pausing.Pauses(ctx)
	if err != nil {
		return nil, s.storeError(ctx, err)
	}
	return all, nil
}

func (s *Server) pause(ctx context.Context, in *pauseInput) (*accepted[api.Paused], error) {
	scope, by, err := s.mayPause(ctx, &in.Body.ScopeBody)
	if err != nil {
		return nil, err
	}
	wanted := delivery.Pause{PauseScope: scope, By: by, At: time.Now().UTC().Truncate(time.Microsecond), Cancel: in.Body.Cancel}
	if wanted.Reason = incident.Clean(strings.TrimSpace(in.Body.Reason), delivery.MaxPauseReason); wanted.Reason == "" {
		return nil, huma.Error400BadRequest("say why (reason): it is shown to everybody who wonders why nobody is called")
	}
	if in.Body.For != "" {
		length, err := time.ParseDuration(in.Body.For)
		if err != nil || length <= 0 || length > delivery.MaxPauseFor {
			return nil, huma.Error400BadRequest(fmt.Sprintf("for must be a duration such as 2h, and at most %s; leave it out to pause until somebody resumes", delivery.MaxPauseFor))
		}
		wanted.Ends = wanted.At.Add(length)
	}
	canceled, err := s.cfg.Pausing.Pause(ctx, wanted)
	var refused *delivery.RefusedError
	switch {
	case errors.Is(err, ErrNotDurable):
		s.cfg.Log.Error(err, "a pause could not be recorded", "scope", scope, "user", by, "request", requestID(ctx))
		return nil, ofKind(notDurable, huma.Error503ServiceUnavailable(fmt.Sprintf("calls of %s are paused in this process, but the history can't be written: after a restart they would go on. "+
			"To be sure, stop khook by scaling its Deployment to 0 (kubectl -n kagent scale deployment khook --replicas=0), or mend the history and pause again", scope)))
	case errors.As(err, &refused):
		return nil, huma.Error409Conflict(refused.Reason)
	case err != nil:
		if asked := s.askedLeader(ctx, err); asked != nil {
			return nil, asked
		}
		s.cfg.Log.Error(err, "not all agents could be told to stop, will retry", "scope", scope, "user", by, "request", requestID(ctx))
		return nil, huma.Error503ServiceUnavailable("calls are paused; not all agents that are at work could be told to stop yet: khook goes on with it")
	}
	s.cfg.Log.Info("a person paused calls", "scope", scope, "user", by, "request", requestID(ctx))
	return &accepted[api.Paused]{api.Paused{Pause: api.PauseOf(&wanted), Canceled: canceled, Hooks: s.hooksIn(ctx, scope)}}, nil
}

func (s *Server) resume(ctx context.Context, in *resumeInput) (*accepted[api.Resumed], error) {
	scope, by, err := s.mayPause(ctx, &in.Body)
	if err != nil {
		return nil, err
	}
	ended, err := s.cfg.Pausing.Resume(ctx, scope, by)
	if err != nil {
		if asked := s.askedLeader(ctx, err); asked != nil {
			return nil, asked
		}
		return nil, s.storeError(ctx, err)
	}
	all, err := s.pausesOf(ctx)
	if err != nil {
		return nil, err
	}
	answer := api.Resumed{Ended: ended, Still: []api.Pause{}}
	for i := range all {
		if overlap(scope, all[i].PauseScope) {
			answer.Still = append(answer.Still, api.PauseOf(&all[i]))
		}
	}
	if ended {
		s.cfg.Log.Info("a person resumed calls", "scope", scope, "user", by, "request", requestID(ctx))
	}
	return &accepted[api.Resumed]{answer}, nil
}

// overlap says whether two scopes have a Hook in common.
func overlap(a, b delivery.PauseScope) bool {
	return a.Namespace == "" || b.Namespace == "" || a.Namespace == b.Namespace && (a.Hook == "" || b.Hook == "" || a.Hook == b.Hook)
}

// hooksIn is how many Hooks there are in a scope; nil if that can't be found out.
func (s *Server) hooksIn(ctx context.Context, scope delivery.PauseScope) *int {
	var list v1alpha2.HookList
	if err := s.cfg.Hooks.List(ctx, &list, client.InNamespace(scope.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil
	}
	n := 0
	for i := range list.Items {
		if scope.Covers(delivery.HookRef{Namespace: list.Items[i].Namespace, Name: list.Items[i].Name}) {
			n++
		}
	}
	return &n
}

// mayPause is the scope that a caller means, and who that is, if the caller may pause it here.
func (s *Server) mayPause(ctx context.Context, body *ScopeBody) (delivery.PauseScope, string, error) {
	scope, err := body.scope()
	if err != nil {
		return scope, "", err
	}
	right := access.PauseCalls(scope)
	if err := s.require(ctx, func(caller string) string {
		return fmt.Sprintf("%s may not pause or resume calls of %s: ask for a Role with %s", caller, scope, right.Grant())
	}, right); err != nil {
		return scope, "", err
	}
	if s.cfg.Pausing == nil {
		return scope, "", s.standby()
	}
	by := incident.Clean(callerName(ctx), delivery.MaxPerson)
	if by == "" {
		by = unknownPerson
	}
	return scope, by, nil
}
