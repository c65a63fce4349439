package server

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"golang.org/x/net/http/httpguts"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	utilcache "k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/token/cache"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kagent-dev/khook/api/v1alpha2"
)

// maxAnswers bounds how many answers about rights are remembered.
const maxAnswers = 4096

// reviewTimeout is how long the API server may take for one review.
const reviewTimeout = 5 * time.Second

// callerAccess asks Kubernetes in the caller's own name.
type callerAccess struct {
	tokenAccess
	client  *kubernetes.Clientset // without credentials of its own
	answers *utilcache.LRUExpireCache
}

// caller is who sent a request, with what proves it.
type caller struct {
	*user.DefaultInfo
	token string
}

// CallerAccess asks a cluster in the caller's own name, with the caller's token: who it is by
// SelfSubjectReview, what it may do by SelfSubjectAccessReview. Every account may ask these about
// itself, so khook needs no right for it, as it does for KubernetesAccess. What is answered is
// remembered for some seconds.
func CallerAccess(cfg *rest.Config) (Access, error) {
	client, err := kubernetes.NewForConfig(rest.AnonymousClientConfig(cfg))
	if err != nil {
		return nil, fmt.Errorf("set up the authentication: %w", err)
	}
	a := &callerAccess{client: client, answers: utilcache.NewLRUExpireCache(maxAnswers)}
	a.tokens = bearertoken.New(cache.New(authenticator.TokenFunc(a.whoIs), false, tokenTTL, 0))
	return a, nil
}

// whoIs asks whose token it is.
func (a *callerAccess) whoIs(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	if !httpguts.ValidHeaderFieldValue(token) {
		return nil, false, ErrUnknownCaller
	}
	var review authenticationv1.SelfSubjectReview
	err := a.review(ctx, a.client.AuthenticationV1().RESTClient(), "selfsubjectreviews", token, &review)
	if apierrors.IsUnauthorized(err) {
		return nil, false, ErrUnknownCaller
	}
	if err != nil {
		return nil, false, err
	}
	info := review.Status.UserInfo
	return &authenticator.Response{User: &caller{&user.DefaultInfo{Name: info.Username, UID: info.UID, Groups: info.Groups}, token}}, true, nil
}

// review has the API server fill in a review of the token's owner.
func (a *callerAccess) review(ctx context.Context, group rest.Interface, resource, token string, review runtime.Object) error {
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	return group.Post().Resource(resource).SetHeader("Authorization", "Bearer "+token).Body(review).Do(ctx).Into(review)
}

// May implements Access.
func (a *callerAccess) May(ctx context.Context, c Caller, r Right) (bool, error) {
	token := c.(*caller).token                        //nolint:forcetypeassert // what Authenticate returned
	key := answerKey{sha256.Sum256([]byte(token)), r} // the token itself is not kept
	if known, ok := a.answers.Get(key); ok {
		return known.(bool), nil //nolint:forcetypeassert // as it was put there
	}
	review := authorizationv1.SelfSubjectAccessReview{Spec: reviewSpec(r)}
	err := a.review(ctx, a.client.AuthorizationV1().RESTClient(), "selfsubjectaccessreviews", token, &review)
	if apierrors.IsUnauthorized(err) { // it has ended since it was authenticated
		return false, nil
	}
	if err != nil {
		return false, err
	}
	ttl := denyTTL
	if review.Status.Allowed {
		ttl = allowTTL
	}
	a.answers.Add(key, review.Status.Allowed, ttl)
	return review.Status.Allowed, nil
}

// answerKey is what a remembered answer is about.
type answerKey struct {
	token [sha256.Size]byte
	right Right
}

func reviewSpec(r Right) authorizationv1.SelfSubjectAccessReviewSpec {
	if r.Path != "" {
		return authorizationv1.SelfSubjectAccessReviewSpec{NonResourceAttributes: &authorizationv1.NonResourceAttributes{Verb: r.Verb, Path: r.Path}}
	}
	return authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
		Group: v1alpha2.SchemeGroupVersion.Group, Version: v1alpha2.SchemeGroupVersion.Version, Resource: "hooks", Subresource: r.Subresource,
		Verb: r.Verb, Namespace: r.Namespace, Name: r.Name,
	}}
}
