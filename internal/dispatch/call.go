package dispatch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/store"
)

// call sends the delivery's message to its agent, when the agent has time and kagent is not known to be
// down. The order of the steps matters: what needs no call is settled first, and the slot and the permit
// are taken before the row says that the message is about to leave. A delivery that has to wait must not
// look as if it had been sent.
func (d *Dispatcher) call(ctx context.Context, dl *delivery.Delivery) (time.Duration, error) {
	if skip, why := d.refusal(dl); skip != "" {
		return d.skip(ctx, dl, skip, why)
	}
	if over, err := d.recovered(ctx, dl); err != nil || over {
		return 0, err
	}
	if !d.slots.acquire(dl.Agent, dl.ID) {
		return dl.Deadline().Sub(d.cfg.Clock.Now()), nil // release wakes it
	}
	if n := d.notes.get(dl.ID); n.sent != nil { // the answer is here and could not be recorded
		return d.accepted(ctx, dl, n)
	}
	if !d.breaker.TryAcquirePermit() {
		if !occupiesAgent(dl) {
			d.queueAll(d.slots.release(dl.Agent, dl.ID))
		}
		return wait.Jitter(max(d.breaker.RemainingDelay(), d.cfg.RetryMin), 0.5), nil
	}
	if err := d.announce(ctx, dl); err != nil {
		d.returnPermit()
		return 0, err
	}
	return d.send(ctx, dl)
}

// send makes the call that was announced. When ctx ends meanwhile the agent has a last moment to
// answer: after that the delivery stays "calling", and the next run finds out what became of it.
func (d *Dispatcher) send(ctx context.Context, dl *delivery.Delivery) (time.Duration, error) {
	sending, cancel := d.withGrace(ctx)
	defer cancel()
	start := d.cfg.Clock.Now()
	task, err := d.agent.Send(sending, d.request(dl))
	took := d.cfg.Clock.Since(start)
	if err != nil && sending.Err() != nil {
		return 0, sending.Err()
	}
	if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrDeposed) { // somebody else has it in hand: nothing was sent
		d.returnPermit()
		return 0, err
	}
	d.recordBreaker(err)
	if err != nil {
		return d.callFailed(context.WithoutCancel(ctx), dl, err, took)
	}
	n := memo{sent: &task, took: took}
	d.notes.put(dl.ID, n)
	return d.accepted(ctx, dl, n)
}

// withGrace returns a context that ends some time after ctx.
func (d *Dispatcher) withGrace(ctx context.Context) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-out.Done():
		case <-time.After(d.cfg.Grace):
			cancel()
		}
	})
	return out, func() { stop(); cancel() }
}

// refusal tells why the delivery must not be sent. One whose message may have arrived is followed
// to its end whatever the Hook says now.
func (d *Dispatcher) refusal(dl *delivery.Delivery) (delivery.Skip, string) {
	if d.cfg.Refusal == nil || dl.MayHaveArrived() {
		return "", ""
	}
	return d.cfg.Refusal(dl)
}

// skip ends a delivery whose agent is not called after all.
func (d *Dispatcher) skip(ctx context.Context, dl *delivery.Delivery, why delivery.Skip, told string) (time.Duration, error) {
	dl.Skipped = why
	return d.end(ctx, dl, delivery.Canceled, told, told)
}

// recovered skips a delivery whose incidents have all ended before its agent was called. Whether they
// have is looked up in the transaction that says so: an incident that joins it meanwhile is not lost.
func (d *Dispatcher) recovered(ctx context.Context, dl *delivery.Delivery) (bool, error) {
	if dl.EvenIfRecovered || dl.MayHaveArrived() {
		return false, nil
	}
	if n, err := d.store.OpenIncidentsOf(ctx, dl.ID); err != nil || n > 0 {
		return false, err
	}
	stillEnded := func(tx *store.Tx) error {
		n, err := tx.OpenIncidents(ctx, dl.ID)
		if err == nil && n > 0 {
			err = errStillOpen
		}
		return err
	}
	was := *dl
	dl.Skipped, dl.State = delivery.SkipRecovered, delivery.Canceled
	dl.Failure, dl.Error = because("everything that the call is about had ended before the agent was called", "")
	err := d.saveIf(ctx, dl, Change{From: was.State}, stillEnded)
	if errors.Is(err, errStillOpen) {
		*dl = was
		return false, nil
	}
	if err == nil {
		d.cfg.Log.Info("agent not called: everything had ended before", "delivery", dl.ID, "hook", dl.Hook, "agent", dl.Agent)
	}
	return err == nil, err
}

var errStillOpen = errors.New("an incident of the delivery is open")

// announce records that the message is about to be sent, and what is sent: what is known now, unless
// an earlier attempt may have arrived.
//
// This commit must be on the disk before the first byte leaves (write-ahead). A crash after it and before the
// answer is recorded is resolved by looking for the message; without it the next run would send a second
// message. The text and the dialect of a message that may have arrived stay as they were: with
// another text under the same idempotency key nobody could say which of the two the agent got.
func (d *Dispatcher) announce(ctx context.Context, dl *delivery.Delivery) error {
	if dl.Data == "" || !dl.MayHaveArrived() {
		data, err := d.data(ctx, dl)
		if err != nil {
			return err
		}
		dl.Data = data
	}
	from := dl.State
	if !dl.MayHaveArrived() { // else it is the dialect of the message that may have
		dl.Dialect = ""
		if name, err := d.agent.Dialect(ctx, dl.Agent); err == nil {
			dl.Dialect = name
		}
	}
	dl.CatchUp = dl.CatchUp || from == delivery.Calling // an earlier attempt may have arrived: look first, from now on
	dl.State, dl.CalledAt, dl.NextAt = delivery.Calling, d.cfg.Clock.Now(), time.Time{}
	dl.Attempt++
	return d.save(ctx, dl, Change{From: from})
}

func (d *Dispatcher) request(dl *delivery.Delivery) agent.Request {
	version := dl.Version
	return agent.Request{
		Agent:     dl.Agent,
		MessageID: dl.MessageID(),
		ContextID: dl.SessionID(),
		Title:     fmt.Sprintf("khook %s: %s in %s", dl.EventType, dl.Group, dl.Hook.Namespace),
		Prompt:    dl.Prompt,
		Data:      []byte(dl.Data),
		Resend:    dl.CatchUp,
		Dialect:   dl.Dialect,
		// Asked right before the request, with at most the making of its connection in between. This process may
		// have been halted since it announced the call: what a successor or a person has changed meanwhile must not be sent.
		// StillLeads is the fencing token, Version the optimistic concurrency. Neither is enough alone: a
		// successor may not have touched this delivery yet.
		Precheck: func(ctx context.Context) error {
			if err := d.store.StillLeads(ctx); err != nil {
				return err
			}
			now, err := d.store.Delivery(ctx, dl.ID)
			if err == nil && now.Version != version {
				err = fmt.Errorf("delivery %s: %w", dl.ID, store.ErrConflict)
			}
			return err
		},
	}
}

// recordBreaker tells the circuit breaker whether kagent answers at all.
func (d *Dispatcher) recordBreaker(err error) {
	if agent.Down(err) {
		d.breaker.RecordFailure()
		return
	}
	d.breaker.RecordSuccess()
}

// returnPermit gives back a permit of the circuit breaker that led to no call. Where only one call is
// let through, to try kagent, the next one waits as if it had failed.
func (d *Dispatcher) returnPermit() {
	if d.breaker.IsHalfOpen() {
		d.breaker.RecordFailure()
	}
}

// accepted records what the agent made of the message.
func (d *Dispatcher) accepted(ctx context.Context, dl *delivery.Delivery, n memo) (time.Duration, error) {
	from, task := dl.State, n.sent
	dl.Dialect, dl.ContextID, dl.TaskID, dl.Failure, dl.Error = task.Dialect, task.ContextID, task.ID, "", ""
	applyTask(dl, *task)
	entry := delivery.Entry{Kind: delivery.EntryCall, Text: fmt.Sprintf("attempt %d: the agent took the message", dl.Attempt)}
	if err := d.save(context.WithoutCancel(ctx), dl, Change{From: from, Took: n.took}, append([]delivery.Entry{entry}, d.said(dl, *task)...)...); err != nil {
		return 0, err
	}
	d.notes.put(dl.ID, memo{})
	d.cfg.Log.Info("agent called", "delivery", dl.ID, "hook", dl.Hook, "agent", dl.Agent, "task", dl.TaskID,
		"state", dl.State, "attempt", dl.Attempt)
	return d.nextStep(ctx, dl)
}

// nextStep says what comes next for a delivery that was just recorded.
func (d *Dispatcher) nextStep(ctx context.Context, dl *delivery.Delivery) (time.Duration, error) {
	switch {
	case dl.State.Ended():
		return d.verify(ctx, dl)
	case dl.CancelRequestedBy != "":
		return time.Millisecond, nil
	case dl.State == delivery.Working && d.cfg.Follow:
		d.stream(ctx, *dl)
	}
	return d.pollPause(dl), nil
}

// maxBadAnswers is how often in a row an agent may answer with something that is no answer, or be
// absent.
const maxBadAnswers = 5

// callFailed decides between another attempt and the end. Only what certainly had no effect is
// simply tried again; after a lost answer the delivery stays "calling", and the next attempt asks first what
// became of the message.
func (d *Dispatcher) callFailed(ctx context.Context, dl *delivery.Delivery, err error, took time.Duration) (time.Duration, error) {
	from := dl.State
	dl.Failure, dl.Error = "the call failed: "+agent.Brief(err), agent.Explain(err)
	switch {
	case agent.Final(err), d.hopeless(dl.ID, err):
		dl.State = delivery.Failed
	default:
		dl.NextAt = d.cfg.Clock.Now().Add(d.callPause(dl.Attempt, err))
		if agent.NoEffect(err) {
			dl.State = delivery.Pending
		} else if sent := agent.SentIn(err); sent != "" {
			dl.Dialect = sent
		}
	}
	if err := d.save(ctx, dl, Change{From: from, Err: err, Took: took}, failed(dl)); err != nil {
		return 0, err
	}
	if dl.State.Ended() {
		d.cfg.Log.Info("agent call failed for good", "delivery", dl.ID, "hook", dl.Hook, "agent", dl.Agent,
			"attempt", dl.Attempt, "error", agent.Brief(err))
		return 0, nil
	}
	pause := dl.NextAt.Sub(d.cfg.Clock.Now())
	d.cfg.Log.Info("agent call failed, will retry", "delivery", dl.ID, "hook", dl.Hook, "agent", dl.Agent,
		"attempt", dl.Attempt, "in", pause.Round(time.Millisecond), "error", agent.Brief(err))
	return max(pause, time.Millisecond), nil
}

// maxAttemptsTold is how many failed attempts have an entry each in the delivery's log; those after
// them share one, which tells the newest.
const maxAttemptsTold = 20

func failed(dl *delivery.Delivery) delivery.Entry {
	e := delivery.Entry{Kind: delivery.EntryCall, Text: fmt.Sprintf("attempt %d failed: %s", dl.Attempt, dl.Error)}
	if dl.Attempt > maxAttemptsTold {
		e.Source = "later attempts"
	}
	return e
}

// hopeless counts the answers in a row that are worth only a few attempts, and says when it is enough.
// Where nothing had an effect it takes a while besides: kagent may be under way to another version.
func (d *Dispatcher) hopeless(id string, err error) bool {
	n, now := d.notes.get(id), d.cfg.Clock.Now()
	if n.bad++; n.bad == 1 {
		n.from = now
	}
	if !agent.Limited(err) {
		n.bad, n.from = 0, time.Time{}
	}
	d.notes.put(id, n)
	return n.bad >= maxBadAnswers && (!agent.NoEffect(err) || now.Sub(n.from) >= d.cfg.Patience)
}

// callPause is how long to wait before the next attempt: what kagent asks for, if that is longer.
func (d *Dispatcher) callPause(attempt int, err error) time.Duration {
	pause := d.retryPause(attempt)
	if after := agent.RetryAfter(err); after > pause {
		return wait.Jitter(min(after, time.Hour), 0.1)
	}
	return pause
}

// retryPause grows exponentially with the attempts, with jitter.
func (d *Dispatcher) retryPause(attempt int) time.Duration {
	pause := d.cfg.RetryMin
	for i := 1; i < attempt && pause < d.cfg.RetryMax; i++ {
		pause *= 2
	}
	return wait.Jitter(min(pause, d.cfg.RetryMax), 0.5)
}
