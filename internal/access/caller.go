package access

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/review"
)

// callerAccess asks Kubernetes in the caller's own name.
type callerAccess struct {
	*tokenAccess
	*rightCache
	client *kubernetes.Clientset // without credentials of its own
}

// NewAsCaller asks a cluster in the caller's own name, with the caller's token: who it is by
// SelfSubjectReview, what it may do by SelfSubjectAccessReview. Every account may ask these about
// itself, so khook needs no right for it, as it does for New. What is answered is
// remembered as there.
func NewAsCaller(cfg *rest.Config, o Config) (Control, error) {
	client, err := kubernetes.NewForConfig(reviewConfig(rest.AnonymousClientConfig(cfg)))
	if err != nil {
		return nil, fmt.Errorf("set up the authentication: %w", err)
	}
	meters := review.NewMeters(o.Registry)
	a := &callerAccess{client: client}
	a.tokenAccess = newTokenAccess(a.whoIs, cfg, meters, o.callers())
	a.rightCache = newRights(a.callers, meters, o.callers())
	return a, nil
}

// whoIs asks whose token it is.
func (a *callerAccess) whoIs(ctx context.Context, token string) (*user.DefaultInfo, bool, error) {
	var self authenticationv1.SelfSubjectReview
	err := a.review(ctx, a.client.AuthenticationV1().RESTClient(), "selfsubjectreviews", token, &self)
	if apierrors.IsUnauthorized(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	return infoOf(self.Status.UserInfo), true, nil
}

// review has the API server fill in a review of the token's owner.
func (a *callerAccess) review(ctx context.Context, group rest.Interface, resource, token string, object runtime.Object) error {
	return post(ctx, group, resource, func(r *rest.Request) { r.SetHeader("Authorization", "Bearer "+token) }, object)
}

// May implements Access.
func (a *callerAccess) May(ctx context.Context, c Caller, r Right) (bool, error) {
	who := c.(*caller) //nolint:forcetypeassert // what Authenticate returned
	return a.may(ctx, who, r, func(ctx context.Context) (bool, error) {
		s := authorizationv1.SelfSubjectAccessReview{Spec: reviewSpec(r)}
		err := a.review(ctx, a.client.AuthorizationV1().RESTClient(), "selfsubjectaccessreviews", who.token, &s)
		if apierrors.IsUnauthorized(err) { // it has ended since it was authenticated
			return false, nil
		}
		return s.Status.Allowed, err
	})
}

func reviewSpec(r Right) authorizationv1.SelfSubjectAccessReviewSpec {
	if r.Path != "" {
		return authorizationv1.SelfSubjectAccessReviewSpec{NonResourceAttributes: &authorizationv1.NonResourceAttributes{Verb: r.Verb, Path: r.Path}}
	}
	if r.Clusters {
		return authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
			Group: ClusterGroup, Version: "v1", Resource: "clusters", Subresource: r.Subresource, Verb: r.Verb, Name: r.Name,
		}}
	}
	return authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
		Group: v1alpha2.SchemeGroupVersion.Group, Version: v1alpha2.SchemeGroupVersion.Version, Resource: "hooks", Subresource: r.Subresource,
		Verb: r.Verb, Namespace: r.Namespace, Name: r.Name,
	}}
}
