package kagenttest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/a2aproject/a2a-go/v2/a2a"
	"github.com/a2aproject/a2a-go/v2/a2asrv"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/delivery"
)

// once is what kagent 1.0 puts before its agents: the first message of a task runs once for each
// user, agent and message ID, and its context is not the client's to choose.
type once struct {
	a2asrv.RequestHandler
	server *Server

	mu    sync.Mutex
	byKey map[string]*firstOnly
	order []string
}

// firstOnly is the first message with its key.
type firstOnly struct {
	said   []byte // the message
	done   chan struct{}
	result a2a.SendMessageResult
	err    error
}

func newOnce(s *Server, h a2asrv.RequestHandler) *once {
	return &once{RequestHandler: h, server: s, byKey: map[string]*firstOnly{}}
}

// SendMessage implements a2asrv.RequestHandler.
func (o *once) SendMessage(ctx context.Context, req *a2a.SendMessageRequest) (a2a.SendMessageResult, error) {
	if req.Message != nil && req.Message.TaskID != "" {
		return o.reply(ctx, req)
	}
	if o.server.dialectOf(ctx) != agent.Kagent10 || req.Message == nil {
		return o.RequestHandler.SendMessage(ctx, req)
	}
	if req.Message.ContextID != "" {
		return nil, fmt.Errorf("the context of a first message is not the client's to choose: %w", a2a.ErrInvalidParams)
	}
	said, err := json.Marshal(req.Message)
	if err != nil {
		return nil, a2a.ErrInvalidParams
	}
	f, mine := o.claim(ctx, req.Message.ID, said)
	switch {
	case !bytes.Equal(f.said, said):
		return nil, fmt.Errorf("message ID was already used with a different request: %w", a2a.ErrInvalidRequest)
	case !mine:
		return o.again(ctx, f)
	}
	run := func() { // to its end, even if the client gives up
		defer close(f.done)
		f.result, f.err = o.RequestHandler.SendMessage(context.WithoutCancel(ctx), req)
	}
	if !o.server.spawn(run) {
		return nil, errOver
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-f.done:
		return f.result, f.err
	}
}

// reply waits for the SDK, which shows a question a moment before it takes the answer.
func (o *once) reply(ctx context.Context, req *a2a.SendMessageRequest) (a2a.SendMessageResult, error) {
	for range 200 {
		if result, ok, err := o.authorize(ctx, req); ok {
			return result, err
		}
		result, err := o.RequestHandler.SendMessage(ctx, req)
		if err == nil || !strings.Contains(err.Error(), "already in progress") {
			return result, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil, a2a.ErrUnsupportedOperation
}

// claim returns the first message with the ID, and whether it is this one.
func (o *once) claim(ctx context.Context, messageID string, said []byte) (*firstOnly, bool) {
	ref, _ := ctx.Value(refKey{}).(delivery.AgentRef)
	key := callerOf(ctx) + " " + ref.String() + " " + messageID
	o.mu.Lock()
	defer o.mu.Unlock()
	if f := o.byKey[key]; f != nil {
		return f, false
	}
	if len(o.order) >= o.server.opts.MaxRecords {
		delete(o.byKey, o.order[0])
		o.order = o.order[1:]
	}
	f := &firstOnly{said: said, done: make(chan struct{})}
	o.byKey[key] = f
	o.order = append(o.order, key)
	return f, true
}

// again answers a repeated message with the task of the first.
func (o *once) again(ctx context.Context, f *firstOnly) (a2a.SendMessageResult, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-f.done:
	}
	if task, ok := f.result.(*a2a.Task); ok && f.err == nil {
		return o.GetTask(ctx, &a2a.GetTaskRequest{ID: task.ID})
	}
	return f.result, f.err
}
