package access

import (
	"context"
	"fmt"
	"slices"
	"unicode/utf8"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kagent-dev/khook/internal/review"
)

// kubeAccess asks Kubernetes about callers in khook's name.
type kubeAccess struct {
	*tokenAccess
	*rightCache
	client    *kubernetes.Clientset
	audiences []string // empty: the API server's own, and Audience
}

// New asks a cluster: tokens by TokenReview, rights by SubjectAccessReview, over a client
// of its own. What it answers is remembered for some seconds, and longer while it can't be asked.
func New(cfg *rest.Config, o Config) (Control, error) {
	client, err := kubernetes.NewForConfig(reviewConfig(cfg))
	if err != nil {
		return nil, fmt.Errorf("set up the authentication: %w", err)
	}
	meters := review.NewMeters(o.Registry)
	a := &kubeAccess{client: client, audiences: o.Audiences}
	a.tokenAccess = newTokenAccess(a.whoIs, cfg, meters, o.callers())
	a.rightCache = newRights(a.callers, meters, o.callers())
	return a, nil
}

// reviewConfig is for a client of reviews. It has no rate limit: the queues are that, and know for whom
// they ask.
func reviewConfig(cfg *rest.Config) *rest.Config {
	c := rest.CopyConfig(cfg)
	c.QPS, c.Burst, c.RateLimiter = -1, 0, nil
	return c
}

// post has the API server fill in a review, in one attempt.
func post(ctx context.Context, group rest.Interface, resource string, change func(*rest.Request), object runtime.Object) error {
	request := group.Post().Resource(resource).Body(object).MaxRetries(0)
	change(request)
	return request.Do(ctx).Into(object)
}

func asItIs(*rest.Request) {}

// whoIs asks whose token it is. Without audiences of its own it asks twice if it must: an API server
// that is asked for none takes its own, and does not say beforehand which those are.
func (a *kubeAccess) whoIs(ctx context.Context, token string) (*user.DefaultInfo, bool, error) {
	if !utf8.ValidString(token) {
		return nil, false, nil // a TokenReview can't hold it
	}
	if len(a.audiences) > 0 {
		return a.reviewToken(ctx, token, a.audiences)
	}
	first, second := []string(nil), []string{Audience}
	if claims, ok := review.ReadClaims(token); ok && slices.Contains(claims.Audiences, Audience) {
		first, second = second, first
	}
	who, yes, err := a.reviewToken(ctx, token, first)
	if err != nil || yes {
		return who, yes, err
	}
	return a.reviewToken(ctx, token, second)
}

// reviewToken asks for one of some audiences, or for the API server's own if there are none.
func (a *kubeAccess) reviewToken(ctx context.Context, token string, audiences []string) (*user.DefaultInfo, bool, error) {
	t := authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: audiences}}
	if err := post(ctx, a.client.AuthenticationV1().RESTClient(), "tokenreviews", asItIs, &t); err != nil {
		return nil, false, err
	}
	// An API server or authenticator that knows no audiences says yes without naming one: then the token
	// is for the API server, which is not what was asked (TokenReviewStatus.audiences).
	named := func(audience string) bool { return slices.Contains(audiences, audience) }
	if !t.Status.Authenticated || len(audiences) > 0 && !slices.ContainsFunc(t.Status.Audiences, named) {
		return nil, false, nil
	}
	return infoOf(t.Status.User), true, nil
}

func infoOf(u authenticationv1.UserInfo) *user.DefaultInfo {
	info := &user.DefaultInfo{Name: u.Username, UID: u.UID, Groups: u.Groups}
	if len(u.Extra) > 0 {
		info.Extra = make(map[string][]string, len(u.Extra))
		for name, values := range u.Extra {
			info.Extra[name] = values
		}
	}
	return info
}

// May implements Access.
func (a *kubeAccess) May(ctx context.Context, c Caller, r Right) (bool, error) {
	who := c.(*caller) //nolint:forcetypeassert // what Authenticate returned
	return a.may(ctx, who, r, func(ctx context.Context) (bool, error) {
		s := authorizationv1.SubjectAccessReview{Spec: subjectSpec(who.DefaultInfo, r)}
		if err := post(ctx, a.client.AuthorizationV1().RESTClient(), "subjectaccessreviews", asItIs, &s); err != nil {
			return false, err
		}
		return s.Status.Allowed, nil
	})
}

func subjectSpec(who *user.DefaultInfo, r Right) authorizationv1.SubjectAccessReviewSpec {
	own := reviewSpec(r)
	spec := authorizationv1.SubjectAccessReviewSpec{
		ResourceAttributes: own.ResourceAttributes, NonResourceAttributes: own.NonResourceAttributes, User: who.Name, UID: who.UID, Groups: who.Groups,
	}
	if len(who.Extra) > 0 {
		spec.Extra = make(map[string]authorizationv1.ExtraValue, len(who.Extra))
		for name, values := range who.Extra {
			spec.Extra[name] = values
		}
	}
	return spec
}
