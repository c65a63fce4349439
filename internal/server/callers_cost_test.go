package server

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/time/rate"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/rest"

	"github.com/kagent-dev/khook/internal/capacity"
	"github.com/kagent-dev/khook/internal/limit"
	"github.com/kagent-dev/khook/internal/review"
)

// TestWhatRememberingACallerCosts fills all that is remembered of callers, with one address, one valid token,
// one bad token, a right that was granted and one that was not, of each.
func TestWhatRememberingACallerCosts(t *testing.T) {
	const callers = 500
	queue := limit.NewQueue(limit.QueueConfig{Rate: rate.Inf, Burst: 1, Running: 4, Waiting: 8, Order: []int{0}})
	limits := newLimiters(Limits{Rate: 1, Burst: 1, Callers: callers})
	access := newTokenAccess(nil, &rest.Config{}, nil, callers)
	rights := newRights(queue, nil, callers)
	var kept []any
	cost := each(callers, func(i int) {
		name := fmt.Sprintf("system:serviceaccount:%s:%d", strings.Repeat("n", 63), i)
		limits.byAddress.Allow("2001:db8::" + fmt.Sprint(i))
		limits.byName.Allow("user " + name)
		access.badTokens.Allow("2001:db8::" + fmt.Sprint(i))
		rights.limits.Allow(name)
		who := &user.DefaultInfo{Name: name, UID: strings.Repeat("u", 36), Groups: []string{"system:serviceaccounts", strings.Repeat("g", 80), "system:authenticated"}}
		for kind, yes := range map[string]bool{"good": true, "bad": false} {
			hash := tokenHash(sha256.Sum256([]byte(name + kind)))
			_, _, _ = access.answers.Get(t.Context(), hash, review.Question[*user.DefaultInfo]{
				Where: func(**user.DefaultInfo) (*limit.Queue, limit.Place) { return queue, limit.Place{Path: []string{"x"}} },
				Ask:   func(context.Context) (*user.DefaultInfo, bool, error) { return who, yes, nil },
			})
			_, _, _ = rights.answers.Get(t.Context(), rightOf{hash, ReadHooks(strings.Repeat("n", 63))}, review.Question[struct{}]{
				Where: func(*struct{}) (*limit.Queue, limit.Place) { return queue, limit.Place{Path: []string{"x"}} },
				Ask:   func(context.Context) (struct{}, bool, error) { return struct{}{}, yes, nil },
			})
		}
	})
	kept = append(kept, limits, access, rights)
	checkCost(t, "a caller that is remembered", cost, capacity.Caller)
	if len(kept) == 0 {
		t.Error("nothing is kept") // and the collector may not take it before
	}
}

func TestCallersAreToldWhatTheyHaveLeft(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Limits.Rate, c.Limits.Burst = 0.001, 3 })
	for _, want := range []string{"2", "1", "0", "0"} {
		h := ask(f.Server, "GET", Base+"/events", "").Header()
		if h.Get("RateLimit-Limit") != "3" || h.Get("RateLimit-Remaining") != want || h.Get("RateLimit-Reset") == "" || h.Get("RateLimit-Reset") == "0" {
			t.Errorf("%v, want %s left of 3", h, want)
		}
	}
}
