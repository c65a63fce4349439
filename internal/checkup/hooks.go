package checkup

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
)

// maxHooks bounds how many Hooks are looked at, and maxAgents how many agents.
const (
	maxHooks  = 10_000
	maxAgents = 500
)

// hooks says which Hooks are not ready, and which agents are not there.
func (c *checkup) hooks(ctx context.Context) {
	all, more, err := c.allHooks(ctx)
	switch {
	case apierrors.IsNotFound(err):
		c.unseen("hooks", "the cluster does not serve Hooks of version %s", hookVersion)
		c.unseen("agents", "the Hooks are not known")
		return
	case err != nil:
		c.unread("hooks", err)
		c.unseen("agents", "the Hooks are not known")
		return
	}
	c.ready(all)
	if more {
		c.unseen("hooks", "there are more than %d: only that many were", maxHooks)
	}
	c.agents(ctx, all)
}

// allHooks are the Hooks of all namespaces, up to maxHooks.
func (c *checkup) allHooks(ctx context.Context) (all []v1alpha2.Hook, more bool, err error) {
	resource := v1alpha2.SchemeGroupVersion.WithResource("hooks")
	for o := (metav1.ListOptions{Limit: 500}); ; {
		page, err := c.objects.Resource(resource).List(ctx, o)
		if err != nil {
			return nil, false, err
		}
		for i := range page.Items {
			var h v1alpha2.Hook
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(page.Items[i].Object, &h); err != nil {
				return nil, false, err
			}
			all = append(all, h)
		}
		if o.Continue = page.GetContinue(); o.Continue == "" || len(all) >= maxHooks {
			return all, o.Continue != "", nil
		}
	}
}

// ready says which Hooks khook does not call for, and why.
func (c *checkup) ready(all []v1alpha2.Hook) {
	unready, suspended := 0, 0
	for i := range all {
		h := &all[i]
		if h.Spec.Suspend {
			suspended++
		}
		why := whyUnready(h)
		if why == "" {
			continue
		}
		if unready++; unready <= maxNamed {
			c.fail("hooks", "%s/%s %s", h.Namespace, h.Name, why)
		}
	}
	switch {
	case unready > maxNamed:
		c.fail("hooks", "%s not ready: kubectl get hooks -A", incident.Counted(unready-maxNamed, "more Hook"))
	case unready > 0:
	case len(all) == 0:
		c.warn("hooks", "there is no Hook, so no agent is called: docs/hooks.md says how to write one")
	default:
		c.ok("hooks", "all are ready: %s", incident.Counted(len(all), "Hook"))
	}
	if suspended > 0 {
		c.warn("hooks", "%d of %d %s suspended by spec.suspend: nobody is called", suspended, len(all), incident.Are(suspended))
	}
}

// whyUnready is why a Hook is not ready; "" if it is.
func whyUnready(h *v1alpha2.Hook) string {
	condition := meta.FindStatusCondition(h.Status.Conditions, v1alpha2.ConditionReady)
	switch {
	case condition == nil:
		return "has no status: khook has not seen it; does khook run, and does it watch the namespace?"
	case condition.ObservedGeneration < h.Generation:
		return "was changed, and khook has not seen the change yet: does khook run?"
	case condition.Status != metav1.ConditionTrue:
		return "is not ready: " + condition.Message
	}
	return ""
}

// agents says which agents of Hooks are not there.
func (c *checkup) agents(ctx context.Context, all []v1alpha2.Hook) {
	called := callers(all)
	if len(called) == 0 {
		c.unseen("agents", "no Hook names any")
		return
	}
	resource, err := c.agentResource()
	switch {
	case err != nil:
		c.unread("agents", err)
		return
	case resource.Empty():
		c.unseen("agents", "the cluster has no Agents of kagent: it may run elsewhere; the Hooks' condition Ready says whether khook found them")
		return
	}
	refs := slices.SortedFunc(maps.Keys(called), func(a, b delivery.AgentRef) int { return cmp.Compare(a.String(), b.String()) })
	if len(refs) > maxAgents {
		c.unseen("agents", "there are more than %d: only the first were", maxAgents)
		refs = refs[:maxAgents]
	}
	there := 0
	for _, ref := range refs {
		agent, err := c.objects.Resource(resource).Namespace(ref.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		by := some(called[ref])
		switch {
		case apierrors.IsNotFound(err):
			c.fail("agents", "there is no Agent %s in this cluster, which %s names: create it, or correct the name", ref, by)
		case apierrors.IsForbidden(err):
			c.unread("agents", err)
			return
		case err != nil:
			c.unread("agents", err)
		case !agentReady(agent):
			c.fail("agents", "Agent %s, which %s names, is not ready: kubectl -n %s describe agents.kagent.dev %s", ref, by, ref.Namespace, ref.Name)
		default:
			there++
		}
	}
	if there == len(refs) {
		c.ok("agents", "all that Hooks name are there: %s", incident.Counted(there, "agent"))
	}
}

// callers are the agents that Hooks name, with the Hooks.
func callers(all []v1alpha2.Hook) map[delivery.AgentRef][]string {
	called := map[delivery.AgentRef][]string{}
	for i := range all {
		h := &all[i]
		for k := range h.Spec.EventConfigurations {
			ref, by := hook.AgentOf(h.Namespace, &h.Spec.EventConfigurations[k]), "Hook "+h.Namespace+"/"+h.Name
			if ref.Name != "" && !slices.Contains(called[ref], by) {
				called[ref] = append(called[ref], by)
			}
		}
	}
	return called
}

// agentResource is what kagent's Agents are served as, in the version that the cluster prefers; empty if it serves none.
func (c *checkup) agentResource() (schema.GroupVersionResource, error) {
	group := v1alpha2.SchemeGroupVersion.Group
	groups, err := c.kube.Discovery().ServerGroups()
	if err != nil {
		return schema.GroupVersionResource{}, err
	}
	for _, g := range groups.Groups {
		if g.Name != group {
			continue
		}
		versions := append([]metav1.GroupVersionForDiscovery{g.PreferredVersion}, g.Versions...)
		for _, v := range versions {
			served, err := c.kube.Discovery().ServerResourcesForGroupVersion(v.GroupVersion)
			if err != nil {
				return schema.GroupVersionResource{}, err
			}
			for _, r := range served.APIResources {
				if r.Name == "agents" {
					return schema.GroupVersionResource{Group: group, Version: v.Version, Resource: r.Name}, nil
				}
			}
		}
	}
	return schema.GroupVersionResource{}, nil
}

// agentReady says that an Agent does not say that it is not ready.
func agentReady(agent *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(agent.Object, "status", "conditions")
	for _, item := range conditions {
		condition, ok := item.(map[string]any)
		if ok && condition["type"] == "Ready" && strings.EqualFold(textOf(condition["status"]), string(metav1.ConditionFalse)) {
			return false
		}
	}
	return true
}

func textOf(v any) string {
	text, _ := v.(string)
	return text
}
