package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/utils/clock"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/dispatch"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/ledger"
	"github.com/kagent-dev/khook/internal/store"
)

// courier carries the deliveries on as the controller does: by its dispatcher, which decides when an agent is called and whether
// it still is. Only who wakes it is another: here one step is taken after the other, in the order in which they are due, so
// that the same recording always gives the same story.
type courier struct {
	dispatcher *dispatch.Dispatcher
	waiting    []nextStep // in the order in which they are due
	ended      map[string]bool
}

// nextStep is when the next step of a delivery is due.
type nextStep struct {
	id string
	at time.Time
}

func newCourier(now clock.WithTicker, history *store.Store, book *ledger.Ledger, set *hook.Set) *courier {
	c := &courier{ended: map[string]bool{}}
	c.dispatcher = dispatch.New(dispatch.Config{
		Clock: now, Shared: book.Shared,
		Refusal: func(d *delivery.Delivery) (delivery.Skip, string) { return set.Refusal(d.Hook, d.HookUID, d.Agent) },
		Observe: func(change dispatch.Change) {
			if change.Delivery.State.Ended() {
				c.ended[change.Delivery.ID] = true
			}
		},
	}, history, promptAgents{})
	return c
}

// add takes a delivery up, of those that are due at the same time as the last one.
func (c *courier) add(id string, at time.Time) {
	i := len(c.waiting)
	for i > 0 && c.waiting[i-1].at.After(at) {
		i--
	}
	c.waiting = slices.Insert(c.waiting, i, nextStep{id, at})
}

// next is when the next step is due; false if there is none.
func (c *courier) next() (time.Time, bool) {
	if len(c.waiting) == 0 {
		return time.Time{}, false
	}
	return c.waiting[0].at, true
}

// take takes all steps that are due. What became of the incidents after an agent's end is not looked at: that says nothing
// about who is called.
func (c *courier) take(ctx context.Context, now time.Time) error {
	for len(c.waiting) > 0 && !c.waiting[0].at.After(now) {
		id := c.waiting[0].id
		c.waiting = c.waiting[1:]
		pause, err := c.dispatcher.Reconcile(ctx, id)
		if err != nil {
			return fmt.Errorf("delivery %s: %w", id, err)
		}
		if !c.ended[id] {
			c.add(id, now.Add(max(pause, time.Millisecond)))
		}
	}
	return nil
}

// close ends the dispatcher's queue, which nobody works on: Run does that at its end, and it is told to end.
func (c *courier) close(ctx context.Context) {
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_ = c.dispatcher.Run(ended)
}

// promptAgents stand for all agents: each takes its message and has finished at once. What a real one would have said and
// done is not known.
type promptAgents struct{}

var errNoTask = errors.New("the agent has no task under way")

// Peer is part of dispatch.Agent.
func (promptAgents) Peer(context.Context, delivery.AgentRef) (delivery.Peer, error) {
	return delivery.Peer{Dialect: "replay", Once: true}, nil
}

// Send is part of dispatch.Agent.
func (promptAgents) Send(_ context.Context, r agent.Request) (agent.Task, error) {
	return agent.Task{ID: r.MessageID, ContextID: r.ContextID, State: agent.Completed}, nil
}

// Look is part of dispatch.Agent.
func (promptAgents) Look(context.Context, delivery.AgentRef, agent.Permit, string) (delivery.Fate, agent.Task, error) {
	return delivery.Untold, agent.Task{}, nil
}

// Task is part of dispatch.Agent.
func (promptAgents) Task(context.Context, delivery.AgentRef, string) (agent.Task, error) {
	return agent.Task{}, errNoTask
}

// Follow is part of dispatch.Agent.
func (promptAgents) Follow(context.Context, delivery.AgentRef, string, func(agent.Task)) (agent.Task, error) {
	return agent.Task{}, errNoTask
}

// Cancel is part of dispatch.Agent.
func (promptAgents) Cancel(context.Context, delivery.AgentRef, string, agent.Permit) (agent.Task, error) {
	return agent.Task{}, errNoTask
}

// Reply is part of dispatch.Agent.
func (promptAgents) Reply(context.Context, delivery.AgentRef, agent.Task, string, json.RawMessage, string, agent.Permit) (agent.Task, error) {
	return agent.Task{}, errNoTask
}
