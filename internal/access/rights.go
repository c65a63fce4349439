package access

import (
	"context"
	"fmt"

	"github.com/kagent-dev/khook/internal/limit"
	"github.com/kagent-dev/khook/internal/review"
)

// How many rights of one caller are looked up in Kubernetes: so many at once, and then so many a second.
// What is remembered costs none.
const (
	rightsAtOnce  = 100
	rightsASecond = 10
)

// rightOf is a right of the owner of a token.
type rightOf struct {
	token tokenHash
	right Right
}

// rightCache are those that callers have.
type rightCache struct {
	answers *review.Answers[rightOf, struct{}]
	limits  *limit.Clients // by the caller's name
	queue   *limit.Queue
}

func newRights(queue *limit.Queue, meters *review.Meters, callers int) *rightCache {
	return &rightCache{
		answers: review.New[rightOf, struct{}](review.Config{Kind: "right", Yes: allowTTL, No: denyTTL, Size: callers, Meters: meters}),
		limits:  limit.NewClients(rightsASecond, rightsAtOnce, callers),
		queue:   queue,
	}
}

// may says whether a caller has a right, by asking if need be.
func (r *rightCache) may(ctx context.Context, c *caller, right Right, ask func(context.Context) (bool, error)) (bool, error) {
	_, yes, err := r.answers.Get(ctx, rightOf{c.hash, right}, review.Question[struct{}]{
		Before: func() error {
			if wait, ok := r.limits.Allow(c.Name); !ok {
				return fmt.Errorf("%w: %s asks about too many namespaces, wait %s", review.ErrBusy, c.Name, wait)
			}
			return nil
		},
		Where: func(*struct{}) (*limit.Queue, limit.Place) { return r.queue, limit.Place{Path: []string{c.Name}} },
		Ask: func(ctx context.Context) (struct{}, bool, error) {
			allowed, err := ask(ctx)
			return struct{}{}, allowed, err
		},
	})
	return yes, err
}
