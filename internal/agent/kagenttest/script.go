package kagenttest

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"time"

	"github.com/a2aproject/a2a-go/v2/a2a"
	"github.com/a2aproject/a2a-go/v2/a2asrv"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// Script says what an agent does with a message.
type Script func(Message) Act

// Act is what an agent does with one message. The zero value completes the task at once.
type Act struct {
	Silent  bool            // nothing at all: no task, and no answer to the request
	Direct  string          // answers with this message, without a task
	Work    time.Duration   // how long it works
	Until   <-chan struct{} // it works until this is closed
	Never   bool            // it works until it is canceled
	Chunks  []string        // pieces of the artifact, each of them news on the stream
	Each    time.Duration   // the pause before each chunk
	Ask     string          // it asks this at the end, and waits; the answer is a message of its own
	Approve string          // it asks for approval of this tool at the end, as the dialect's kagent does
	Auth    bool            // what it asks for is credentials; it goes on with what the script says to the answer
	End     a2a.TaskState   // how the task ends; default completed
	Answer  string          // the artifact, unless there are chunks; the status message if the task does not complete
	Status  string          // the status message of the end, beside the artifact
	Usage   map[string]any  // token counts in the task's metadata
}

// DefaultScript completes each task at once, and repeats the message.
func DefaultScript(m Message) Act {
	return Act{Answer: "You said: " + incident.Truncate(m.Text, 1000)}
}

// executor is the side of the agents.
type executor struct{ server *Server }

// Execute implements a2asrv.AgentExecutor.
func (e *executor) Execute(ctx context.Context, ec *a2asrv.ExecutorContext) iter.Seq2[a2a.Event, error] {
	return func(yield func(a2a.Event, error) bool) {
		if !e.server.begin() {
			yield(nil, errOver)
			return
		}
		defer e.server.running.Done()
		m := e.server.received(ctx, ec)
		wanted := true
		run := &scriptRun{ctx: ctx, server: e.server, ec: ec, act: e.server.opts.Script(m), yield: func(ev a2a.Event) bool {
			wanted = yield(ev, nil)
			return wanted
		}}
		run.all()
		if wanted && e.server.over.Err() != nil {
			yield(nil, errOver) // the SDK would wait for more
		}
	}
}

// Cancel implements a2asrv.AgentExecutor.
func (e *executor) Cancel(_ context.Context, ec *a2asrv.ExecutorContext) iter.Seq2[a2a.Event, error] {
	return func(yield func(a2a.Event, error) bool) {
		if !e.server.opts.Cancels {
			yield(nil, errCantCancel)
			return
		}
		yield(a2a.NewStatusUpdateEvent(ec, a2a.TaskStateCanceled, nil), nil)
	}
}

var errCantCancel = errors.New("NotImplementedError: cancellation is not supported")

// received records the message.
func (s *Server) received(ctx context.Context, ec *a2asrv.ExecutorContext) Message {
	m := s.describe(ctx, ec, ec.Message)
	m.Reply = ec.StoredTask != nil
	s.rest.touch(ec.ContextID, ec.User.Name)
	s.records.message(m)
	return m
}

func (s *Server) describe(ctx context.Context, ec *a2asrv.ExecutorContext, msg *a2a.Message) Message {
	ref, _ := ctx.Value(refKey{}).(delivery.AgentRef)
	m := Message{
		Agent: ref, ID: msg.ID, ContextID: ec.ContextID, TaskID: string(ec.TaskID), Response: response(msg),
		User: ec.User.Name, ClientContext: msg.ContextID != "", At: time.Now(), Dialect: s.dialectOf(ctx),
	}
	for _, p := range msg.Parts {
		if p.Data() != nil {
			m.Data, _ = json.Marshal(p.Data())
			m.DataMetadata = p.Metadata
		}
		m.Text += p.Text()
	}
	return m
}

// scriptRun is one execution.
type scriptRun struct {
	ctx    context.Context //nolint:containedctx // that of the execution
	server *Server
	ec     *a2asrv.ExecutorContext
	act    Act
	yield  func(a2a.Event) bool
}

func (r *scriptRun) all() {
	switch {
	case r.act.Silent:
		r.wait(nil, 0)
		return
	case r.act.Direct != "":
		r.yield(a2a.NewMessage(a2a.MessageRoleAgent, a2a.NewTextPart(r.act.Direct)))
		return
	}
	if r.ec.StoredTask == nil && !r.yield(r.submitted()) {
		return
	}
	r.begin()
}

func (r *scriptRun) begin() {
	_ = r.yield(r.status(a2a.TaskStateWorking, "")) && r.work() && r.stream() && r.finish()
}

func (r *scriptRun) submitted() *a2a.Task {
	task := a2a.NewSubmittedTask(r.ec, withoutNulls(r.ec.Message))
	task.Metadata = map[string]any{"agent": "kagenttest"}
	if r.act.Usage != nil {
		task.Metadata["kagent_usage_metadata"] = r.act.Usage
	}
	return task
}

func (r *scriptRun) status(state a2a.TaskState, text string, more ...*a2a.Part) *a2a.TaskStatusUpdateEvent {
	var msg *a2a.Message
	if text != "" {
		more = append([]*a2a.Part{a2a.NewTextPart(text)}, more...)
	}
	if len(more) > 0 {
		msg = a2a.NewMessageForTask(a2a.MessageRoleAgent, r.ec, more...)
	}
	return a2a.NewStatusUpdateEvent(r.ec, state, msg)
}

// wait returns false if the task was canceled meanwhile. With neither limit it waits for that.
func (r *scriptRun) wait(until <-chan struct{}, d time.Duration) bool {
	var timer <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-r.ctx.Done():
		return false
	case <-r.server.over.Done():
		return false
	case <-until:
	case <-timer:
	}
	return true
}

func (r *scriptRun) work() bool {
	switch {
	case r.act.Never:
		return r.wait(nil, 0)
	case r.act.Until != nil:
		return r.wait(r.act.Until, 0)
	case r.act.Work > 0:
		return r.wait(nil, r.act.Work)
	}
	return r.ctx.Err() == nil
}

func (r *scriptRun) stream() bool {
	id := a2a.NewArtifactID()
	for i, chunk := range r.act.Chunks {
		if r.act.Each > 0 && !r.wait(nil, r.act.Each) {
			return false
		}
		event := a2a.NewArtifactUpdateEvent(r.ec, id, a2a.NewTextPart(chunk))
		event.Append, event.LastChunk = i > 0, i == len(r.act.Chunks)-1
		if !r.yield(event) {
			return false
		}
	}
	return true
}

func (r *scriptRun) finish() bool {
	switch act := r.act; {
	case act.Approve != "":
		return r.yield(r.approval(act.Approve))
	case act.Auth:
		return r.credentials()
	case act.Ask != "":
		return r.yield(r.status(a2a.TaskStateInputRequired, act.Ask))
	case act.End != "" && act.End != a2a.TaskStateCompleted:
		return r.yield(r.status(act.End, act.Answer))
	case act.Answer != "" && len(act.Chunks) == 0:
		if !r.yield(a2a.NewArtifactEvent(r.ec, a2a.NewTextPart(act.Answer))) {
			return false
		}
	}
	return r.yield(r.status(a2a.TaskStateCompleted, r.act.Status))
}
