package server

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/access"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// What is looked at to say what a caller may. Each right costs Kubernetes a question, of which a caller has some hundred
// at once (access): more than half of them are left for what the caller came for.
const (
	maxMeNamespaces = 20
	maxMeRights     = 48 // in namespaces and for Hooks, beside those of all namespaces
	maxMeGroups     = 100
	maxMeGroup      = 253 // bytes
)

type meInput struct {
	Namespace string `query:"namespace" maxLength:"63" doc:"What the caller may in this namespace, and for its Hooks." example:"shop"`
}

func (s *Server) registerMe() {
	getRoute(s, "getMe", "/me", tagPeople, "Tell who asks, and what they may",
		"Needs a token, and no further right. By the same questions to Kubernetes as each route asks, so that what is told here is what is allowed there; it is not more than a hint, since rights change.", s.me)
}

func (s *Server) me(ctx context.Context, in *meInput) (api.Me, error) {
	me := api.Me{Groups: []string{}, Authentication: "none", Namespaces: []api.NamespaceRights{}}
	if s.cfg.Access == nil {
		me.Everywhere = api.Rights{Read: true, Texts: true, Act: true, Approve: true, Pause: true}
		return me, nil
	}
	req := requestOf(ctx)
	me.Name, me.Authentication = req.callerName(), "token"
	if req.session.sent() {
		me.Authentication, me.ExpiresAt = "session", &req.session.ends
	}
	if known, ok := req.caller.(interface{ GetGroups() []string }); ok {
		for _, group := range known.GetGroups()[:min(len(known.GetGroups()), maxMeGroups)] {
			me.Groups = append(me.Groups, incident.Clean(group, maxMeGroup))
		}
	}
	asking := &rightsAsked{server: s, left: maxMeRights + numRights}
	err := asking.ask(ctx, delivery.HookRef{}, &me.Everywhere)
	if err != nil || me.Everywhere.All() && in.Namespace == "" {
		return me, err
	}
	if in.Namespace != "" {
		err = s.meIn(ctx, in.Namespace, asking, &me)
	} else {
		err = s.meInAll(ctx, asking, &me)
	}
	return me, err
}

// meInAll adds what the caller may in the namespaces with Hooks.
func (s *Server) meInAll(ctx context.Context, asking *rightsAsked, me *api.Me) error {
	hooks, err := s.hooksOf(ctx, "")
	if err != nil {
		return err
	}
	names := map[string]bool{}
	for _, h := range hooks {
		names[h.Namespace] = true
	}
	for i, name := range slices.Sorted(maps.Keys(names)) {
		in := api.NamespaceRights{Namespace: name, Rights: me.Everywhere}
		if i == maxMeNamespaces || !asking.room() {
			me.Truncated = true
			return nil
		}
		if err := asking.ask(ctx, delivery.HookRef{Namespace: name}, &in.Rights); err != nil {
			return err
		}
		if in.Read {
			me.Namespaces = append(me.Namespaces, in)
		}
	}
	return nil
}

// meIn adds what the caller may in one namespace, and for its Hooks. Who may not list them learns of none.
func (s *Server) meIn(ctx context.Context, namespace string, asking *rightsAsked, me *api.Me) error {
	in := api.NamespaceRights{Namespace: namespace, Rights: me.Everywhere}
	if err := asking.ask(ctx, delivery.HookRef{Namespace: namespace}, &in.Rights); err != nil {
		return err
	}
	if in.Read && !in.All() {
		hooks, err := s.hooksOf(ctx, namespace)
		if err != nil {
			return err
		}
		for _, h := range hooks {
			if !asking.room() {
				me.Truncated = true
				break
			}
			own := api.HookRights{Hook: h.Name, Rights: in.Rights}
			if err := asking.ask(ctx, h, &own.Rights); err != nil {
				return err
			}
			if own.Rights != in.Rights {
				in.Hooks = append(in.Hooks, own)
			}
		}
	}
	me.Namespaces = append(me.Namespaces, in)
	return nil
}

// hooksOf are the Hooks of a namespace, or of all.
func (s *Server) hooksOf(ctx context.Context, namespace string) ([]delivery.HookRef, error) {
	var list v1alpha2.HookList
	if err := s.cfg.Hooks.List(ctx, &list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	refs := make([]delivery.HookRef, 0, len(list.Items))
	for i := range list.Items {
		refs = append(refs, delivery.HookRef{Namespace: list.Items[i].Namespace, Name: list.Items[i].Name})
	}
	slices.SortFunc(refs, func(a, b delivery.HookRef) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return refs, nil
}

// rightsAsked asks for rights, and counts them.
type rightsAsked struct {
	server *Server
	left   int
}

// numRights is how many rights there are.
const numRights = 5

// room says whether all rights of one more place may be asked for.
func (a *rightsAsked) room() bool { return a.left >= numRights }

// ask adds the rights that a caller has for a Hook, in a namespace if it has no name, or everywhere. What is granted already, by
// a wider right, is not asked for.
func (a *rightsAsked) ask(ctx context.Context, hook delivery.HookRef, rights *api.Rights) error {
	wanted := []struct {
		has   *bool
		right access.Right
	}{
		{&rights.Read, access.ReadHooks(hook.Namespace)}, {&rights.Texts, access.ReadTexts(hook)}, {&rights.Act, access.ActOn(hook)},
		{&rights.Approve, access.Decide(hook)}, {&rights.Pause, access.PauseCalls(delivery.PauseScope{Namespace: hook.Namespace, Hook: hook.Name})},
	}
	for i, w := range wanted {
		if i > 0 && hook.Namespace != "" && !rights.Read {
			return nil // who may not know of a namespace needs no more of it
		}
		if *w.has {
			continue
		}
		a.left--
		may, err := a.server.may(ctx, w.right)
		if err != nil {
			return err
		}
		*w.has = may
	}
	return nil
}
