package dispatch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// applyTask takes over what the task says.
func applyTask(dl *delivery.Delivery, t agent.Task) {
	dl.TaskState = string(t.State)
	dl.Usage = dl.Usage.After(t.Usage)
	// A question is no answer, and the end's answer replaces what was said on the way.
	if t.Answer != "" && t.Answer != t.Question || t.State == agent.Completed {
		dl.Answer = incident.Truncate(t.Answer, delivery.MaxAnswer)
	}
	switch t.State {
	case agent.Completed:
		dl.State = delivery.Succeeded
	case agent.Failed:
		dl.State = delivery.Failed
		dl.Failure, dl.Error = because("the agent's task failed", t.Answer)
	case agent.Rejected:
		dl.State = delivery.Rejected
		dl.Failure, dl.Error = because("the agent rejected the task", t.Answer)
	case agent.Canceled:
		dl.State = delivery.Canceled
		dl.Failure, dl.Error = because("the agent's task was canceled", t.Answer)
	case agent.InputRequired, agent.AuthRequired:
		dl.State = delivery.InputRequired
		dl.Failure, dl.Error = because("the agent waits for a person", t.Question)
		dl.Question, dl.QuestionID, dl.NeedsApproval = incident.Truncate(t.Question, delivery.MaxQuestion), t.QuestionID, t.Approval
	default:
		dl.State = delivery.Working
	}
}

// because is why a delivery failed or waits, as its Failure and its Error have it: in khook's own words,
// and with what the agent said.
func because(own, said string) (failure, full string) {
	if said == "" {
		return own, own
	}
	return own, own + ": " + said
}

// follow looks at the task once, and leaves the waiting to the agent's stream or to the next look.
func (d *Dispatcher) follow(ctx context.Context, dl *delivery.Delivery) (time.Duration, error) {
	task, err := d.agent.Task(ctx, dl.Agent, dl.TaskID)
	if err != nil {
		return d.pollFailed(ctx, dl, err)
	}
	d.memos.put(dl.ID, memo{})
	if dl.Reply != nil {
		return d.answer(ctx, dl, task)
	}
	if err := d.progress(context.WithoutCancel(ctx), dl, task); err != nil {
		return 0, err
	}
	return d.nextStep(ctx, dl)
}

// progress records what the task says, if it says something new, with what else the log gets.
func (d *Dispatcher) progress(ctx context.Context, dl *delivery.Delivery, task agent.Task, log ...delivery.Entry) error {
	was := *dl
	dl.Failure, dl.Error = "", ""
	applyTask(dl, task)
	stall, told := d.glanced(dl, saidBy(task))
	log = append(append(log, d.said(dl, task)...), told...)
	if was.TaskState != dl.TaskState {
		log = append(log, delivery.Entry{Kind: delivery.EntryState, State: dl.TaskState, By: "agent"})
	}
	if len(log) == 0 && was.State == dl.State && was.Answer == dl.Answer && was.Usage == dl.Usage && was.QuestionID == dl.QuestionID && was.Error == incident.Clean(dl.Error, delivery.MaxError) && sameStall(&was, dl) {
		return nil
	}
	if err := d.save(ctx, dl, Change{From: was.State, Stall: stall, Asks: was.QuestionID != dl.QuestionID}, log...); err != nil {
		return err
	}
	if was.State != dl.State {
		d.cfg.Log.Info("agent's task changed", "delivery", dl.ID, "agent", dl.Agent, "task", dl.TaskID, "state", dl.State)
	}
	return nil
}

// pollFailed keeps looking, unless kagent says for a while that there is no such task.
func (d *Dispatcher) pollFailed(ctx context.Context, dl *delivery.Delivery, err error) (time.Duration, error) {
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	switch since := d.troubledFor(dl.ID, agent.Fault(err)); {
	case agent.TaskGone(err) && since >= d.vanishAfter:
		return d.end(ctx, dl, delivery.Failed, "kagent no longer knows the task: its answer is lost",
			fmt.Sprintf("kagent no longer knows the task %s: its answer is lost", dl.TaskID))
	case agent.Fault(err) == delivery.Unreadable && since >= max(d.cfg.Patience, d.vanishAfter):
		return d.end(ctx, dl, delivery.Failed, "khook could not learn what became of the task",
			fmt.Sprintf("khook could not learn what became of the task %s: %s", dl.TaskID, agent.Explain(err)))
	}
	was, stall, told := *dl, delivery.StallNone, []delivery.Entry(nil)
	if agent.Fault(err) == delivery.AgentDown { // kagent is there, and its agent is not: the task can't go on
		stall, told = d.glanced(dl, 0)
	}
	if why := incident.Clean("cannot look at the task: "+agent.Explain(err), delivery.MaxError); why != dl.Error || !sameStall(&was, dl) {
		dl.Failure, dl.Error = "cannot look at the task: "+agent.Brief(err), why
		if err := d.save(ctx, dl, Change{From: dl.State, Stall: stall}, told...); err != nil {
			return 0, err
		}
		d.cfg.Log.Info("cannot look at the agent's task, will go on trying", "delivery", dl.ID, "agent", dl.Agent, "task", dl.TaskID, "error", agent.Brief(err))
	}
	pause := max(d.pollPause(dl), agent.RetryAfter(err))
	if left := dl.Deadline().Sub(d.cfg.Clock.Now()); left > 0 {
		pause = min(pause, left)
	}
	return pause, nil
}

// troubledFor is for how long kagent has not known the delivery's task, or could not read what its agent says of it. Either may be over
// after a restart or an upgrade of kagent.
func (d *Dispatcher) troubledFor(id string, f delivery.Fault) time.Duration {
	if f != delivery.TaskGone && f != delivery.Unreadable {
		return 0
	}
	now, n := d.cfg.Clock.Now(), d.memos.get(id)
	if n.trouble != f {
		n.trouble, n.since = f, now
		d.memos.put(id, n)
	}
	return now.Sub(n.since)
}

// pollPause is how long to wait before the next look: longer the longer the task takes, and never
// past its deadline.
func (d *Dispatcher) pollPause(dl *delivery.Delivery) time.Duration {
	now := d.cfg.Clock.Now()
	pause := min(max(now.Sub(dl.CalledAt)/4, d.cfg.PollMin), d.cfg.PollMax)
	if at := dl.StallsAt(); at.After(now) {
		pause = min(pause, at.Sub(now))
	}
	if left := dl.Deadline().Sub(now); left > 0 {
		return min(pause, left)
	}
	return pause
}

// stream reads the task's stream in the background and wakes the delivery at each news. Polling
// goes on beside it, so a stream that breaks costs time only.
func (d *Dispatcher) stream(ctx context.Context, dl delivery.Delivery) {
	if _, busy := d.following.LoadOrStore(dl.ID, true); busy {
		return
	}
	if n := d.streams.Add(1); n > d.cfg.Followers {
		d.streams.Add(-1)
		d.following.Delete(dl.ID)
		return
	}
	ctx, cancel := context.WithDeadline(ctx, time.Now().Add(dl.Deadline().Sub(d.cfg.Clock.Now())))
	d.followers.Go(func() {
		defer cancel()
		defer d.streams.Add(-1)
		last := dl.TaskState
		_, err := d.agent.Follow(ctx, dl.Agent, dl.TaskID, func(t agent.Task) {
			if s := string(t.State); s != last {
				last = s
				d.news(dl.ID)
			}
		})
		if err == nil {
			d.following.Delete(dl.ID)
		} // else it stays marked: the task is polled from now on
		if ctx.Err() == nil && !errors.Is(err, agent.ErrNoStream) {
			d.news(dl.ID)
		}
	})
}

// newsFloor is the longest pause between two looks that a stream asks for.
const newsFloor = 250 * time.Millisecond

// news wakes a delivery for a look at its task, with a floor between two such looks: a stream that says again and again what the task
// does not must not make thousands of them.
func (d *Dispatcher) news(id string) {
	floor, now := min(d.cfg.PollMin/4, newsFloor), d.cfg.Clock.Now()
	at := now
	if last, ok := d.woken.Load(id); ok && now.Sub(last.(time.Time)) < floor {
		at = last.(time.Time).Add(floor)
	}
	d.woken.Store(id, at)
	if at.After(now) {
		d.queue.AddAfter(id, at.Sub(now))
		return
	}
	d.queue.Add(id)
}
