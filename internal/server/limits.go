package server

import (
	"math"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/time/rate"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/limit"
	"github.com/kagent-dev/khook/internal/review"
)

// limiters hold back clients that ask too often: by their name, and those who have none by their address.
type limiters struct{ byAddress, byName *limit.Clients }

// An address can stand for many people, such as those behind one gateway.
const perAddress = 4

func newLimiters(l Limits) *limiters {
	return &limiters{
		byAddress: limit.NewClients(rate.Limit(perAddress*l.Rate), perAddress*l.Burst, l.Callers),
		byName:    limit.NewClients(rate.Limit(l.Rate), l.Burst, l.Callers),
	}
}

// recaller is an Access that remembers callers.
type recaller interface {
	// Recall says what is known of the request's token without asking anybody: that it is valid, or that
	// it is not; neither if it was not seen lately.
	Recall(r *http.Request) (valid, refused bool)
}

// limitAddress holds back addresses that ask too often, as far as they are all that is known of the
// client. A token that was seen valid passes: else whoever shares an address with an attacker, such as
// that of a gateway, would be locked out. One that was not seen yet passes too, and waits in the queue
// of strangers, which is what bounds it.
func (s *Server) limitAddress(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		address := requestOf(r.Context()).limitBy
		if address != "" && s.isOnlyAnAddress(r) {
			if wait, ok := s.limits.byAddress.Allow(address); !ok {
				s.metrics.limited.WithLabelValues("address").Inc()
				tooMany(w, wait)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// takeToken puts a token that came in khook's own header where the others are. The API server's proxy takes the header Authorization away, which
// is for itself. Nothing behind this sees two of them.
func takeToken(r *http.Request) {
	if token := r.Header.Get(api.TokenHeader); token != "" && r.Header.Get("Authorization") == "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	r.Header.Del(api.TokenHeader)
}

// isOnlyAnAddress says whether nothing but its address tells who sent a request.
func (s *Server) isOnlyAnAddress(r *http.Request) bool {
	header := r.Header.Get("Authorization")
	if s.cfg.Access == nil || header == "" {
		return true
	}
	if memory, ok := s.cfg.Access.(recaller); ok {
		_, refused := memory.Recall(r)
		return refused
	}
	_, ok := review.Bearer(header)
	return !ok
}

// limitCaller holds back callers that ask too often, and tells all what they have left.
func (s *Server) limitCaller(w http.ResponseWriter, r *http.Request) (ok bool) {
	left, wait, ok := s.limits.byName.Take(clientOf(r.Context()))
	tellBudget(w, left)
	if !ok {
		s.metrics.limited.WithLabelValues("client").Inc()
		tooMany(w, wait)
	}
	return ok
}

// tellBudget sets the header fields of the draft "RateLimit header fields for HTTP" in the form that clients
// have most: draft-ietf-httpapi-ratelimit-headers-06.
func tellBudget(w http.ResponseWriter, b limit.Budget) {
	h := w.Header()
	h.Set("RateLimit-Limit", strconv.Itoa(b.Limit))
	h.Set("RateLimit-Remaining", strconv.Itoa(b.Remaining))
	h.Set("RateLimit-Reset", strconv.Itoa(int(math.Ceil(b.Reset.Seconds()))))
}

func tooMany(w http.ResponseWriter, wait time.Duration) {
	w.Header().Set("Retry-After", wholeSeconds(wait))
	writeProblem(w, http.StatusTooManyRequests, "too many requests: wait as long as Retry-After says, or ask for more with each request (limit is at most 1000)")
}

func wholeSeconds(wait time.Duration) string {
	return strconv.Itoa(max(1, int(math.Ceil(wait.Seconds()))))
}
