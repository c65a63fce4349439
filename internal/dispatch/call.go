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

// call takes the turn of a delivery whose message has not been answered by a task. What needs no call is settled first, and the slot and
// the permit are taken before the row says that the message is about to leave: a delivery that has to wait must not look as if it had
// been sent. Whom the message reaches is found out before, too: it is part of what the row says.
func (d *Dispatcher) call(ctx context.Context, dl *delivery.Delivery) (time.Duration, error) {
	closed, err := d.closed(ctx, dl)
	if err != nil {
		return 0, err
	}
	if closed != (delivery.Closed{}) && dl.Sent == nil {
		return d.decided(ctx, dl, delivery.Observation{Of: delivery.Ready, Closed: closed})
	}
	held := d.paused(dl)
	if held != "" && dl.Sent == nil {
		return d.holds(ctx, dl, held)
	}
	if closed == (delivery.Closed{}) && !d.acquire(dl) {
		return dl.Deadline().Sub(d.cfg.Clock.Now()), nil // it is woken when it is its turn
	}
	if n := d.memos.get(dl.ID); n.sent != nil { // the answer is here and could not be recorded
		return d.accepted(ctx, dl, n)
	}
	if after, ok := d.breakers.acquire(dl.Agent); !ok {
		return d.denied(dl, closed, after), nil
	}
	peer, err := d.agent.Peer(ctx, dl.Agent)
	if err != nil {
		return d.noPeer(ctx, dl, closed, err)
	}
	if closed, err = d.closed(ctx, dl); err != nil { // to find out may have taken a while
		d.breakers.release(dl.Agent)
		return 0, err
	}
	return d.decided(ctx, dl, delivery.Observation{Of: delivery.Ready, Peer: peer, Closed: closed, Held: d.paused(dl)})
}

// acquire takes a slot of the delivery's agent, or its place in line.
func (d *Dispatcher) acquire(dl *delivery.Delivery) bool {
	ok, next := d.slots.acquire(dl.Agent, placeOf(dl))
	d.queueAll(next)
	return ok
}

// denied is about a delivery whose call a circuit breaker holds back. The line of its agent is shut, so that the others do not come one by
// one to learn the same. What occupies its agent, or may only be looked for, keeps what it has, and comes back by itself.
func (d *Dispatcher) denied(dl *delivery.Delivery, closed delivery.Closed, after time.Duration) time.Duration {
	pause := wait.Jitter(max(after, d.cfg.RetryMin), 0.5)
	if occupiesAgent(dl) || closed != (delivery.Closed{}) {
		return pause
	}
	if after == 0 { // another call tries just now
		pause = wait.Jitter(d.cfg.BreakerDelay, 0.5)
	}
	d.shut(dl.Agent, placeOf(dl), pause)
	return dl.Deadline().Sub(d.cfg.Clock.Now())
}

// decided lets the machine decide about an observation, and does what it says.
func (d *Dispatcher) decided(ctx context.Context, dl *delivery.Delivery, o delivery.Observation) (time.Duration, error) {
	o.Limits = d.limits()
	now := d.cfg.Clock.Now()
	row, step := delivery.Decide(*dl, o, now)
	switch step.Do {
	case delivery.DoSend:
		return d.announce(ctx, dl, &row)
	case delivery.DoLook:
		return d.look(ctx, &row, o)
	}
	if o.Of == delivery.Ready && o.Peer.Known() { // its permit led to no call
		d.breakers.release(dl.Agent)
	}
	if step.Do == delivery.DoEnd {
		return d.ended(ctx, dl, &row, o)
	}
	if o.Held != "" && row == *dl { // it waits as before
		return max(step.At.Sub(now), time.Millisecond), nil
	}
	if err := d.save(ctx, &row, Change{From: dl.State}); err != nil {
		return 0, err
	}
	return max(step.At.Sub(now), time.Millisecond), nil
}

// limits are the times that the machine goes by.
func (d *Dispatcher) limits() delivery.Limits {
	return delivery.Limits{Request: d.cfg.CallLimit, Settle: d.cfg.Settle, Unclear: d.cfg.Patience, Cancel: d.cfg.CancelPause}
}

// rest gives the slot of a delivery back that waits, and does not occupy its agent.
func (d *Dispatcher) rest(dl *delivery.Delivery) {
	if !occupiesAgent(dl) {
		d.queueAll(d.slots.pause(dl.Agent, dl.ID))
	}
}

// restsFor lets a delivery that failed because of its agent rest until that is back. One that kagent named a time to keeps that.
func (d *Dispatcher) restsFor(dl *delivery.Delivery, f delivery.Fault, err error) {
	if f.Rule().Breaker != delivery.NoBreaker && agent.RetryAfter(err) == 0 && !dl.State.Ended() {
		d.queueAll(d.slots.rest(dl.Agent, placeOf(dl)))
	}
}

// noPeer is about an agent of which could not be found out how it is called. Nothing was sent; nor is it the message's fault.
func (d *Dispatcher) noPeer(ctx context.Context, dl *delivery.Delivery, closed delivery.Closed, err error) (time.Duration, error) {
	if ctx.Err() != nil {
		d.breakers.release(dl.Agent)
		return 0, ctx.Err()
	}
	if dl.Sent != nil {
		return d.lookFailed(ctx, dl, closed, err)
	}
	d.called(dl.Agent, agent.Fault(err), err)
	return d.callFailed(ctx, dl, err, 0)
}

// closed is the first gate that is closed for the delivery's message.
func (d *Dispatcher) closed(ctx context.Context, dl *delivery.Delivery) (delivery.Closed, error) {
	if dl.CancelRequestedBy != "" {
		return delivery.Closed{Skip: delivery.SkipCanceled, Why: "canceled by " + dl.CancelRequestedBy + " before the agent was called"}, nil
	}
	if d.cfg.Refusal != nil {
		if skip, why := d.cfg.Refusal(dl); skip != "" {
			return delivery.Closed{Skip: skip, Why: why}, nil
		}
	}
	if dl.EvenIfRecovered {
		return delivery.Closed{}, nil
	}
	n, err := d.store.OpenIncidentsOf(ctx, dl.ID)
	if err != nil || n > 0 {
		return delivery.Closed{}, err
	}
	return delivery.Closed{Skip: delivery.SkipRecovered, Why: "everything that the call is about had ended before the agent was called"}, nil
}

// ended records the end that the machine has decided for a delivery. Whether its incidents have all ended is looked up in the
// transaction that says so: an incident that joins it meanwhile is not lost.
func (d *Dispatcher) ended(ctx context.Context, dl, row *delivery.Delivery, o delivery.Observation) (time.Duration, error) {
	var stillEnded func(*store.Tx) error
	if o.Closed.Skip == delivery.SkipRecovered {
		stillEnded = func(tx *store.Tx) error {
			n, err := tx.OpenIncidents(ctx, dl.ID)
			if err == nil && n > 0 {
				err = errStillOpen
			}
			return err
		}
	}
	next, err := d.finish(ctx, row, dl.State, stillEnded)
	if errors.Is(err, errStillOpen) {
		return time.Millisecond, nil
	}
	return next, err
}

var errStillOpen = errors.New("an incident of the delivery is open")

// look asks what became of a message that may have arrived.
func (d *Dispatcher) look(ctx context.Context, dl *delivery.Delivery, o delivery.Observation) (time.Duration, error) {
	fate, task, err := d.agent.Look(ctx, dl.Agent, agent.Permit{Dialect: o.Peer.Dialect, User: o.Peer.User}, dl.SessionID())
	if err != nil && ctx.Err() != nil {
		d.breakers.release(dl.Agent)
		return 0, ctx.Err()
	}
	if err != nil {
		return d.lookFailed(ctx, dl, o.Closed, err)
	}
	d.called(dl.Agent, "", nil)
	if fate == delivery.Arrived {
		n := memo{sent: &task}
		d.memos.put(dl.ID, n.slim())
		return d.accepted(ctx, dl, n)
	}
	o.Of, o.Fate, o.Pause = delivery.Looked, fate, d.retryPause(dl.Sent.Looks+1)
	return d.decided(ctx, dl, o)
}

// lookFailed goes on asking. The delivery says why.
func (d *Dispatcher) lookFailed(ctx context.Context, dl *delivery.Delivery, closed delivery.Closed, err error) (time.Duration, error) {
	fault := agent.Fault(err)
	d.called(dl.Agent, fault, err)
	pause := d.callPause(dl.Sent.Looks+1, err)
	return d.decided(context.WithoutCancel(ctx), dl, delivery.Observation{
		Of: delivery.LookFailed, Closed: closed, Fault: fault, Pause: pause, Worn: d.worn(dl.ID, pause),
		Own: "cannot find out whether the message arrived: " + agent.Brief(err), Full: "cannot find out whether the message arrived: " + agent.Explain(err),
	})
}

// announce records that the message is about to be sent, and what is sent: what is known now, unless
// an earlier attempt may have arrived. Then it sends.
//
// This commit must be on the disk before the first byte leaves (write-ahead). A crash after it and before the
// answer is recorded is resolved by looking for the message; without it the next run would send a second
// message. The text of a message that may have arrived stays as it was: with
// another text under the same idempotency key nobody could say which of the two the agent got.
func (d *Dispatcher) announce(ctx context.Context, dl, row *delivery.Delivery) (time.Duration, error) {
	if dl.Data == "" || dl.Sent == nil {
		data, err := d.data(ctx, dl)
		if err != nil {
			d.breakers.release(dl.Agent)
			return 0, err
		}
		row.Data = data
	}
	if err := d.save(ctx, row, Change{From: dl.State}); err != nil {
		d.breakers.release(dl.Agent)
		return 0, err
	}
	return d.send(ctx, row)
}

// send makes the call that was announced. When ctx ends meanwhile the agent has a last moment to
// answer: after that the delivery stays "calling", and the next run finds out what became of it.
func (d *Dispatcher) send(ctx context.Context, dl *delivery.Delivery) (time.Duration, error) {
	sending, cancel := d.withGrace(ctx)
	defer cancel()
	start := d.cfg.Clock.Now()
	check := d.precheck(dl, dl.Sent.At)
	task, err := d.agent.Send(sending, d.request(dl, check))
	took := d.cfg.Clock.Since(start)
	if err != nil && check.err != nil {
		d.breakers.release(dl.Agent)
		return 0, d.retract(context.WithoutCancel(ctx), dl, check.err)
	}
	if err != nil && sending.Err() != nil {
		d.breakers.release(dl.Agent)
		return 0, sending.Err()
	}
	if err != nil {
		d.called(dl.Agent, agent.Fault(err), err)
		return d.callFailed(context.WithoutCancel(ctx), dl, err, took)
	}
	d.called(dl.Agent, "", nil)
	n := memo{sent: &task, took: took}
	d.memos.put(dl.ID, n.slim())
	return d.accepted(ctx, dl, n)
}

// retract takes back the announcement of a message that was kept here: the row says again that it is with nobody. Where the row is not
// this process's any more, or can't be written, it stays announced, and is looked for.
func (d *Dispatcher) retract(ctx context.Context, dl *delivery.Delivery, why error) error {
	if errors.Is(why, store.ErrDeposed) || dl.Sent.Again {
		return why
	}
	now, err := d.store.Delivery(ctx, dl.ID)
	if err != nil || now.Sent == nil || !now.Sent.At.Equal(dl.Sent.At.Truncate(time.Microsecond)) || now.TaskID != "" || now.State != delivery.Calling {
		return why
	}
	now.Sent, now.State, now.NextAt = nil, delivery.Pending, time.Time{}
	return errors.Join(why, d.save(ctx, now, Change{From: delivery.Calling}))
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

func (d *Dispatcher) request(dl *delivery.Delivery, check *precheck) agent.Request {
	return agent.Request{
		Agent:     dl.Agent,
		MessageID: dl.MessageID(),
		ContextID: dl.SessionID(),
		Title:     fmt.Sprintf("khook %s: %s in %s", dl.EventType, dl.Group, dl.Hook.Namespace),
		Prompt:    dl.Prompt,
		Data:      []byte(dl.Data),
		Permit:    agent.Permit{Dialect: dl.Sent.Dialect, User: dl.Sent.User, Precheck: check.may},
	}
}

// precheck is asked right before a message leaves, with at most the making of its connection in between. This process may have been
// halted since it announced the message: what a successor or a person has changed meanwhile must not be sent, nor what those who look for it
// take for settled. StillLeads is the fencing token, the version the optimistic concurrency. Neither is enough alone: a successor may
// not have touched this delivery yet.
type precheck struct {
	d   *Dispatcher
	row delivery.Delivery // as it was announced
	by  time.Time         // until when it must have left
	err error             // why it was kept here
}

func (d *Dispatcher) precheck(dl *delivery.Delivery, announced time.Time) *precheck {
	return &precheck{d: d, row: *dl, by: announced.Add(d.limits().LeaveWithin())}
}

var errHeldUp = errors.New("khook was held up: the message was announced too long ago to leave")

func (p *precheck) may(ctx context.Context) error {
	p.err = p.ask(ctx)
	return p.err
}

func (p *precheck) ask(ctx context.Context) error {
	if err := p.d.store.StillLeads(ctx); err != nil {
		return err
	}
	now, err := p.d.store.Delivery(ctx, p.row.ID)
	switch {
	case err != nil:
		return fmt.Errorf("ask the history whether the message may leave: %w", err)
	case now.Version != p.row.Version:
		return fmt.Errorf("delivery %s: %w", p.row.ID, store.ErrConflict)
	case p.d.cfg.Clock.Now().After(p.by):
		return errHeldUp
	}
	if p.row.TaskID != "" { // it is about a task that is there
		return nil
	}
	if p.d.cfg.Refusal != nil {
		if skip, why := p.d.cfg.Refusal(&p.row); skip != "" {
			return fmt.Errorf("delivery %s: %s: %w", p.row.ID, why, store.ErrConflict)
		}
	}
	if why := p.d.paused(&p.row); why != "" {
		return fmt.Errorf("delivery %s: %s: %w", p.row.ID, why, store.ErrConflict)
	}
	return nil
}

// accepted records what the agent made of the message.
func (d *Dispatcher) accepted(ctx context.Context, dl *delivery.Delivery, n memo) (time.Duration, error) {
	from, task := dl.State, n.sent
	dl.Dialect, dl.ContextID, dl.TaskID, dl.Failure, dl.Error = task.Dialect, task.ContextID, task.ID, "", ""
	dl.NextAt = time.Time{}
	applyTask(dl, *task)
	_, _ = d.glanced(dl, saidBy(*task))
	entry := delivery.Entry{Kind: delivery.EntryCall, Text: fmt.Sprintf("attempt %d: %s", dl.Attempt, delivery.TookTheMessage)}
	if err := d.save(context.WithoutCancel(ctx), dl, Change{From: from, Took: n.took}, append([]delivery.Entry{entry}, d.said(dl, *task)...)...); err != nil {
		return 0, err
	}
	d.memos.put(dl.ID, memo{})
	d.cfg.Log.Info("agent called", "delivery", dl.ID, "hook", dl.Hook, "agent", dl.Agent, "task", dl.TaskID,
		"state", dl.State, "attempt", dl.Attempt)
	return d.nextStep(ctx, dl)
}

// nextStep says what comes next for a delivery that was just recorded.
func (d *Dispatcher) nextStep(ctx context.Context, dl *delivery.Delivery) (time.Duration, error) {
	switch {
	case dl.State.Ended():
		return d.verify(ctx, dl)
	case dl.AsksToStop() && dl.CancelTries == 0:
		return time.Millisecond, nil
	case dl.State == delivery.Working && d.cfg.Follow:
		d.stream(ctx, *dl)
	}
	return d.pollPause(dl), nil
}

// callFailed lets the machine decide between another attempt, a look and the end.
func (d *Dispatcher) callFailed(ctx context.Context, dl *delivery.Delivery, err error, took time.Duration) (time.Duration, error) {
	fault := agent.Fault(err)
	if dl.Sent == nil && fault == delivery.Refused { // it was a read that was refused
		fault = delivery.Astray
	}
	pause := d.callPause(dl.Attempt+1, err)
	now := d.cfg.Clock.Now()
	row, step := delivery.Decide(*dl, delivery.Observation{
		Of: delivery.CallFailed, Limits: d.limits(), Fault: fault, Harmless: agent.NoEffect(err), Pause: pause, Worn: d.wornBy(dl.ID, fault, pause),
		Own: "the call failed: " + agent.Brief(err), Full: agent.Explain(err),
	}, now)
	if err := d.save(ctx, &row, Change{From: dl.State, Err: err, Took: took}, failed(&row)); err != nil {
		return 0, err
	}
	if row.State.Ended() {
		d.cfg.Log.Info("agent call failed for good", "delivery", dl.ID, "hook", dl.Hook, "agent", dl.Agent,
			"attempt", row.Attempt, "error", agent.Brief(err))
		return 0, nil
	}
	after := step.At.Sub(now)
	d.restsFor(&row, fault, err)
	d.cfg.Log.Info("agent call failed, will retry", "delivery", dl.ID, "hook", dl.Hook, "agent", dl.Agent,
		"attempt", row.Attempt, "in", after.Round(time.Millisecond), "error", agent.Brief(err))
	return max(after, time.Millisecond), nil
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

// maxBadAnswers is how often in a row kagent must be asked in vain, at least, before there is no more patience.
const maxBadAnswers = 5

// wornBy says whether the patience with a fault is used up; a fault that needs none begins it anew.
func (d *Dispatcher) wornBy(id string, f delivery.Fault, pause time.Duration) bool {
	if f.Rule().Patience {
		return d.worn(id, pause)
	}
	n := d.memos.get(id)
	n.bad, n.spent, n.asked, n.pause = 0, 0, time.Time{}, 0
	d.memos.put(id, n)
	return false
}

// worn counts answers in a row that are worth only some patience, and says when it is enough. Only the time counts that was spent with
// asking: what a delivery waited for its turn, or for a circuit breaker, says nothing of kagent.
func (d *Dispatcher) worn(id string, pause time.Duration) bool {
	n, now := d.memos.get(id), d.cfg.Clock.Now()
	if n.bad++; n.bad > 1 {
		n.spent += min(now.Sub(n.asked), 2*n.pause+d.cfg.CallLimit)
	}
	n.asked, n.pause = now, pause
	d.memos.put(id, n)
	return n.bad >= maxBadAnswers && n.spent >= d.cfg.Patience
}

// maxRetryAfter is the longest pause that kagent may ask for.
const maxRetryAfter = time.Hour

// callPause is how long to wait before the next attempt: what kagent asks for, if that is longer.
func (d *Dispatcher) callPause(attempt int, err error) time.Duration {
	pause := d.retryPause(attempt)
	if after := agent.RetryAfter(err); after > pause {
		return wait.Jitter(min(after, maxRetryAfter), 0.1)
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
