package dispatch

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// refusal is the error for what a person wants and the delivery's state does not allow.
func refusal(format string, args ...any) error {
	return &delivery.RefusedError{Reason: fmt.Sprintf(format, args...)}
}

// Reply records a person's answer to the question of a delivery's agent, and sees to it that the agent
// gets it, once. Of r the Text, the Decision and the QuestionID count; for a text the latter may be "",
// which is the question that is open. A *delivery.RefusedError says why it can't be given.
func (d *Dispatcher) Reply(ctx context.Context, id, by string, r delivery.Reply) (*delivery.Delivery, error) {
	return d.change(ctx, id, func(dl *delivery.Delivery) (delivery.Entry, error) {
		switch {
		case dl.State != delivery.InputRequired:
			return delivery.Entry{}, refusal("the agent does not ask anything: the delivery is %s", dl.State)
		case dl.Reply != nil:
			return delivery.Entry{}, refusal("%s has answered this question already, and the answer is on its way", dl.Reply.By)
		case dl.CancelRequestedBy != "":
			return delivery.Entry{}, refusal("%s has canceled the delivery", dl.CancelRequestedBy)
		// The row that is compared is the one that is written: if the agent asks something else meanwhile, the
		// write finds another Version, and all of this is looked at again. Else a decision could meet a question
		// that nobody has read.
		case r.QuestionID != "" && r.QuestionID != dl.QuestionID:
			return delivery.Entry{}, refusal("the agent asks something else by now: read its question again")
		case r.Decision != "" && !dl.NeedsApproval:
			return delivery.Entry{}, refusal("the agent does not ask for an approval: answer with a text")
		case dl.NeedsApproval && r.Decision == "":
			return delivery.Entry{}, refusal("the agent asks for an approval: decide approve or reject")
		case r.Decision != "" && r.QuestionID == "":
			return delivery.Entry{}, refusal("a decision must name the question that it is about")
		}
		dl.Replies++
		dl.Reply = &delivery.Reply{N: dl.Replies, Text: r.Text, Decision: r.Decision, By: by, At: d.cfg.Clock.Now(), QuestionID: dl.QuestionID}
		return delivery.Entry{Kind: delivery.EntryReply, By: by, State: string(r.Decision), Text: r.Text}, nil
	})
}

// Cancel records that a person wants a delivery to end: one whose agent was not called is not sent any
// more, and of another the agent is asked to stop. A *delivery.RefusedError says why that can't be.
func (d *Dispatcher) Cancel(ctx context.Context, id, by string) (*delivery.Delivery, error) {
	return d.change(ctx, id, func(dl *delivery.Delivery) (delivery.Entry, error) {
		switch {
		case dl.State.Ended():
			return delivery.Entry{}, refusal("the delivery has ended as %s", dl.State)
		case dl.CancelRequestedBy != "":
			return delivery.Entry{}, refusal("%s has canceled it already", dl.CancelRequestedBy)
		}
		*dl = delivery.CanceledBy(*dl, by)
		return delivery.Entry{Kind: delivery.EntryPerson, By: by, Text: "canceled the delivery"}, nil
	})
}

// changeTries bounds how often a change of a person is begun anew because the delivery changed.
const changeTries = 10

// change makes a person's change of a delivery, with an entry in its log, and wakes it for its next step.
// It takes no lock against the delivery's own steps: who saves an older version than the newest loses, and
// reads again (optimistic concurrency). So do must decide by the delivery that it is given alone.
func (d *Dispatcher) change(ctx context.Context, id string, do func(*delivery.Delivery) (delivery.Entry, error)) (*delivery.Delivery, error) {
	for range changeTries {
		dl, err := d.store.Delivery(ctx, id)
		if err != nil {
			return nil, err
		}
		entry, err := do(dl)
		if err != nil {
			return nil, err
		}
		err = d.write(ctx, dl, func(tx *store.Tx) error { return tx.Fulfil(ctx) }, nil, entry)
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		if err != nil {
			return nil, err
		}
		d.queue.Add(id)
		return dl, nil
	}
	return nil, fmt.Errorf("delivery %s: %w", id, store.ErrConflict)
}

// Retry creates a delivery that asks the same again, about the same incidents, and says so. Each
// delivery can be tried again once; then its repetition can. A *delivery.RefusedError says why it can't.
func (d *Dispatcher) Retry(ctx context.Context, id, by string) (*delivery.Delivery, error) {
	var again *delivery.Delivery
	err := d.store.Write(ctx, func(tx *store.Tx) error {
		if err := tx.Fulfil(ctx); err != nil {
			return err
		}
		old, err := tx.Delivery(ctx, id)
		if err != nil {
			return err
		}
		if d.cfg.Paused != nil { // it would wait without a word
			if p, paused := d.cfg.Paused(old.Hook); paused {
				return refusal("%s: resume them first", p.Why())
			}
		}
		again = repetition(old, by, d.cfg.Clock.Now())
		return d.repeat(ctx, tx, old, again, delivery.ForRetry)
	})
	if err != nil {
		return nil, err
	}
	d.repeated(again)
	return again, nil
}

// repeat records a repetition, with what both logs say of it.
func (d *Dispatcher) repeat(ctx context.Context, tx *store.Tx, old, again *delivery.Delivery, madeFor delivery.MadeFor) error {
	if err := d.mayRetry(ctx, tx, old, again); err != nil {
		return err
	}
	group, err := tx.GroupState(ctx, old.Key())
	if err != nil {
		return err
	}
	groups := takeHeld(group, old, again)
	by, now := again.RequestedBy, again.CreatedAt
	told := []delivery.Entry{
		{DeliveryID: old.ID, At: now, Kind: delivery.EntryPerson, By: by, Text: "wanted it again, as delivery " + again.ID},
		{DeliveryID: again.ID, At: now, Kind: delivery.EntryPerson, By: by, Text: "wanted delivery " + old.ID + " again"},
	}
	if madeFor == delivery.ForStall {
		told[0].Text, told[1].Text = "calls again, as delivery "+again.ID+": the task had stalled (onStall: retry)", "calls again after delivery "+old.ID+", whose task had stalled (onStall: retry)"
	}
	decided := []delivery.Decision{{
		MadeFor: madeFor, EventType: again.EventType, IncidentID: again.IncidentID, Hook: again.Hook, HookUID: again.HookUID, Config: again.Config,
		Disposition: delivery.Delivered, DeliveryID: again.ID, At: now,
	}}
	if err := tx.Save(ctx, &store.Changes{Deliveries: []*delivery.Delivery{again}, Decisions: decided, Groups: groups, Entries: told}); err != nil {
		return err
	}
	return tx.CopyCovers(ctx, old.ID, again.ID)
}

// takeHeld lets a repetition tell what was held back: before the call that it repeats, and since. What holds further calls back stays.
func takeHeld(group *delivery.GroupState, old, again *delivery.Delivery) []*delivery.GroupState {
	var held delivery.HeldBack
	if old.HeldBack != nil {
		held.Absorb(old.HeldBack)
	}
	held.Absorb(&group.Held)
	if held.Events() > 0 {
		again.HeldBack = &held
	}
	if group.Held.Events() == 0 {
		return nil
	}
	group.Held = delivery.HeldBack{}
	return []*delivery.GroupState{group}
}

// repeated tells of a repetition that was committed, and takes its first step.
func (d *Dispatcher) repeated(again *delivery.Delivery) {
	told := *again
	d.cfg.Observe(Change{Delivery: &told})
	d.queue.Add(again.ID)
}

// RepetitionID is that of the delivery that tries another one again.
func RepetitionID(of string) string { return incident.DeriveID("retry", of) }

// repetition is the delivery that asks the same as old again.
func repetition(old *delivery.Delivery, by string, now time.Time) *delivery.Delivery {
	return &delivery.Delivery{
		ID: RepetitionID(old.ID), Cluster: old.Cluster, State: delivery.Pending,
		Hook: old.Hook, HookUID: old.HookUID, Config: old.Config, EventType: old.EventType, Group: old.Group, Workload: old.Workload, Agent: old.Agent,
		IncidentID: old.IncidentID, Prompt: old.Prompt, Timeout: old.Timeout, VerifyWindow: old.VerifyWindow, StallAfter: old.StallAfter, OnStall: old.OnStall,
		EvenIfRecovered: true, RetryOf: old.ID, RequestedBy: by, CreatedAt: now, NextAt: now,
	}
}

// mayRetry refuses what would put two agents to work on the same group. It looks in the transaction that
// creates the repetition: two people who want it at the same moment get one.
func (d *Dispatcher) mayRetry(ctx context.Context, tx *store.Tx, old, again *delivery.Delivery) error {
	if !old.State.Ended() {
		return refusal("the delivery is %s: cancel it first, or wait for its end", old.State)
	}
	if _, err := tx.Delivery(ctx, again.ID); err == nil {
		return refusal("it was tried again already, as delivery %s", again.ID)
	} else if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	past, err := tx.GroupDeliveries(ctx, old.Key(), 1)
	if err != nil {
		return err
	}
	if len(past) > 0 && !past[0].State.Ended() {
		return refusal("delivery %s about %s is %s: wait for its end", past[0].ID, old.Group, past[0].State)
	}
	if d.cfg.Refusal != nil {
		if skip, why := d.cfg.Refusal(again); skip != "" {
			return refusal("%s", why)
		}
	}
	return nil
}

// cancelCall asks the agent to stop, because a person wants it so, or the Hook does of a stalled task. One that does not, or can't, is asked a few times; meanwhile and
// afterwards its task is followed. That it is asked is recorded before: a khook that is killed each time must not ask for ever.
func (d *Dispatcher) cancelCall(ctx context.Context, dl *delivery.Delivery) (time.Duration, error) {
	if dl.CancelTries > 0 { // the first request may have had its effect
		if task, err := d.agent.Task(ctx, dl.Agent, dl.TaskID); err == nil && task.State.Ended() {
			return d.canceled(ctx, dl, task, "the agent's task has ended")
		}
	}
	row := delivery.Canceling(*dl, d.cfg.Clock.Now())
	if err := d.save(ctx, &row, Change{From: dl.State}); err != nil {
		return 0, err
	}
	check := d.precheck(&row, row.CancelAt)
	task, err := d.agent.Cancel(ctx, row.Agent, row.TaskID, agent.Permit{Precheck: check.may})
	switch {
	case err == nil:
		return d.canceled(ctx, &row, task, "the agent was told to stop")
	case check.err != nil:
		return 0, check.err
	case ctx.Err() != nil:
		return 0, ctx.Err()
	}
	next, again := delivery.CancelFailed(row, agent.Fault(err), d.cfg.Clock.Now())
	if again {
		return d.pollFailed(ctx, &next, err)
	}
	entry := delivery.Entry{Kind: delivery.EntryPerson, By: cmp.Or(row.CancelRequestedBy, itself), Text: "the agent can't be stopped: " + agent.Explain(err)}
	if err := d.save(ctx, &next, Change{From: next.State}, entry); err != nil {
		return 0, err
	}
	return d.follow(ctx, &next)
}

// canceled records what became of the task that was to end. The agent is told once.
func (d *Dispatcher) canceled(ctx context.Context, dl *delivery.Delivery, task agent.Task, what string) (time.Duration, error) {
	entry := delivery.Entry{Kind: delivery.EntryPerson, By: cmp.Or(dl.CancelRequestedBy, itself), Text: what}
	*dl = delivery.AskedToStop(*dl, d.cfg.Clock.Now())
	if err := d.progress(context.WithoutCancel(ctx), dl, task, entry); err != nil {
		return 0, err
	}
	return d.nextStep(ctx, dl)
}

// answer brings a person's reply to the agent, as delivery.DecideReply says. That it is sent is recorded before the first byte leaves:
// without it a step after a crash would take a reply that arrived for one that was never sent, and say so.
func (d *Dispatcher) answer(ctx context.Context, dl *delivery.Delivery, task agent.Task) (time.Duration, error) {
	peer, err := d.agent.Peer(ctx, dl.Agent)
	if err != nil {
		return d.pollFailed(ctx, dl, err)
	}
	seen := delivery.Asked{
		Limits: d.limits(), Heard: task.Heard(dl.ReplyID()), Peer: peer,
		Asks: task.State.Interrupted() && task.QuestionID == dl.Reply.QuestionID,
	}
	row, step := delivery.DecideReply(*dl, seen, d.cfg.Clock.Now())
	switch step {
	case delivery.ReplySend:
		if !d.acquire(dl) { // its agent works on as much as it may; meanwhile the question is looked at as before
			return d.pollPause(dl), nil
		}
		return d.sendReply(ctx, &row)
	case delivery.ReplyWait:
		return d.pollPause(&row), d.save(ctx, &row, Change{From: row.State})
	}
	return d.answered(ctx, &row, task, map[delivery.ReplyStep]string{
		delivery.ReplyHas:     "the agent has the reply",
		delivery.ReplyMoved:   "the agent does not ask that any more: it has the reply, or somebody else's",
		delivery.ReplyUnasked: "the reply was not sent: the agent does not ask that any more",
		delivery.ReplyAgain:   "it is not known whether the agent got the reply, and it still asks: read its question, and answer again",
	}[step])
}

// sendReply announces a reply, and sends it.
func (d *Dispatcher) sendReply(ctx context.Context, dl *delivery.Delivery) (time.Duration, error) {
	data, err := decision(dl.Reply.Decision)
	if err != nil {
		return 0, err
	}
	if err := d.save(ctx, dl, Change{From: dl.State}); err != nil {
		return 0, err
	}
	sending, cancel := d.withGrace(ctx)
	defer cancel()
	r, check := dl.Reply, d.precheck(dl, dl.Reply.Sent.At)
	to := agent.Task{ID: dl.TaskID, ContextID: dl.ContextID, QuestionID: r.QuestionID}
	task, err := d.agent.Reply(sending, dl.Agent, to, r.Text, data, dl.ReplyID(), agent.Permit{Dialect: r.Sent.Dialect, User: r.Sent.User, Precheck: check.may})
	switch {
	case err == nil:
		return d.answered(ctx, dl, task, "the agent has the reply")
	case check.err != nil:
		return 0, check.err
	case sending.Err() != nil:
		return 0, sending.Err()
	case agent.Final(err) && !r.Sent.Again:
		by := dl.Reply.By
		dl.Reply = nil
		refused := delivery.Entry{Kind: delivery.EntryPerson, By: by, Text: "the agent refused the reply: " + agent.Explain(err)}
		return d.pollPause(dl), d.save(ctx, dl, Change{From: dl.State}, refused)
	}
	row := delivery.ReplyFailed(*dl, agent.Fault(err), agent.NoEffect(err))
	if err := d.save(ctx, &row, Change{From: row.State}); err != nil {
		return 0, err
	}
	return d.pollFailed(ctx, &row, err)
}

// answered records that a reply is no longer on its way.
func (d *Dispatcher) answered(ctx context.Context, dl *delivery.Delivery, task agent.Task, what string) (time.Duration, error) {
	entry := delivery.Entry{Kind: delivery.EntryPerson, By: dl.Reply.By, Text: what}
	dl.Reply = nil
	if err := d.progress(context.WithoutCancel(ctx), dl, task, entry); err != nil {
		return 0, err
	}
	return d.nextStep(ctx, dl)
}

// decision is how kagent is told a verdict.
func decision(v delivery.Verdict) (json.RawMessage, error) {
	if v == "" {
		return nil, nil
	}
	return json.Marshal(map[string]delivery.Verdict{"decision_type": v})
}
