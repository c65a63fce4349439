package access

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/rest"
	"k8s.io/utils/lru"

	"github.com/kagent-dev/khook/internal/limit"
	"github.com/kagent-dev/khook/internal/review"
)

// Config says how a cluster is asked about callers.
type Config struct {
	// Audiences are those for one of which a token must have been made. Empty: the API server's own, and
	// Audience. NewAsCaller takes the API server's own only.
	Audiences []string
	Registry  prometheus.Registerer // of the metrics; nil for none
	Callers   int                   // how many are remembered, with their tokens and rights; 4,096 if 0
}

func (c Config) callers() int { return cmp.Or(c.Callers, 4096) }

// Audience is khook's own: a token that was made for it can do nothing elsewhere.
const Audience = "khook"

// For how long Kubernetes' answers are taken to be still true: a right or a token that is taken away
// ends within it, while Kubernetes can be asked.
const (
	tokenTTL = 10 * time.Second
	allowTTL = 10 * time.Second
	denyTTL  = 5 * time.Second
)

// What Kubernetes may be asked. Strangers have a queue of their own, so that they can take nothing from
// callers who are known.
var (
	ofCallers   = limit.QueueConfig{Rate: 100, Burst: 200, Running: 32, Waiting: 1024, Order: []int{0}}
	ofStrangers = limit.QueueConfig{Rate: 20, Burst: 50, Running: 16, Waiting: 512, Order: []int{
		familiar, plausible, familiar, unlikely, familiar, plausible, familiar, suspect,
	}}
)

// The classes of tokens that nobody was asked about yet. They say who waits before whom, since what a
// token looks like proves nothing; each class gets its turns, so that none is refused for its looks.
const (
	familiar  = iota // it says that it was made by an issuer and with a key of which a valid token was seen
	plausible        // it is a JSON Web Token that has not expired, or it was turned away and came back
	unlikely         // it is anything else, or a plausible one of an address that sent many bad ones
	suspect          // it is anything else, of such an address
)

// Bounds of what is remembered about tokens and rights.
const (
	maxIssuers    = 64
	maxTurnedAway = 4096
)

// How many bad tokens one address may send before it waits behind others: so many at once, and then so
// many a second.
const (
	badTokens     = 20
	badTokensRate = 0.5
)

// tokenHash stands for a token, which is not kept.
type tokenHash [sha256.Size]byte

// caller is who sent a request, with what proves it.
type caller struct {
	*user.DefaultInfo
	token string
	hash  tokenHash
}

// whoIs asks Kubernetes whose token it is; yes is false if it is nobody's.
type whoIs func(ctx context.Context, token string) (who *user.DefaultInfo, yes bool, err error)

// tokenAccess knows callers by their bearer tokens.
type tokenAccess struct {
	whoIs      whoIs
	answers    *review.Answers[tokenHash, *user.DefaultInfo]
	callers    *limit.Queue
	strangers  *limit.Queue
	badTokens  *limit.Clients // by address
	issuers    *lru.Cache     // of valid tokens
	turnedAway *lru.Cache     // tokenHash
}

func newTokenAccess(who whoIs, cfg *rest.Config, meters *review.Meters, callers int) *tokenAccess {
	a := &tokenAccess{
		whoIs:     who,
		answers:   review.New[tokenHash, *user.DefaultInfo](review.Config{Kind: "token", Yes: tokenTTL, No: tokenTTL, Size: callers, Meters: meters}),
		callers:   limit.NewQueue(ofCallers),
		strangers: limit.NewQueue(ofStrangers),
		badTokens: limit.NewClients(badTokensRate, badTokens, callers),
		issuers:   lru.New(maxIssuers), turnedAway: lru.New(maxTurnedAway),
	}
	meters.Watch("callers", a.callers)
	meters.Watch("strangers", a.strangers)
	if own, ok := review.ReadClaims(cfg.BearerToken); ok { // khook's own is valid, if it has one
		a.issuers.Add(own.Issuer, nil)
	}
	return a
}

// Authenticate implements Control.
func (a *tokenAccess) Authenticate(r *http.Request, address string) (Caller, error) {
	token, ok := review.Bearer(r.Header.Get("Authorization"))
	if !ok {
		return nil, ErrUnknownCaller
	}
	hash := tokenHash(sha256.Sum256([]byte(token)))
	who, yes, err := a.answers.Get(r.Context(), hash, a.question(address, token, hash))
	switch {
	case errors.Is(err, review.ErrBusy):
		a.turnedAway.Add(hash, nil)
		return nil, err
	case err != nil:
		return nil, err
	case !yes:
		return nil, ErrUnknownCaller
	}
	return &caller{who, token, hash}, nil
}

// Recall says what is known of the request's token without asking anybody: that it is valid, or that it is
// not; neither if it was not seen lately.
func (a *tokenAccess) Recall(r *http.Request) (valid, refused bool) {
	token, ok := review.Bearer(r.Header.Get("Authorization"))
	if !ok {
		return false, true
	}
	return a.answers.Recall(sha256.Sum256([]byte(token)))
}

// question is how it is asked whose token it is, for a request of an address.
func (a *tokenAccess) question(address, token string, hash tokenHash) review.Question[*user.DefaultInfo] {
	return review.Question[*user.DefaultInfo]{
		Where: func(known **user.DefaultInfo) (*limit.Queue, limit.Place) {
			if known != nil {
				return a.callers, limit.Place{Path: []string{(*known).Name}}
			}
			return a.strangers, a.placeOf(address, token, hash)
		},
		Ask: func(ctx context.Context) (*user.DefaultInfo, bool, error) {
			who, yes, err := a.whoIs(ctx, token)
			if err == nil {
				a.learn(address, token, yes)
			}
			return who, yes, err
		},
	}
}

// placeOf is where a stranger waits. It is fair among addresses, and at each address among the subjects
// that the tokens name: who floods khook with forged ones stands behind itself.
func (a *tokenAccess) placeOf(address, token string, hash tokenHash) limit.Place {
	class := unlikely
	claims, ok := review.ReadClaims(token)
	if ok && claims.Current(time.Now()) {
		class = plausible
		if _, known := a.issuers.Get(claims.Issuer); known {
			return limit.Place{Class: familiar, Path: []string{address, claims.Subject}}
		}
	}
	if _, cameBack := a.turnedAway.Get(hash); cameBack {
		class = plausible
	}
	if address != "" && a.badTokens.Spent(address) {
		class++
	}
	return limit.Place{Class: class, Path: []string{address, claims.Subject}}
}

// learn remembers what an answer tells about the issuer of a token, and about the address that sent it.
func (a *tokenAccess) learn(address, token string, valid bool) {
	if !valid {
		a.badTokens.Allow(address)
		return
	}
	if claims, ok := review.ReadClaims(token); ok {
		a.issuers.Add(claims.Issuer, nil)
	}
}
