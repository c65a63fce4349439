package app

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kagent-dev/khook/internal/access"
	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/limit"
	"github.com/kagent-dev/khook/internal/lint"
	"github.com/kagent-dev/khook/internal/review"
	"github.com/kagent-dev/khook/internal/server"
)

// validate checks manifests as the controller would, for a caller who sees only what the caller may.
func (a *App) validate(access access.Control) func(context.Context, []byte) lint.Report {
	return func(ctx context.Context, manifests []byte) lint.Report {
		return lint.Check(ctx, manifests, lint.Options{
			Policy: a.options.policy(), Cluster: a.options.Cluster, Lookup: &lookup{a, access},
		})
	}
}

// lookup asks the cluster and kagent.
type lookup struct {
	app    *App
	access access.Control
}

// lookupLimits bound what validations look up, of one caller and of all: each asks the API server or
// kagent, which detection and the calls to agents need too.
type lookupLimits struct {
	byCaller *limit.Clients
	all      *rate.Limiter
}

// How many look-ups a caller may cause at once and then a second, and all together.
const (
	callerLookups, callerLookupsASecond = 50, 5
	allLookups, allLookupsASecond       = 100, 20
)

func newLookupLimits(callers int) lookupLimits {
	return lookupLimits{limit.NewClients(callerLookupsASecond, callerLookups, callers), rate.NewLimiter(allLookupsASecond, allLookups)}
}

// spend takes a look-up from what the caller of a request has left; an error if that is none.
func (l lookupLimits) spend(ctx context.Context, what string) error {
	if _, ok := l.byCaller.Allow(server.CallerName(ctx)); !ok || !l.all.Allow() {
		return fmt.Errorf("%s %w: too many look-ups, validate fewer Hooks at once or later", what, lint.ErrUnknown)
	}
	return nil
}

// May implements lint.Lookup.
func (l *lookup) May(ctx context.Context, namespace string) error {
	if err := l.app.lookups.spend(ctx, "whether you may use namespace "+namespace); err != nil {
		return err
	}
	if l.access == nil {
		return nil
	}
	ok, err := server.MayRead(ctx, l.access, namespace)
	switch {
	case errors.Is(err, review.ErrBusy):
		return fmt.Errorf("whether you may use namespace %s %w: too many look-ups, validate fewer Hooks at once or later", namespace, lint.ErrUnknown)
	case err != nil:
		return fmt.Errorf("whether you may use namespace %s %w: the API server does not answer; its agents were not checked", namespace, lint.ErrUnknown)
	case !ok:
		return fmt.Errorf("you may not list Hooks in namespace %s: ask for a Role with that right; the agents were not checked", namespace)
	}
	return nil
}

// Namespace implements lint.Lookup. May has been asked, and has counted it.
func (l *lookup) Namespace(ctx context.Context, name string) error {
	if !l.app.watches(name) {
		return fmt.Errorf("khook does not watch namespace %s: let the operator add it to --namespaces", name)
	}
	_, err := l.app.kube.lookup.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("there is no namespace %s: create it first", name)
	case err != nil:
		return fmt.Errorf("whether there is a namespace %s %w: %s", name, lint.ErrUnknown, apierrors.ReasonForError(err))
	}
	return nil
}

// Agent implements lint.Lookup.
func (l *lookup) Agent(ctx context.Context, ref delivery.AgentRef) error {
	if err := l.app.lookups.spend(ctx, fmt.Sprintf("whether there is an agent %s", ref)); err != nil {
		return err
	}
	err := l.app.agents.Exists(ctx, ref)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, agent.ErrNoAgent):
		return fmt.Errorf("kagent has no agent %s: create it, or correct the name", ref)
	}
	return fmt.Errorf("whether there is an agent %s %w: %s", ref, lint.ErrUnknown, agent.Brief(err))
}
