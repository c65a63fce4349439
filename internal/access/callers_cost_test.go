package access

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
	"github.com/kagent-dev/khook/internal/capacity/capacitytest"
	"github.com/kagent-dev/khook/internal/limit"
	"github.com/kagent-dev/khook/internal/review"
)

// TestWhatRememberingACallerCosts fills all that is remembered of callers, with one address, one valid token,
// one bad token, a right that was granted and one that was not, of each.
func TestWhatRememberingACallerCosts(t *testing.T) {
	const callers = 500
	queue := limit.NewQueue(limit.QueueConfig{Rate: rate.Inf, Burst: 1, Running: 4, Waiting: 8, Order: []int{0}})
	byAddress, byName := limit.NewClients(50, 1, callers), limit.NewClients(1, 1, callers) // as the server limits
	tokens := newTokenAccess(nil, &rest.Config{}, nil, callers)
	rights := newRights(queue, nil, callers)
	var kept []any
	cost := capacitytest.Each(callers, func(i int) {
		name := fmt.Sprintf("system:serviceaccount:%s:%d", strings.Repeat("n", 63), i)
		byAddress.Allow("2001:db8::" + fmt.Sprint(i))
		byName.Allow("user " + name)
		tokens.badTokens.Allow("2001:db8::" + fmt.Sprint(i))
		rights.limits.Allow(name)
		who := &user.DefaultInfo{Name: name, UID: strings.Repeat("u", 36), Groups: []string{"system:serviceaccounts", strings.Repeat("g", 80), "system:authenticated"}}
		for kind, yes := range map[string]bool{"good": true, "bad": false} {
			hash := tokenHash(sha256.Sum256([]byte(name + kind)))
			_, _, _ = tokens.answers.Get(t.Context(), hash, review.Question[*user.DefaultInfo]{
				Where: func(**user.DefaultInfo) (*limit.Queue, limit.Place) { return queue, limit.Place{Path: []string{"x"}} },
				Ask:   func(context.Context) (*user.DefaultInfo, bool, error) { return who, yes, nil },
			})
			_, _, _ = rights.answers.Get(t.Context(), rightOf{hash, ReadHooks(strings.Repeat("n", 63))}, review.Question[struct{}]{
				Where: func(*struct{}) (*limit.Queue, limit.Place) { return queue, limit.Place{Path: []string{"x"}} },
				Ask:   func(context.Context) (struct{}, bool, error) { return struct{}{}, yes, nil },
			})
		}
	})
	kept = append(kept, byAddress, byName, tokens, rights)
	capacitytest.Check(t, "a caller that is remembered", cost, capacity.Caller)
	if len(kept) == 0 {
		t.Error("nothing is kept") // and the collector may not take it before
	}
}
