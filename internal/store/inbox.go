package store

import (
	"context"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
)

// HeldGroup is a group whose calls only a person lets through again.
type HeldGroup struct {
	delivery.GroupState
	Since          time.Time // when its newest call was made due
	NewestDelivery string    // the ID of that one
}

// HeldForPerson returns the groups that only a person lets through again, of a namespace or of all if it is empty, whose hold had not ended
// at after; the one whose newest call is the oldest first.
func (r reads) HeldForPerson(ctx context.Context, namespace string, after time.Time, limit int) ([]*HeldGroup, error) {
	where, args := "", []any{micros(after)}
	if namespace != "" {
		where, args = "AND hook_ns = ? ", append(args, namespace)
	}
	groups, err := readAll(ctx, r.handle, "groups that wait for a person", scanGroup, "SELECT "+groupColumns+" FROM delivery_groups WHERE hold <> '' AND cluster = :cluster AND hold_ends > ? "+
		"AND needs_person = 1 "+where+"ORDER BY hold_ends LIMIT ?", append(args, limit)...)
	if err != nil {
		return nil, err
	}
	held := make([]*HeldGroup, 0, len(groups))
	for _, g := range groups {
		one := &HeldGroup{GroupState: *g}
		newest, err := readAll(ctx, r.handle, "the newest call of group "+g.Group, func(row scanner) (d HeldGroup, err error) {
			var at int64
			err = row.Scan(&d.NewestDelivery, &at)
			d.Since = fromMicros(at)
			return d, err
		}, "SELECT id, created_at FROM deliveries WHERE skipped = '' AND cluster = :cluster AND hook_ns = ? AND hook = ? AND config = ? AND grp = ? ORDER BY created_at DESC LIMIT 1",
			g.Hook.Namespace, g.Hook.Name, g.Config, g.Group)
		if err != nil {
			return nil, err
		}
		if len(newest) > 0 {
			one.Since, one.NewestDelivery = newest[0].Since, newest[0].NewestDelivery
		}
		held = append(held, one)
	}
	return held, nil
}
