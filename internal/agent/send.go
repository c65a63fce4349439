package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

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
	// Resend says that an earlier Send of this message may have arrived: it is looked for
	// first, where the message ID alone does not keep it from running twice.
	Resend bool
	// Dialect is the one in which the earlier message may have arrived; "" if that is not known.
	Dialect string
	// May is asked right before the message leaves; its error keeps it here, and is found in that of
	// Send. May be nil.
	Precheck func(context.Context) error
}

// Dialect returns the name of the dialect that the agent's kagent speaks, as far as was found out.
func (c *Client) Dialect(ctx context.Context, ref delivery.AgentRef) (string, error) {
	if !validRef(ref) {
		return "", &Error{Kind: KindNoAgent, NoEffect: true, Op: "look for agent " + ref.String(), Reason: "that is no name of an agent"}
	}
	p, _, err := c.peer(ctx, ref)
	if err != nil {
		return "", err
	}
	return p.dialect.name, nil
}

// Send gives the agent a message and does not wait for the end of its task. An agent that
// answers with a message instead of a task gives a completed Task without ID.
//
// A message whose answer was lost is not sent again before it is certain that it did not arrive.
// kagent 1.0 knows the message by its ID and gives back its task. Before, the context, which is
// the client's to choose, is asked for its tasks; a look that fails is an Error without effect.
// On a build of August 2026 that can't list tasks the message is refused for good: nobody can
// say any more whether it arrived. (Such a build promises nothing. If it gives the task another
// context than the one it was sent, or an agent older than 1.0 answers with a message instead of a
// task, a lost answer can't be found, and the message runs again.)
func (c *Client) Send(ctx context.Context, r Request) (Task, error) {
	msg, err := newMessage(r.MessageID, r.Prompt, r.Data)
	if err != nil {
		return Task{}, explain("call agent "+r.Agent.String(), err, true)
	}
	return c.with(ctx, r.Agent, func(ctx context.Context, p peer) (Task, error) {
		if r.Resend && !p.dialect.idempotent {
			if task, found, err := c.arrived(ctx, p, r.ContextID); err != nil || found {
				return task, explain("look for an earlier call of agent "+r.Agent.String(), err, true)
			}
		}
		if r.Resend && p.dialect.idempotent && r.Dialect != "" && !dialects[r.Dialect].idempotent {
			return Task{}, explain("call agent "+r.Agent.String(), errUpgraded, true)
		}
		out := *msg
		if !p.dialect.idempotent { // kagent 1.0 does not let the client choose
			out.ContextID = r.ContextID
			c.name(ctx, p, r.ContextID, r.Title)
		}
		task, err := c.send(withPrecheck(ctx, r.Precheck), p, &out)
		err = explain("call agent "+r.Agent.String(), err, false)
		if e := as(err); e != nil {
			e.Dialect = p.dialect.name
		}
		if e := as(err); e != nil && e.Kind == KindTaskGone { // of a message that names no task
			e.Kind, e.NoEffect = KindBadAnswer, false
		}
		return task, err
	})
}

// errUpgraded is about a kagent that knows messages by their ID, but not those that a former kagent
// got, and can't be asked for the former's contexts.
var errUpgraded = &Error{Kind: KindRefused, NoEffect: true, Reason: "the answer to an earlier call was lost, and kagent was upgraded since: nobody can say whether the agent got it, so it is not called again; look at the agent's work, then try the delivery again"}

var errNoMessage = &Error{Kind: KindRefused, NoEffect: true, Reason: "a message needs an ID and a text, and its data must be a JSON object: this is a fault of khook"}

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
			params[a2a.SvcParamExtensions] = []string{hitlExtension}
		}
		return a2aclient.NewJSONRPCTransport(c.endpoint(p), c.http), params
	}
	return a2av0.NewJSONRPCTransport(a2av0.JSONRPCTransportConfig{URL: c.endpoint(p), Client: c.http}), nil
}

// arrived finds the task of a message whose answer was lost, in its context. When there is none
// it looks once more after a while: the message may be on its way from kagent to its agent.
func (c *Client) arrived(ctx context.Context, p peer, contextID string) (Task, bool, error) {
	if contextID == "" {
		return Task{}, false, errNoContext
	}
	ids, err := c.contextTasks(ctx, p, contextID)
	if err == nil && len(ids) == 0 {
		select {
		case <-ctx.Done():
			return Task{}, false, &Error{Kind: KindUnreachable, NoEffect: true, Reason: "given up before it was certain", Err: ctx.Err()}
		case <-time.After(c.cfg.Settle):
		}
		ids, err = c.contextTasks(ctx, p, contextID)
	}
	if err != nil || len(ids) == 0 {
		return Task{}, false, err
	}
	task, err := c.task(ctx, p, ids[0])
	if isKind(explain("", err, true), KindTaskGone) {
		// It arrived, and that is what matters: its end is the follower's to find out.
		return Task{ID: ids[0], ContextID: contextID, Dialect: p.dialect.name, State: Unknown}, true, nil
	}
	return task, err == nil, err
}

var errNoContext = &Error{Kind: KindRefused, NoEffect: true, Reason: "a message can only be looked for by its context, and it has none: this is a fault of khook"}

// contextTasks returns the IDs of a context's tasks, the oldest first where kagent has an order.
func (c *Client) contextTasks(ctx context.Context, p peer, contextID string) ([]string, error) {
	if p.dialect.rest {
		return c.sessionTasks(ctx, contextID)
	}
	transport, params := c.transport(p)
	list, err := transport.ListTasks(ctx, params, &a2a.ListTasksRequest{ContextID: contextID, HistoryLength: new(0), PageSize: 100})
	if err != nil {
		var rpc *rpcError
		if errors.As(err, &rpc) && (rpc.code == codeNoMethod || rpc.code == codeUnsupported) {
			return nil, &Error{Kind: KindRefused, NoEffect: true, stale: true, Err: err, Reason: "the answer to an earlier call was lost, and this kagent can't tell whether it arrived: the agent is not called again"}
		}
		return nil, err
	}
	var ids []string
	for _, t := range slices.Backward(list.Tasks) { // the newest comes first
		if t == nil || !validID(string(t.ID)) || t.ContextID != contextID {
			return nil, &garbledError{reason: "the list of tasks has one without a usable ID, or of another context"}
		}
		ids = append(ids, string(t.ID))
	}
	return ids, nil
}
