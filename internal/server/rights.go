package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kagent-dev/khook/internal/access"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/store"
)

// may says whether the caller has one of the rights; everybody has all where nobody is asked who they are.
func (s *Server) may(ctx context.Context, rights ...access.Right) (bool, error) {
	if s.cfg.Access == nil {
		return true, nil
	}
	for _, r := range rights {
		ok, err := s.cfg.Access.May(ctx, callerOf(ctx), r)
		if err != nil {
			return false, s.accessFailed(ctx, err)
		}
		if ok {
			return true, nil
		}
	}
	return false, nil
}

// require returns an error, which refusal explains to a caller of a name, unless the caller has one of the rights.
func (s *Server) require(ctx context.Context, refusal func(caller string) string, rights ...access.Right) error {
	if ok, err := s.may(ctx, rights...); err != nil || ok {
		return err
	}
	return huma.Error403Forbidden(refusal(callerName(ctx)))
}

// nowhere stands for the Hook of an ID that is not there. No namespace can have the name.
var nowhere = delivery.HookRef{Namespace: "-", Name: "-"}

// allowFound is asked once the row of an ID was looked up, with the error of that: it returns an error
// unless there is a row whose existence the caller may know, because the caller may list where it is, or has
// one of the further rights.
//
// A stranger must not learn that an ID exists, nor where: so an ID that is not there and one that is not
// the caller's have the same answer, after the same questions to Kubernetes, which can take time or fail.
func (s *Server) allowFound(ctx context.Context, lookup error, hook delivery.HookRef, further ...func(delivery.HookRef) access.Right) error {
	missing := errors.Is(lookup, store.ErrNotFound)
	if lookup != nil && !missing {
		return s.storeError(ctx, lookup)
	}
	if missing {
		hook = nowhere
	}
	rights := []access.Right{access.ReadHooks(hook.Namespace)}
	for _, right := range further {
		rights = append(rights, right(hook))
	}
	switch ok, err := s.may(ctx, rights...); {
	case err != nil:
		return err
	case missing || !ok:
		return s.storeError(ctx, store.ErrNotFound)
	}
	return nil
}

// allowOn returns an error that names the right unless the caller has it. It is for callers who may know
// of what the right is on.
func (s *Server) allowOn(ctx context.Context, what string, r access.Right) error {
	return s.require(ctx, func(caller string) string {
		return fmt.Sprintf("%s may not %s of Hook %s in namespace %s: ask for a Role with %s", caller, what, r.Name, r.Namespace, r.Grant())
	}, r)
}
