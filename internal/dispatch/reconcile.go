package dispatch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// step reconciles one delivery and schedules its next step; after a conflict or an error with jitter.
func (d *Dispatcher) step(ctx context.Context, id string) {
	if ctx.Err() != nil {
		return
	}
	next, err := d.Reconcile(ctx, id)
	failures := d.memos.failed(id, err)
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, store.ErrConflict): // changed meanwhile, by a person or another leader: look again
		d.queue.AddAfter(id, wait.Jitter(time.Millisecond, 1))
	case errors.Is(err, store.ErrNotFound):
		d.memos.forget(id)
		d.lanes.forget(id)
		d.following.Delete(id)
		d.woken.Delete(id)
		d.queueAll(d.slots.forget(id))
	case err != nil:
		pause := d.retryPause(failures)
		d.cfg.Log.Error(err, "delivery step failed, will repeat it", "delivery", id, "in", pause)
		d.queue.AddAfter(id, pause)
	case next > 0:
		d.queue.AddAfter(id, next)
	}
}

// Reconcile takes the next step of a delivery, and says in how long the one after it is due; 0
// if there is none, or if something else will wake it. It reads the row anew each time and remembers nothing that
// it needs (memo is a hint), so it can be repeated at any point, by this process or by its successor.
//
// What the step is, delivery.Decide says. Steps of one delivery never overlap: the queue hands
// out an ID to one worker at a time.
func (d *Dispatcher) Reconcile(ctx context.Context, id string) (next time.Duration, err error) {
	dl, err := d.store.Delivery(ctx, id)
	if err != nil {
		return 0, fmt.Errorf("delivery %s: %w", id, err)
	}
	now := d.cfg.Clock.Now()
	switch _, step := delivery.Decide(*dl, delivery.Observation{Of: delivery.Due, Limits: d.limits()}, now); step.Do {
	case delivery.DoExpire:
		return d.expire(ctx, dl)
	case delivery.DoCancel:
		return d.cancelCall(ctx, dl)
	case delivery.DoWait:
		if d.slots.calledUp(id) { // its agent is back
			return d.call(ctx, dl)
		}
		d.rest(dl)
		return step.At.Sub(now), nil
	case delivery.DoPrepare:
		return d.call(ctx, dl)
	case delivery.DoFollow:
		return d.follow(ctx, dl)
	default:
		return d.verify(ctx, dl)
	}
}

// save commits the delivery with what its log gets, and reports the change. Slots and notes follow the
// commit: before it they would describe a state that the history may refuse.
func (d *Dispatcher) save(ctx context.Context, dl *delivery.Delivery, c Change, log ...delivery.Entry) error {
	return d.saveIf(ctx, dl, c, nil, log...)
}

// saveIf is save unless precondition, which is asked in the same transaction and may be nil, returns an error.
func (d *Dispatcher) saveIf(ctx context.Context, dl *delivery.Delivery, c Change, precondition func(*store.Tx) error, log ...delivery.Entry) error {
	dl.Failure, dl.Error = incident.Clean(dl.Failure, delivery.MaxError), incident.Clean(dl.Error, delivery.MaxError)
	tryAgain := false
	if dl.State.Ended() && dl.EndedAt.IsZero() {
		dl.EndedAt, dl.NextAt, dl.Reply, dl.CancelRequestedBy, dl.CancelTries, dl.CancelAt = d.cfg.Clock.Now(), time.Time{}, nil, "", 0, time.Time{}
		dl.VerifyUntil = d.verifyUntil(dl)
		tryAgain = dl.TriesAgain(dl.EndedAt)
		dl.StalledSince, dl.Stop, dl.StopAt = time.Time{}, "", time.Time{}
	}
	if dl.State != delivery.InputRequired {
		dl.Question, dl.QuestionID, dl.NeedsApproval = "", "", false
	}
	var again *delivery.Delivery
	then := func(tx *store.Tx) (err error) {
		if tryAgain {
			again, err = d.tryAgain(ctx, tx, dl)
		}
		return err
	}
	if err := d.write(ctx, dl, precondition, then, log...); err != nil {
		return fmt.Errorf("record delivery %s: %w", dl.ID, err)
	}
	switch {
	case occupiesAgent(dl):
		d.slots.hold(dl.Agent, dl.ID) // also one that a person set to work again
	case !awaitsSlot(dl):
		d.queueAll(d.slots.release(dl.Agent, dl.ID))
	}
	d.memos.recorded(dl.ID, log)
	if dl.State.Ended() {
		d.memos.forget(dl.ID)
		d.lanes.forget(dl.ID)
		d.following.Delete(dl.ID)
		d.woken.Delete(dl.ID)
	}
	told := *dl // dl may change in the same step
	c.Delivery = &told
	d.cfg.Observe(c)
	if again != nil {
		d.repeated(again)
	}
	return nil
}

// write commits the delivery, if its row is still the one that was read, with what its log gets. Before it precondition is asked in the
// same transaction, and then comes after it; both may be nil.
func (d *Dispatcher) write(ctx context.Context, dl *delivery.Delivery, precondition, then func(*store.Tx) error, log ...delivery.Entry) error {
	for i := range log {
		log[i].DeliveryID = dl.ID
		if log[i].At.IsZero() {
			log[i].At = d.cfg.Clock.Now()
		}
	}
	return d.store.Write(ctx, func(tx *store.Tx) error {
		if precondition != nil {
			if err := precondition(tx); err != nil {
				return err
			}
		}
		if err := tx.Save(ctx, &store.Changes{Deliveries: []*delivery.Delivery{dl}, Entries: log}); err != nil || then == nil {
			return err
		}
		return then(tx)
	})
}

// queueAll wakes the deliveries that were given a slot.
func (d *Dispatcher) queueAll(ids []string) {
	for _, id := range ids {
		d.queue.Add(id)
	}
}

// maxHeld is after how many attempts or looks a delivery whose answers get lost no longer keeps other
// deliveries from its agent while it pauses.
const maxHeld = 5

// occupiesAgent says whether the delivery takes up its agent, as far as is known.
func occupiesAgent(dl *delivery.Delivery) bool {
	switch dl.State {
	case delivery.Working:
		return true
	case delivery.InputRequired:
		return dl.Reply != nil && dl.Reply.Sent != nil // the agent may be at work again
	case delivery.Calling:
		return dl.NextAt.IsZero() || dl.Attempt <= maxHeld && (dl.Sent == nil || dl.Sent.Looks <= maxHeld)
	}
	return false
}

// awaitsSlot says whether a person's reply waits for its agent to have time: it keeps its place, or the slot that it was given.
func awaitsSlot(dl *delivery.Delivery) bool {
	return dl.State == delivery.InputRequired && dl.Reply != nil
}

// end brings the delivery to a final state other than success, for a reason in khook's own words, and in full.
func (d *Dispatcher) end(ctx context.Context, dl *delivery.Delivery, to delivery.State, own, full string) (time.Duration, error) {
	from := dl.State
	dl.State, dl.Failure, dl.Error = to, own, full
	return d.finish(ctx, dl, from, nil)
}

// finish records a delivery that has ended, unless precondition says otherwise, which is asked in the same transaction and may be nil;
// and goes on to what becomes of its incidents.
func (d *Dispatcher) finish(ctx context.Context, dl *delivery.Delivery, from delivery.State, precondition func(*store.Tx) error) (time.Duration, error) {
	if err := d.saveIf(ctx, dl, Change{From: from}, precondition); err != nil {
		return 0, err
	}
	d.cfg.Log.Info("delivery ended", "delivery", dl.ID, "hook", dl.Hook, "agent", dl.Agent, "state", dl.State, "skipped", dl.Skipped)
	return d.verify(ctx, dl)
}
