package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/client-go/kubernetes"

	"github.com/kagent-dev/khook/api/v1alpha2"
)

// For how long Kubernetes' answers are taken to be still true: a right or a token that is taken away
// ends within it.
const (
	tokenTTL = 10 * time.Second
	allowTTL = 10 * time.Second
	denyTTL  = 5 * time.Second
)

// tokenAccess knows callers by their bearer tokens.
type tokenAccess struct{ tokens authenticator.Request }

// kubeAccess asks Kubernetes.
type kubeAccess struct {
	tokenAccess
	rights authorizer.Authorizer
}

// KubernetesAccess asks a cluster: tokens by TokenReview, rights by SubjectAccessReview. What it
// answers is cached for some seconds.
func KubernetesAccess(client kubernetes.Interface) (Access, error) {
	// Few attempts: a client waits for them.
	retry := &wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 3}
	tokens, _, err := authenticatorfactory.DelegatingAuthenticatorConfig{
		Anonymous:                &apiserver.AnonymousAuthConfig{Enabled: false},
		CacheTTL:                 tokenTTL,
		TokenAccessReviewClient:  client.AuthenticationV1(),
		TokenAccessReviewTimeout: 5 * time.Second,
		WebhookRetryBackoff:      retry,
	}.New()
	if err != nil {
		return nil, fmt.Errorf("set up the authentication: %w", err)
	}
	rights, err := authorizerfactory.DelegatingAuthorizerConfig{
		SubjectAccessReviewClient: client.AuthorizationV1(),
		AllowCacheTTL:             allowTTL,
		DenyCacheTTL:              denyTTL,
		WebhookRetryBackoff:       retry,
	}.New()
	if err != nil {
		return nil, fmt.Errorf("set up the authorization: %w", err)
	}
	return &kubeAccess{tokenAccess{tokens}, rights}, nil
}

// Authenticate implements Access.
func (a tokenAccess) Authenticate(r *http.Request) (Caller, error) {
	if r.Header.Get("Authorization") == "" {
		return nil, ErrUnknownCaller
	}
	// The authenticator takes the token out of the request it is given.
	found, ok, err := a.tokens.AuthenticateRequest(r.Clone(r.Context()))
	switch {
	case ok && found != nil:
		return found.User, nil
	case err != nil && notAsked(err):
		return nil, err
	}
	return nil, ErrUnknownCaller
}

// notAsked says whether the error is about asking, rather than about the token.
func notAsked(err error) bool {
	if all, ok := err.(utilerrors.Aggregate); ok { //nolint:errorlint // which errors.As does not look into
		return slices.ContainsFunc(all.Errors(), notAsked)
	}
	var transport *url.Error
	var refused apierrors.APIStatus
	return errors.As(err, &transport) || errors.As(err, &refused) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// May implements Access.
func (a *kubeAccess) May(ctx context.Context, c Caller, r Right) (bool, error) {
	decision, _, err := a.rights.Authorize(ctx, attributes(c.(user.Info), r)) //nolint:forcetypeassert // what Authenticate returned
	if decision == authorizer.DecisionAllow {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return false, nil
}

func attributes(who user.Info, r Right) authorizer.AttributesRecord {
	if r.Path != "" {
		return authorizer.AttributesRecord{User: who, Verb: r.Verb, Path: r.Path}
	}
	return authorizer.AttributesRecord{
		User: who, Verb: r.Verb, Namespace: r.Namespace, Name: r.Name, ResourceRequest: true,
		APIGroup: v1alpha2.SchemeGroupVersion.Group, APIVersion: v1alpha2.SchemeGroupVersion.Version, Resource: "hooks", Subresource: r.Subresource,
	}
}
