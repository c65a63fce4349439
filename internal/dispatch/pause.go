package dispatch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
)

// paused says why the call of a delivery must not leave for now; "" if it may. Once that is over, Resumed wakes it.
func (d *Dispatcher) paused(dl *delivery.Delivery) string {
	if d.cfg.Paused == nil {
		return ""
	}
	p, ok := d.cfg.Paused(dl.Hook)
	if !ok {
		return ""
	}
	d.held.Store(dl.ID, struct{}{})
	return p.Why()
}

// holds lets a call wait while calls are paused, without a slot: whoever is called by the time it ends must not stand behind it.
func (d *Dispatcher) holds(ctx context.Context, dl *delivery.Delivery, why string) (time.Duration, error) {
	next, err := d.decided(ctx, dl, delivery.Observation{Of: delivery.Ready, Held: why})
	if err == nil {
		d.rest(dl)
	}
	return next, err
}

// Resumed looks at the calls again that waited because they were paused.
func (d *Dispatcher) Resumed() {
	d.held.Range(func(id, _ any) bool {
		d.held.Delete(id)
		d.queue.Add(id.(string))
		return true
	})
}

// CancelWithin asks the agents to stop that work for Hooks of a scope, or may, because by wants it so, and returns how many deliveries are to end
// by it. It may be repeated: what is canceled already is left alone. Those that wait to be called stay.
func (d *Dispatcher) CancelWithin(ctx context.Context, scope delivery.PauseScope, by string) (canceled int, err error) {
	all, err := d.store.UnfinishedDeliveries(ctx, d.cfg.Clock.Now(), maxUnfinished)
	if err != nil {
		return 0, fmt.Errorf("read the unfinished deliveries: %w", err)
	}
	for _, dl := range all {
		if dl.State.Ended() || !dl.MayHaveArrived() || !scope.Covers(dl.Hook) || dl.CancelRequestedBy != "" {
			continue
		}
		var refused *delivery.RefusedError
		switch _, err := d.Cancel(ctx, dl.ID, by); {
		case err == nil:
			canceled++
		case errors.As(err, &refused): // it has ended by now, or somebody else wanted it
		default:
			return canceled, fmt.Errorf("cancel delivery %s: %w", dl.ID, err)
		}
	}
	return canceled, nil
}
