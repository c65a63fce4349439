package dispatch

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/incident"
)

// call sends the delivery's message to its agent, when the agent has time and kagent is not
// known to be down.
func (d *Dispatcher) call(ctx context.Context, dl *incident.Delivery) (time.Duration, error) {
	if !d.slots.acquire(dl.Agent, dl.ID) {
		return 0, nil // release wakes it
	}
	if !d.breaker.TryAcquirePermit() {
		if dl.State == incident.Pending {
			d.queueAll(d.slots.release(dl.Agent, dl.ID))
		}
		return wait.Jitter(max(d.breaker.RemainingDelay(), d.cfg.RetryMin), 0.5), nil
	}
	resend := dl.State == incident.Calling || dl.CatchUp
	if err := d.announce(ctx, dl); err != nil {
		d.breaker.RecordSuccess()
		return 0, err
	}
	start := d.cfg.Clock.Now()
	task, err := d.agent.Send(ctx, request(dl, resend))
	took := d.cfg.Clock.Since(start)
	if ctx.Err() != nil && err != nil {
		d.breaker.RecordSuccess()
		return 0, ctx.Err() // it stays "calling": the next run finds out what became of it
	}
	d.judge(err)
	if err != nil {
		return d.callFailed(context.WithoutCancel(ctx), dl, err, took)
	}
	return d.accepted(context.WithoutCancel(ctx), dl, task, took)
}

// announce records that the message is about to be sent, and what is sent.
func (d *Dispatcher) announce(ctx context.Context, dl *incident.Delivery) error {
	if dl.Data == "" {
		data, err := d.data(ctx, dl)
		if err != nil {
			return err
		}
		dl.Data = data
	}
	from := dl.State
	dl.State, dl.CalledAt, dl.NextAt = incident.Calling, d.cfg.Clock.Now(), time.Time{}
	dl.Attempt++
	return d.save(ctx, dl, Change{From: from})
}

func request(dl *incident.Delivery, resend bool) agent.Request {
	return agent.Request{
		Agent:     dl.Agent,
		MessageID: dl.MessageID(),
		ContextID: dl.SessionID(),
		Title:     fmt.Sprintf("khook %s: %s in %s", dl.EventType, dl.Group, dl.Hook.Namespace),
		Prompt:    dl.Prompt,
		Data:      []byte(dl.Data),
		Resend:    resend,
	}
}

// judge tells the circuit breaker whether kagent answers at all.
func (d *Dispatcher) judge(err error) {
	if agent.Down(err) {
		d.breaker.RecordFailure()
		return
	}
	d.breaker.RecordSuccess()
}

// accepted records what the agent made of the message.
func (d *Dispatcher) accepted(ctx context.Context, dl *incident.Delivery, task agent.Task, took time.Duration) (time.Duration, error) {
	from := dl.State
	dl.Dialect, dl.ContextID, dl.TaskID, dl.Error = task.Dialect, task.ContextID, task.ID, ""
	keep(dl, task)
	if err := d.save(ctx, dl, Change{From: from, Took: took}); err != nil {
		return 0, err
	}
	d.cfg.Log.Info("agent called", "delivery", dl.ID, "hook", dl.Hook, "agent", dl.Agent, "task", dl.TaskID,
		"state", dl.State, "attempt", dl.Attempt)
	return d.after(ctx, dl)
}

// after says what comes next for a delivery that was just recorded.
func (d *Dispatcher) after(ctx context.Context, dl *incident.Delivery) (time.Duration, error) {
	switch {
	case dl.State == incident.Succeeded:
		return d.verify(ctx, dl)
	case dl.State.Ended():
		return 0, nil
	default:
		return d.pollPause(dl), nil
	}
}

// maxBadAnswers is how often an agent may answer with something that is no answer, or be absent.
const maxBadAnswers = 5

// callFailed decides between another attempt and the end. Only what certainly had no effect is
// simply tried again; after a lost answer the next attempt asks first what became of the message.
func (d *Dispatcher) callFailed(ctx context.Context, dl *incident.Delivery, err error, took time.Duration) (time.Duration, error) {
	from := dl.State
	dl.Error = agent.Explain(err)
	if agent.Final(err) || agent.Limited(err) && dl.Attempt >= maxBadAnswers {
		dl.State = incident.Failed
	} else {
		pause := d.retryPause(dl.Attempt)
		if after := agent.RetryAfter(err); after > pause {
			pause = wait.Jitter(min(after, time.Hour), 0.1)
		}
		if agent.NoEffect(err) {
			dl.State = incident.Pending
			if from == incident.Calling && dl.Attempt > 1 {
				dl.CatchUp = true // an earlier attempt may have arrived: keep looking first
			}
		}
		dl.NextAt = d.cfg.Clock.Now().Add(pause)
	}
	if err := d.save(ctx, dl, Change{From: from, Err: err, Took: took}); err != nil {
		return 0, err
	}
	if dl.State.Ended() {
		d.cfg.Log.Info("agent call failed for good", "delivery", dl.ID, "hook", dl.Hook, "agent", dl.Agent,
			"attempt", dl.Attempt, "error", dl.Error)
		return 0, nil
	}
	pause := dl.NextAt.Sub(d.cfg.Clock.Now())
	d.cfg.Log.Info("agent call failed, will retry", "delivery", dl.ID, "hook", dl.Hook, "agent", dl.Agent,
		"attempt", dl.Attempt, "in", pause.Round(time.Millisecond), "error", dl.Error)
	return max(pause, time.Millisecond), nil
}

// retryPause grows exponentially with the attempts, with jitter.
func (d *Dispatcher) retryPause(attempt int) time.Duration {
	pause := d.cfg.RetryMin
	for i := 1; i < attempt && pause < d.cfg.RetryMax; i++ {
		pause *= 2
	}
	return wait.Jitter(min(pause, d.cfg.RetryMax), 0.5)
}
