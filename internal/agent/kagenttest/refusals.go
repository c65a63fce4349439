package kagenttest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/a2aproject/a2a-go/v2/a2a"
)

// garbled is what a kagent up to 0.10 says where its agent says no: it can't read its agent's own errors, and so tells none of them. To
// the client it is an internal error.
func (s *Server) garbled(ctx context.Context, what string, err error) error {
	if !s.restful(ctx) || !errors.Is(err, a2a.ErrTaskNotFound) && !errors.Is(err, a2a.ErrTaskNotCancelable) {
		return err
	}
	return errors.New(what + ": json: cannot unmarshal object into Go struct field Error.error.data of type []map[string]interface {}")
}

// GetTask implements a2asrv.RequestHandler.
func (o *once) GetTask(ctx context.Context, req *a2a.GetTaskRequest) (*a2a.Task, error) {
	task, err := o.RequestHandler.GetTask(ctx, req)
	return task, o.server.garbled(ctx, "failed to decode response", err)
}

// CancelTask implements a2asrv.RequestHandler. Of a task that has ended kagent 1.x returns the task.
func (o *once) CancelTask(ctx context.Context, req *a2a.CancelTaskRequest) (*a2a.Task, error) {
	task, err := o.GetTask(ctx, &a2a.GetTaskRequest{ID: req.ID})
	if err != nil || !o.server.restful(ctx) && task.Status.State.Terminal() {
		return task, err
	}
	task, err = o.RequestHandler.CancelTask(ctx, req)
	return task, o.server.garbled(ctx, "failed to decode response", err)
}

// SubscribeToTask implements a2asrv.RequestHandler. Of a task that has ended, or waits for a person, kagent 1.x gives the task and ends.
func (o *once) SubscribeToTask(ctx context.Context, req *a2a.SubscribeToTaskRequest) iter.Seq2[a2a.Event, error] {
	return func(yield func(a2a.Event, error) bool) {
		task, err := o.RequestHandler.GetTask(ctx, &a2a.GetTaskRequest{ID: req.ID})
		if err != nil {
			yield(nil, o.server.garbled(ctx, "failed to parse SSE data", err))
			return
		}
		if s := task.Status.State; !o.server.restful(ctx) && (s.Terminal() || s == a2a.TaskStateInputRequired || s == a2a.TaskStateAuthRequired) {
			yield(task, nil)
			return
		}
		for event, err := range o.RequestHandler.SubscribeToTask(ctx, req) {
			if !yield(event, o.server.garbled(ctx, "failed to parse SSE data", err)) {
				return
			}
		}
	}
}

// maxPage is the largest page of ListTasks that kagent 1.x gives.
const maxPage = 100

// ListTasks implements a2asrv.RequestHandler.
func (o *once) ListTasks(ctx context.Context, req *a2a.ListTasksRequest) (*a2a.ListTasksResponse, error) {
	switch {
	case o.server.restful(ctx):
		return nil, a2a.ErrUnsupportedOperation
	case req.PageSize < 0 || req.PageSize > maxPage:
		return nil, fmt.Errorf("the page size must be from 1 to %d: %w", maxPage, a2a.ErrInvalidParams)
	}
	return o.RequestHandler.ListTasks(ctx, req)
}

// unfit refuses, as kagent 1.x does, a reply that does not name each call that waits for approval once.
func (o *once) unfit(ctx context.Context, task *a2a.Task, reply *a2a.Message) error {
	asked := task.Status.Message
	if o.server.restful(ctx) || task.Status.State != a2a.TaskStateInputRequired || asked == nil {
		return nil
	}
	var request struct {
		Type  string `json:"type"`
		Tools []struct {
			ID string `json:"id"`
		} `json:"tools"`
	}
	_ = json.Unmarshal(response(asked), &request) // what is no request leaves it empty
	if request.Type != "tool_approval_request" {
		return nil
	}
	var given struct {
		Type      string `json:"type"`
		Approvals []struct {
			ID string `json:"id"`
		} `json:"approvals"`
	}
	_ = json.Unmarshal(response(reply), &given)
	var want, got []string
	for _, t := range request.Tools {
		want = append(want, t.ID)
	}
	for _, a := range given.Approvals {
		got = append(got, a.ID)
	}
	slices.Sort(want)
	slices.Sort(got)
	if given.Type != "tool_approval_response" || !slices.Equal(want, got) {
		return fmt.Errorf("reply does not match the pending input request: %w", a2a.ErrInvalidRequest)
	}
	return nil
}
