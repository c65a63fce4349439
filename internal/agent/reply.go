package agent

import (
	"context"
	"encoding/json"

	"github.com/a2aproject/a2a-go/v2/a2a"

	"github.com/kagent-dev/khook/internal/delivery"
)

// Reply answers what an interrupted task asks: with a text, with data, or with both. Of task it
// needs the ID; with a QuestionID it answers that question only. Where the task wants an approval
// data is the decision, {"decision_type":"approve"} or "reject", and a text the reason; it is put
// as the agent's kagent wants it.
//
// It looks at the task first. A reply that the agent has already is not sent again: the task is
// returned as it is now. One to a task that asks nothing, or something else, is an Error of kind
// delivery.Refused, because a decision must never meet a question that nobody saw. After a lost answer the task tells
// whether it arrived, see Task.Heard, once the request can't be under way any more.
func (c *Client) Reply(ctx context.Context, ref delivery.AgentRef, task Task, text string, data json.RawMessage, messageID string, may Permit) (Task, error) {
	op := "answer agent " + ref.String() + " in task " + task.ID
	if _, err := newMessage(messageID, text, data); err != nil {
		return Task{}, explain(op, err, true)
	}
	return c.within(ctx, ref, may.Dialect, func(ctx context.Context, p peer) (Task, error) {
		now, err := c.task(ctx, p, task.ID)
		if err == nil && !now.Heard(messageID) {
			err = now.checkOpen(task.QuestionID)
		}
		if err != nil || now.Heard(messageID) {
			return now, explain(op, err, true)
		}
		object, err := decode(data)
		if err != nil {
			return Task{}, explain(op, err, true)
		}
		msg := &a2a.Message{ID: messageID, Role: a2a.MessageRoleUser, TaskID: a2a.TaskID(task.ID), ContextID: now.ContextID}
		now.asks.answer(msg, text, object, p.dialect.hitl)
		next, err := c.send(withPermit(ctx, may), p, msg)
		return next, explain(op, err, false)
	})
}

// checkOpen returns nil if the task asks the question; "" is any.
func (t Task) checkOpen(questionID string) error {
	if !t.State.Interrupted() {
		return &Error{Kind: delivery.Refused, NoEffect: true, Reason: "the agent does not ask anything any more: the task is " + string(t.State)}
	}
	if questionID != "" && t.QuestionID != questionID {
		return &Error{Kind: delivery.Refused, NoEffect: true, Reason: "the agent asks something else by now: read its question again"}
	}
	return nil
}
