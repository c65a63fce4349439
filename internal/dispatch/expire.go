package dispatch

import (
	"context"
	"fmt"
	"time"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/delivery"
)

// lateLook is for how long after a delivery's deadline its task is looked for when kagent does not
// answer: the agent may have finished in time, while khook or kagent was down.
const lateLook = 10 * time.Minute

// expire ends a delivery whose time is up, and tells the agent to stop. What the agent finished
// meanwhile counts.
func (d *Dispatcher) expire(ctx context.Context, dl *delivery.Delivery) (time.Duration, error) {
	seen := true
	if dl.TaskID != "" {
		task, err := d.agent.Task(ctx, dl.Agent, dl.TaskID)
		seen = err == nil
		if err != nil && !agent.TaskGone(err) && d.cfg.Clock.Now().Before(dl.Deadline().Add(lateLook)) {
			return d.pollFailed(ctx, dl, err)
		}
		if err == nil && !task.State.Ended() {
			task, err = d.cancel(ctx, dl)
		}
		if err == nil && task.State.Ended() && task.State != agent.Canceled {
			if err := d.progress(ctx, dl, task); err != nil {
				return 0, err
			}
			return d.nextStep(ctx, dl)
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
	}
	own, full := overdue(dl, seen)
	return d.end(ctx, dl, delivery.Expired, own, full)
}

// cancel asks the agent to stop. One that refuses is only logged: the delivery ends all the same.
func (d *Dispatcher) cancel(ctx context.Context, dl *delivery.Delivery) (agent.Task, error) {
	task, err := d.agent.Cancel(ctx, dl.Agent, dl.TaskID, agent.Permit{Precheck: d.store.StillLeads})
	if err != nil {
		d.cfg.Log.Info("agent did not take back its task", "delivery", dl.ID, "agent", dl.Agent, "task", dl.TaskID, "error", agent.Brief(err))
	}
	return task, err
}

// overdue says what did not happen in time, and claims no more than is known: in khook's own words,
// and with the last error. Whether the task was seen at the last look, if there is one, decides what is known of it.
func overdue(dl *delivery.Delivery, seen bool) (own, full string) {
	switch {
	case dl.TaskID != "" && !seen:
		own = fmt.Sprintf("it is not known whether the agent finished within %s (spec.eventConfigurations[].timeout): its task could not be looked at", dl.Timeout)
	case dl.State == delivery.InputRequired:
		return because(fmt.Sprintf("nobody answered the agent within %s (spec.eventConfigurations[].timeout)", dl.Timeout), dl.Error)
	case dl.TaskID != "":
		own = fmt.Sprintf("the agent did not finish within %s (spec.eventConfigurations[].timeout)", dl.Timeout)
	case dl.Sent != nil:
		own = fmt.Sprintf("the agent gave no answer within %s: it is not known whether it got the message", delivery.MaxWait)
	default:
		own = fmt.Sprintf("the agent was not reached within %s", delivery.MaxWait)
	}
	if dl.Error == "" {
		return own, own
	}
	return own, own + "; last error: " + dl.Error
}
