package agent

import (
	"context"
	"errors"
	"math"
	"net/http"

	"github.com/a2aproject/a2a-go/v2/a2a"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// Task looks at a task.
func (c *Client) Task(ctx context.Context, ref delivery.AgentRef, taskID string) (Task, error) {
	return c.with(ctx, ref, func(ctx context.Context, p peer) (Task, error) {
		task, err := c.task(ctx, p, taskID)
		return task, explain("look at task "+taskID+" of agent "+ref.String(), err, true)
	})
}

// How many messages of a task's history are asked for: one more than are kept, to know of it, and
// where they are too large, or do not matter, enough to find the agent's last.
const (
	maxHistory   = MaxEntries + 1
	shortHistory = 10
)

// task asks the agent, and where it does not know the task kagent's own store. A history that makes
// the answer too large must not hide how the task does.
func (c *Client) task(ctx context.Context, p peer, taskID string) (Task, error) {
	task, err := c.taskWith(ctx, p, taskID, maxHistory)
	var garbled *garbledError
	if errors.As(err, &garbled) && garbled.large || holdOf(ctx).dropped().history { // what was left out is the newest
		return c.taskWith(ctx, p, taskID, shortHistory)
	}
	var rpc *rpcError
	if errors.As(err, &rpc) && p.dialect.rest && (rpc.code == codeTaskNotFound || internal(rpc.message) == delivery.Unreadable) {
		if stored, restErr := c.restTask(ctx, p, taskID); restErr == nil {
			return stored, nil
		} else if missing(restErr) {
			return task, &Error{Kind: delivery.TaskGone, NoEffect: true, Reason: "kagent does not know the task: " + rpc.Error(), Err: rpc}
		}
	}
	return task, err
}

// missing says whether kagent's own store answers that it does not have what was asked for.
func missing(err error) bool {
	var status *statusError
	return errors.As(err, &status) && status.code == http.StatusNotFound && status.failure != ""
}

func (c *Client) taskWith(ctx context.Context, p peer, taskID string, history int) (Task, error) {
	transport, params := c.transport(p)
	got, err := transport.GetTask(ctx, params, &a2a.GetTaskRequest{ID: a2a.TaskID(taskID), HistoryLength: &history})
	if err != nil {
		return Task{}, err
	}
	if string(got.ID) != taskID {
		return Task{}, &garbledError{reason: "the answer is about another task"}
	}
	task, err := convert(got, p.dialect.name, history)
	lacks := holdOf(ctx).dropped()
	task.MoreEntries = task.MoreEntries || lacks.elements
	if lacks.answer && task.Answer != "" {
		task.Answer = incident.Truncate(task.Answer+"\n"+incident.Ellipsis, delivery.MaxAnswer)
	}
	return task, err
}

// Cancel asks the agent to stop. A task that has ended meanwhile is returned as it ended.
func (c *Client) Cancel(ctx context.Context, ref delivery.AgentRef, taskID string, may Permit) (Task, error) {
	op := "cancel task " + taskID + " of agent " + ref.String()
	return c.within(ctx, ref, may.Dialect, func(ctx context.Context, p peer) (Task, error) {
		transport, params := c.transport(p)
		got, err := transport.CancelTask(withPermit(ctx, may), params, &a2a.CancelTaskRequest{ID: a2a.TaskID(taskID)})
		var rpc *rpcError
		// Up to 0.10 kagent can't read what its agent says of a task that has ended or is not known.
		if errors.As(err, &rpc) && (rpc.code == codeNotCancelable || internal(rpc.message) == delivery.Unreadable) {
			task, lookErr := c.task(ctx, p, taskID)
			switch {
			case lookErr == nil && task.State.Ended():
				return task, nil
			case isKind(lookErr, delivery.TaskGone):
				err = lookErr
			}
		}
		if err != nil {
			return Task{}, explain(op, err, false)
		}
		if string(got.ID) != taskID {
			return Task{}, explain(op, &garbledError{reason: "the answer is about another task"}, false)
		}
		task, err := convert(got, p.dialect.name, math.MaxInt) // no length can be asked for
		return task, explain(op, err, false)
	})
}

// Follow reads the task's stream, and calls update at each news, with the state and at most a
// part of the answer. Entries and Heard are those of the subscription's start; call Task for current ones.
// It returns the whole task when it has ended or waits for a person, and an error when the stream breaks, or
// ErrNoStream: then the caller goes back to polling. It takes as long as the task does; ctx ends it.
func (c *Client) Follow(ctx context.Context, ref delivery.AgentRef, taskID string, update func(Task)) (Task, error) {
	op := "follow task " + taskID + " of agent " + ref.String()
	return c.with(ctx, ref, func(ctx context.Context, p peer) (Task, error) {
		p, err := c.withCard(ctx, p)
		if err != nil {
			return Task{}, err
		}
		if !p.streaming {
			return Task{}, ErrNoStream
		}
		task, err := c.task(ctx, p, taskID) // subscribing to a task that has ended is an error
		if err == nil && !settled(task) {
			update(task)
			streamErr := c.stream(ctx, p, task, update)
			if task, err = c.task(ctx, p, taskID); err == nil && !settled(task) {
				err = streamErr
			}
		}
		return task, explain(op, err, true)
	})
}

func settled(t Task) bool { return t.State.Ended() || t.State.Interrupted() }

// withCard makes sure that the agent's card was read.
func (c *Client) withCard(ctx context.Context, p peer) (peer, error) {
	if p.carded {
		return p, nil
	}
	return c.detect(ctx, p.ref)
}

var errStreamEnded = &garbledError{reason: "the stream ended before the task did"}

// stream reads events until one settles the task, and returns why it stopped otherwise.
func (c *Client) stream(ctx context.Context, p peer, task Task, update func(Task)) error {
	transport, params := c.transport(p)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for event, err := range transport.SubscribeToTask(ctx, params, &a2a.SubscribeToTaskRequest{ID: a2a.TaskID(task.ID)}) {
		if err != nil {
			return err
		}
		next, news := apply(task, event)
		if !news {
			continue
		}
		if task = next; settled(task) {
			return nil
		}
		update(task)
	}
	return errStreamEnded
}

// apply returns the task after the event, and whether it is news about this task.
func apply(task Task, event a2a.Event) (Task, bool) {
	switch e := event.(type) {
	case *a2a.Task:
		if e == nil || string(e.ID) != task.ID {
			return task, false
		}
		next, err := convert(e, task.Dialect, math.MaxInt)
		return next, err == nil
	case *a2a.TaskStatusUpdateEvent:
		if e == nil || string(e.TaskID) != task.ID {
			return task, false
		}
		task.State = stateOf(e.Status.State)
		if m := e.Status.Message; m != nil {
			task.Answer = textOf(m.Parts)
		}
		return task.asking(e.Status.Message), true
	case *a2a.TaskArtifactUpdateEvent:
		return task, e != nil && string(e.TaskID) == task.ID
	}
	return task, false
}
