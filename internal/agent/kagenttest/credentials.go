package kagenttest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/a2aproject/a2a-go/v2/a2a"
)

// credentials are the executions that wait for them. The SDK goes on with an execution that asks for
// credentials and takes no message for it meanwhile, so replies are handed over here.
type credentials struct {
	mu      sync.Mutex
	waiting map[a2a.TaskID]chan *a2a.Message
}

func newCredentials() *credentials {
	return &credentials{waiting: map[a2a.TaskID]chan *a2a.Message{}}
}

// expect returns where the reply to the task comes.
func (c *credentials) expect(id a2a.TaskID) <-chan *a2a.Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	reply := make(chan *a2a.Message, 1)
	c.waiting[id] = reply
	return reply
}

func (c *credentials) drop(id a2a.TaskID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, id)
}

// hand gives the reply to the task that waits for it; false if none does.
func (c *credentials) hand(m *a2a.Message) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	reply, ok := c.waiting[m.TaskID]
	if ok {
		reply <- m
		delete(c.waiting, m.TaskID)
	}
	return ok
}

// credentials asks for them, and goes on with what the script says to the answer.
func (r *scriptRun) credentials() bool {
	id := r.ec.TaskID
	reply := r.server.credentials.expect(id)
	defer r.server.credentials.drop(id)
	if !r.yield(r.status(a2a.TaskStateAuthRequired, r.act.Ask)) {
		return false
	}
	select {
	case <-r.ctx.Done():
	case <-r.server.over.Done():
	case m := <-reply:
		return r.resume(m)
	}
	return false
}

// resume goes on with a reply, which it puts into the task's history.
func (r *scriptRun) resume(msg *a2a.Message) bool {
	task, err := r.server.tasks.byOwner(r.ctx, string(r.ec.TaskID), r.ec.User.Name)
	if err != nil {
		return false
	}
	m := r.server.describe(r.ctx, r.ec, msg)
	m.Reply = true
	r.server.records.message(m)
	if task.Status.Message != nil {
		task.History = append(task.History, task.Status.Message)
	}
	task.History = append(task.History, withoutNulls(msg))
	task.Status = a2a.TaskStatus{State: a2a.TaskStateWorking}
	if !r.yield(task) {
		return false
	}
	r.act = r.server.opts.Script(m)
	r.begin()
	return false
}

// authorize answers a reply with credentials as soon as the task has it; false if the task does not
// wait for any.
func (o *once) authorize(ctx context.Context, req *a2a.SendMessageRequest) (a2a.SendMessageResult, bool, error) {
	task, err := o.GetTask(ctx, &a2a.GetTaskRequest{ID: req.Message.TaskID})
	if err == nil {
		err = o.unfit(ctx, task, req.Message)
	}
	if err != nil {
		return nil, true, err
	}
	if task.Status.State != a2a.TaskStateAuthRequired || !o.server.credentials.hand(req.Message) {
		return nil, false, nil
	}
	for {
		task, err := o.GetTask(ctx, &a2a.GetTaskRequest{ID: req.Message.TaskID})
		if err != nil || slices.ContainsFunc(task.History, func(m *a2a.Message) bool { return m.ID == req.Message.ID }) {
			return task, true, err
		}
		select {
		case <-ctx.Done():
			return nil, true, ctx.Err()
		case <-o.server.over.Done():
			return nil, true, errOver
		case <-time.After(time.Millisecond):
		}
	}
}
