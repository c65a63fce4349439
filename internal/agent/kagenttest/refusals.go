package kagenttest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/a2aproject/a2a-go/v2/a2a"

	"github.com/kagent-dev/khook/internal/agent"
)

// garbled is what a kagent up to 0.10 says where its agent says no: it can't read its agent's own errors, and so tells none of them. To
// the client it is an internal error.
func (s *Server) garbled(what string, err error) error {
	if d := s.Dialect(); d != agent.Kagent05 && d != agent.Kagent097 {
		return err
	}
	if !errors.Is(err, a2a.ErrTaskNotFound) && !errors.Is(err, a2a.ErrTaskNotCancelable) {
		return err
	}
	return errors.New(what + ": json: cannot unmarshal object into Go struct field Error.error.data of type []map[string]interface {}")
}

// GetTask implements a2asrv.RequestHandler.
func (o *once) GetTask(ctx context.Context, req *a2a.GetTaskRequest) (*a2a.Task, error) {
	task, err := o.RequestHandler.GetTask(ctx, req)
	return task, o.server.garbled("failed to decode response", err)
}

// CancelTask implements a2asrv.RequestHandler.
func (o *once) CancelTask(ctx context.Context, req *a2a.CancelTaskRequest) (*a2a.Task, error) {
	task, err := o.RequestHandler.CancelTask(ctx, req)
	return task, o.server.garbled("failed to decode response", err)
}

// SubscribeToTask implements a2asrv.RequestHandler.
func (o *once) SubscribeToTask(ctx context.Context, req *a2a.SubscribeToTaskRequest) iter.Seq2[a2a.Event, error] {
	return func(yield func(a2a.Event, error) bool) {
		for event, err := range o.RequestHandler.SubscribeToTask(ctx, req) {
			if !yield(event, o.server.garbled("failed to parse SSE data", err)) {
				return
			}
		}
	}
}

// unfit refuses, as kagent 1.x does, a reply that does not name each call that waits for approval once.
func (o *once) unfit(task *a2a.Task, reply *a2a.Message) error {
	d, asked := o.server.Dialect(), task.Status.Message
	if d == agent.Kagent05 || d == agent.Kagent097 || task.Status.State != a2a.TaskStateInputRequired || asked == nil {
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
