package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/a2aproject/a2a-go/v2/a2a"
	"github.com/a2aproject/a2a-go/v2/a2aclient"
	"github.com/a2aproject/a2a-go/v2/a2acompat/a2av0"

	"github.com/kagent-dev/khook/internal/delivery"
)

// Request is a message that begins a task.
type Request struct {
	Agent delivery.AgentRef
	// MessageID and ContextID are derived from the delivery: the same at each attempt.
	MessageID, ContextID string
	Title                string          // readable name of the session; optional
	Prompt               string          // the text part
	Data                 json.RawMessage // a JSON object beside it, marked as untrusted; optional
	Permit
}

// Permit is under what a message may leave, or be looked for.
type Permit struct {
	// Dialect is the one that the message must leave in; "" for the one that kagent speaks. If kagent speaks another one meanwhile
	// the message stays here, and the Error says that it had no effect.
	Dialect string
	// User is the one of kagent that the message must leave as, as in delivery.Peer; "" for any. If khook is another one meanwhile, by
	// another token, the message stays here in the same way: kagent would take it for a new one.
	User string
	// Precheck is asked right before the message leaves; its error keeps it here, and is found in that of
	// the call. May be nil.
	Precheck func(context.Context) error
}

// Send gives the agent a message and does not wait for the end of its task. An agent that
// answers with a message instead of a task gives a completed Task without ID.
//
// The session of a kagent before 1.0 is not named before the message leaves, but after: so that a session which does not exist says that
// the message did not arrive. Only its title is lost with a lost answer.
func (c *Client) Send(ctx context.Context, r Request) (Task, error) {
	op := "call agent " + r.Agent.String()
	msg, err := newMessage(r.MessageID, r.Prompt, r.Data)
	if err != nil {
		return Task{}, explain(op, err, true)
	}
	return c.within(ctx, r.Agent, r.Dialect, func(ctx context.Context, p peer) (Task, error) {
		out := *msg
		if !p.dialect.idempotent { // kagent 1.0 does not let the client choose
			out.ContextID = r.ContextID
		}
		task, err := c.send(withPermit(ctx, r.Permit), p, &out)
		err = explain(op, err, false)
		if e := as(err); e != nil && e.Kind == delivery.TaskGone { // of a message that names no task
			e.Kind, e.NoEffect = delivery.BadAnswer, false
		}
		if err == nil && !p.dialect.idempotent {
			c.name(ctx, p, r.ContextID, r.Title)
		}
		return task, err
	})
}

var errNoMessage = &Error{Kind: delivery.Refused, NoEffect: true, Reason: "a message needs an ID and a text, and its data must be a JSON object: this is a fault of khook"}

func newMessage(id, prompt string, data json.RawMessage) (*a2a.Message, error) {
	object, err := decode(data)
	if err != nil || id == "" || prompt == "" && object == nil {
		return nil, errNoMessage
	}
	msg := &a2a.Message{ID: id, Role: a2a.MessageRoleUser, Parts: newParts(prompt, object)}
	for _, p := range msg.Parts {
		if p.Data() != nil {
			p.Metadata = untrusted()
		}
	}
	return msg, nil
}

// decode reads a JSON object, which is all that A2A 0.3 knows as data; nil if there is none.
func decode(data json.RawMessage) (map[string]any, error) {
	if len(data) == 0 {
		return nil, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var object map[string]any
	if decoder.Decode(&object) != nil || object == nil || decoder.More() {
		return nil, errNoMessage
	}
	return object, nil
}

// newParts are those of a message: a text, data beside it, or both.
func newParts(text string, data map[string]any) a2a.ContentParts {
	var all a2a.ContentParts
	if text != "" {
		all = append(all, a2a.NewTextPart(text))
	}
	if data != nil {
		part := a2a.NewDataPart(data)
		part.MediaType = "application/json"
		all = append(all, part)
	}
	return all
}

func (c *Client) send(ctx context.Context, p peer, msg *a2a.Message) (Task, error) {
	transport, params := c.transport(p)
	result, err := transport.SendMessage(ctx, params, &a2a.SendMessageRequest{
		Message: msg,
		Config:  &a2a.SendMessageConfig{ReturnImmediately: true, HistoryLength: new(shortHistory)},
	})
	if err != nil {
		return Task{}, err
	}
	switch got := result.(type) {
	case *a2a.Task:
		return convert(got, p.dialect.name, shortHistory)
	case *a2a.Message:
		return fromMessage(got, p.dialect.name), nil
	}
	return Task{}, &garbledError{reason: "the answer is neither a task nor a message"}
}

// transport returns the SDK's side of the wire that the dialect speaks.
func (c *Client) transport(p peer) (a2aclient.Transport, a2aclient.ServiceParams) {
	if p.dialect.v1 {
		params := a2aclient.ServiceParams{a2a.SvcParamVersion: {string(a2a.Version)}}
		if p.dialect.hitl {
			params[a2a.SvcParamExtensions] = []string{hitlExtension, usageExtension}
		}
		return a2aclient.NewJSONRPCTransport(c.endpoint(p), c.http), params
	}
	return a2av0.NewJSONRPCTransport(a2av0.JSONRPCTransportConfig{URL: c.endpoint(p), Client: c.http}), nil
}

// Look asks kagent once what became of a message whose answer was lost, by the context that it was sent with, in the dialect that kagent
// is known to speak now, and as the user that khook is known to be: another one would not find it. A session that does not exist is Missing, one without tasks Unclear: its agent had the message, or its session
// was named before it was sent. A kagent that can't tell is Untold, and one that could not be asked an error.
func (c *Client) Look(ctx context.Context, ref delivery.AgentRef, may Permit, contextID string) (delivery.Fate, Task, error) {
	var fate delivery.Fate
	op := "look for an earlier call of agent " + ref.String()
	task, err := c.within(ctx, ref, may.Dialect, func(ctx context.Context, p peer) (Task, error) {
		ctx = withPermit(ctx, may)
		if contextID == "" || p.dialect.idempotent {
			fate = delivery.Untold
			return Task{}, nil
		}
		ids, found, err := c.contextTasks(ctx, p, contextID)
		if fate = found; err != nil || len(ids) == 0 {
			return Task{}, explain(op, err, true)
		}
		fate = delivery.Arrived
		task, err := c.task(ctx, p, ids[0])
		if err != nil { // it arrived, and that is what matters: its end is the follower's to find out
			return Task{ID: ids[0], ContextID: contextID, Dialect: p.dialect.name, State: Unknown}, nil //nolint:nilerr // as said
		}
		return task, nil
	})
	return fate, task, err
}

// contextTasks returns the IDs of a context's tasks, the oldest first where kagent has an order, and what it means if there is none.
func (c *Client) contextTasks(ctx context.Context, p peer, contextID string) ([]string, delivery.Fate, error) {
	if p.dialect.rest {
		return c.sessionTasks(ctx, contextID)
	}
	transport, params := c.transport(p)
	list, err := transport.ListTasks(ctx, params, &a2a.ListTasksRequest{ContextID: contextID, HistoryLength: new(0), PageSize: 100})
	if err != nil {
		var rpc *rpcError
		if errors.As(err, &rpc) && (rpc.code == codeNoMethod || rpc.code == codeUnsupported) {
			return nil, delivery.Untold, nil
		}
		return nil, "", err
	}
	var ids []string
	for _, t := range slices.Backward(list.Tasks) { // the newest comes first
		if t == nil || !validID(string(t.ID)) || t.ContextID != contextID {
			return nil, "", &garbledError{reason: "the list of tasks has one without a usable ID, or of another context"}
		}
		ids = append(ids, string(t.ID))
	}
	return ids, delivery.Missing, nil
}
