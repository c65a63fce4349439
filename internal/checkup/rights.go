package checkup

import (
	"context"
	"fmt"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// right is something that one may do, in one namespace or, where that is empty, in all.
type right struct{ verb, group, resource, subresource, name, namespace string }

func (r right) String() string {
	what := r.resource
	if r.group != "" {
		what += "." + r.group
	}
	if r.subresource != "" {
		what = r.resource + "/" + r.subresource + "." + r.group
	}
	if r.name != "" {
		what += " " + r.name
	}
	return r.verb + " " + what
}

func (r right) attributes() *authorizationv1.ResourceAttributes {
	return &authorizationv1.ResourceAttributes{Verb: r.verb, Group: r.group, Resource: r.resource, Subresource: r.subresource, Name: r.name, Namespace: r.namespace}
}

// may says whether who asks may do something.
func (c *checkup) may(ctx context.Context, r right) (bool, error) {
	review, err := c.kube.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: r.attributes()},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	return review.Status.Allowed, nil
}

// lacking are those of some rights that who asks does not have.
func (c *checkup) lacking(ctx context.Context, rights []right) (lacks []string, err error) {
	for _, r := range rights {
		allowed, err := c.may(ctx, r)
		if err != nil {
			return nil, err
		}
		if !allowed {
			lacks = append(lacks, r.String())
		}
	}
	return lacks, nil
}

// toInstall is what it takes to install the chart as it is.
func toInstall(namespace string) []right {
	rights := []right{
		{verb: "create", group: "apiextensions.k8s.io", resource: "customresourcedefinitions"},
		{verb: "create", group: "rbac.authorization.k8s.io", resource: "clusterroles"},
		{verb: "create", group: "rbac.authorization.k8s.io", resource: "clusterrolebindings"},
		{verb: "create", group: "admissionregistration.k8s.io", resource: "validatingadmissionpolicies"},
		{verb: "create", group: "admissionregistration.k8s.io", resource: "validatingadmissionpolicybindings"},
	}
	for _, of := range []right{
		{resource: "serviceaccounts"}, {resource: "services"}, {resource: "configmaps"}, {resource: "persistentvolumeclaims"},
		{resource: "secrets"}, // where helm keeps its releases
		{group: "apps", resource: "deployments"}, {group: "networking.k8s.io", resource: "networkpolicies"},
		{group: "rbac.authorization.k8s.io", resource: "roles"}, {group: "rbac.authorization.k8s.io", resource: "rolebindings"},
	} {
		of.verb, of.namespace = "create", namespace
		rights = append(rights, of)
	}
	return rights
}

// ofController is what khook needs in each namespace that it watches: config/rbac/role.yaml, which a test holds it to.
func ofController(namespace string) []right {
	var rights []right
	for _, of := range []struct {
		right
		verbs string
	}{
		{right{resource: "namespaces"}, "get"}, {right{resource: "pods"}, "list watch"},
		{right{group: "events.k8s.io", resource: "events"}, "create list watch"},
		{right{group: "kagent.dev", resource: "hooks"}, "get list watch"},
		{right{group: "kagent.dev", resource: "hooks", subresource: "status"}, "get patch update"},
	} {
		for verb := range strings.FieldsSeq(of.verbs) {
			of.verb, of.namespace = verb, namespace
			rights = append(rights, of.right)
		}
	}
	return rights
}

// reviews is what khook needs to know who calls its HTTP API, where it asks in its own name.
var reviews = []right{
	{verb: "create", group: "authentication.k8s.io", resource: "tokenreviews"},
	{verb: "create", group: "authorization.k8s.io", resource: "subjectaccessreviews"},
}

// installRights says whether who asks may install the chart. Who grants rights must have them, or may escalate.
func (c *checkup) installRights(ctx context.Context) {
	lacks, err := c.lacking(ctx, toInstall(c.Namespace))
	if err != nil {
		c.unread("rights", err)
		return
	}
	if len(lacks) > 0 {
		c.fail("rights", "you may not %s: have an administrator install khook or give you that; watchNamespaces with crds.install=false and admissionPolicy.enabled=false needs no right for the whole cluster",
			strings.Join(lacks, ", "))
		return
	}
	escalate, err := c.may(ctx, right{verb: "escalate", group: "rbac.authorization.k8s.io", resource: "clusterroles"})
	if err == nil && !escalate {
		lacks, err = c.lacking(ctx, append(ofController(""), reviews...))
	}
	switch {
	case err != nil:
		c.unread("rights", err)
	case len(lacks) > 0:
		c.fail("rights", "you may not give khook the rights that it needs, since you do not have them yourself: %s; have an administrator install khook", strings.Join(lacks, ", "))
	default:
		c.ok("rights", "you may create all that the chart installs")
	}
}

// granted says whether khook's ServiceAccount may do what khook does. namespaces are those that it watches; all if empty.
func (c *checkup) granted(ctx context.Context, account string, namespaces []string, asksItself bool) {
	var needed []right
	if len(namespaces) == 0 {
		needed = ofController("")
	}
	for _, ns := range namespaces {
		needed = append(needed, ofController(ns)...)
	}
	if asksItself {
		needed = append(needed, reviews...)
	}
	var lacks []string
	for _, r := range needed {
		review, err := c.kube.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: fmt.Sprintf("system:serviceaccount:%s:%s", c.Namespace, account), ResourceAttributes: r.attributes(),
			Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + c.Namespace, "system:authenticated"},
		}}, metav1.CreateOptions{})
		if err != nil {
			c.unread("rights", err)
			return
		}
		if !review.Status.Allowed {
			in := r.String()
			if r.namespace != "" {
				in += " in " + r.namespace
			}
			lacks = append(lacks, in)
		}
	}
	if len(lacks) > 0 {
		c.fail("rights", "khook's ServiceAccount %s may not %s: helm upgrade with rbac.create=true, or bind it a role with what config/rbac/role.yaml has", account, some(lacks))
		return
	}
	c.ok("rights", "khook's ServiceAccount %s may do all that khook does in the namespaces that it watches", account)
}
