package app

import (
	"context"
	"fmt"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/dispatch"
	"github.com/kagent-dev/khook/internal/status"
	"github.com/kagent-dev/khook/internal/store"
)

// actions does what people want done with deliveries: where this replica leads, or else by the one that does.
type actions struct {
	app    *App
	reader *store.Reader
}

// Reply implements server.Actions.
func (a actions) Reply(ctx context.Context, id, by string, r delivery.Reply) (*delivery.Delivery, error) {
	w := a.app.leader.Load()
	if w == nil {
		return a.app.intake.askFor(ctx, wishReply, by, &wish{Delivery: id, Reply: &r}, id)
	}
	return w.dispatcher.Reply(ctx, id, by, r)
}

// Cancel implements server.Actions.
func (a actions) Cancel(ctx context.Context, id, by string) (*delivery.Delivery, error) {
	w := a.app.leader.Load()
	if w == nil {
		return a.app.intake.askFor(ctx, wishCancel, by, &wish{Delivery: id}, id)
	}
	return w.dispatcher.Cancel(ctx, id, by)
}

// Retry implements server.Actions.
func (a actions) Retry(ctx context.Context, id, by string) (*delivery.Delivery, error) {
	w := a.app.leader.Load()
	if w == nil {
		return a.app.intake.askFor(ctx, wishRetry, by, &wish{Delivery: id}, dispatch.RepetitionID(id))
	}
	d, err := w.dispatcher.Retry(ctx, id, by)
	if err == nil {
		a.app.publisher.events.Record(d.Hook, d.HookUID, status.ReasonEventFiring,
			fmt.Sprintf("%s in %s: calling agent %s again, because %s wants it (delivery %s)", d.EventType, d.Group, d.Agent, by, d.ID))
	}
	return d, err
}

// Resume implements server.Actions.
func (a actions) Resume(ctx context.Context, id, by string) (*delivery.Delivery, error) {
	w := a.app.leader.Load()
	if w == nil {
		return a.app.intake.askFor(ctx, wishGoOn, by, &wish{Delivery: id}, id)
	}
	d, err := a.reader.Delivery(ctx, id)
	if err != nil {
		return nil, err
	}
	if p, paused := a.app.paused(d.Hook); paused {
		return nil, &delivery.RefusedError{Reason: p.Why() + ": resume them first (khook resume)"}
	}
	entry := delivery.Entry{Kind: delivery.EntryPerson, By: by, Text: "let calls about " + d.Group + " through again"}
	if err := w.ledger.Resume(ctx, d.ID, by, entry); err != nil {
		return nil, err
	}
	a.app.status.Touch(d.Hook)
	return d, nil
}
