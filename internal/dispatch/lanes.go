package dispatch

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/delivery"
)

// stepsPerAgent is how many steps are under way at the same time for deliveries of one agent, at most; fewer where there is little memory.
const stepsPerAgent = 4

// lanes bound how many steps are taken at the same time for deliveries of one agent, so that an agent that hangs keeps only its own
// deliveries waiting. Within an agent the order stays: who has to wait is taken first come, first served, by the step that ends.
type lanes struct {
	limit int

	mu   sync.Mutex
	busy map[delivery.AgentRef]int
	line map[delivery.AgentRef][]string
	of   map[string]delivery.AgentRef // of deliveries under way; an agent never changes
}

func newLanes(limit int) *lanes {
	return &lanes{limit: max(1, limit), busy: map[delivery.AgentRef]int{}, line: map[delivery.AgentRef][]string{}, of: map[string]delivery.AgentRef{}}
}

// enter lets a step begin, or puts the delivery into its agent's line; leave hands it out.
func (l *lanes) enter(a delivery.AgentRef, id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.busy[a] >= l.limit {
		l.line[a] = append(l.line[a], id)
		return false
	}
	l.busy[a]++
	return true
}

// leave ends a step. Another delivery of the agent that waits takes its place.
func (l *lanes) leave(a delivery.AgentRef) (next string, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if line := l.line[a]; len(line) > 0 {
		next, l.line[a] = line[0], line[1:]
		return next, true
	}
	delete(l.line, a)
	if l.busy[a]--; l.busy[a] == 0 {
		delete(l.busy, a)
	}
	return "", false
}

// know remembers the agent of a delivery, forget drops it.
func (l *lanes) know(id string, a delivery.AgentRef) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.of[id] = a
}

func (l *lanes) forget(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.of, id)
}

func (l *lanes) agent(id string) (delivery.AgentRef, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, ok := l.of[id]
	return a, ok
}

// agentOf is the agent of a delivery; of one that can't be read it is none, which has a lane too.
func (d *Dispatcher) agentOf(ctx context.Context, id string) delivery.AgentRef {
	a, ok := d.lanes.agent(id)
	if ok {
		return a
	}
	dl, err := d.store.Delivery(ctx, id)
	if err != nil {
		return delivery.AgentRef{}
	}
	if !dl.State.Ended() {
		d.lanes.know(id, dl.Agent)
	}
	return dl.Agent
}

// work begins steps until the queue is shut down, in the order of the queue. What waits in a lane is not done for the queue, which hands
// out no delivery twice. Agents share nothing here but the bound on steps under way, which is one on memory.
func (d *Dispatcher) work(ctx context.Context) {
	var steps sync.WaitGroup
	defer steps.Wait()
	for {
		id, stop := d.queue.Get()
		if stop {
			return
		}
		if a, ok := ofTurn(id); ok {
			d.tryOne(a)
			d.queue.Done(id)
			continue
		}
		a := d.agentOf(ctx, id)
		if !d.lanes.enter(a, id) {
			continue
		}
		d.underWay <- struct{}{}
		steps.Go(func() {
			defer func() { <-d.underWay }()
			for ok := true; ok; id, ok = d.lanes.leave(a) {
				d.workers.enter()
				d.step(context.WithValue(ctx, inside{}, true), id)
				d.workers.leave()
				d.queue.Done(id)
			}
		})
	}
}

// room bounds how many steps do their own work at the same time: read rows, render, write.
type room chan struct{}

func (r room) enter() { r <- struct{}{} }
func (r room) leave() { <-r }

// outside makes room for other steps while one waits for an answer: a request that hangs takes up no worker.
type outside struct {
	agent Agent
	room  room
}

// inside marks the context of a step that is in the room.
type inside struct{}

// away leaves the room, and returns how to come back.
func (o outside) away(ctx context.Context) func() {
	if ctx.Value(inside{}) == nil {
		return func() {}
	}
	o.room.leave()
	return o.room.enter
}

func (o outside) Peer(ctx context.Context, a delivery.AgentRef) (delivery.Peer, error) {
	defer o.away(ctx)()
	return o.agent.Peer(ctx, a)
}

func (o outside) Send(ctx context.Context, r agent.Request) (agent.Task, error) {
	defer o.away(ctx)()
	return o.agent.Send(ctx, r)
}

func (o outside) Look(ctx context.Context, a delivery.AgentRef, may agent.Permit, contextID string) (delivery.Fate, agent.Task, error) {
	defer o.away(ctx)()
	return o.agent.Look(ctx, a, may, contextID)
}

func (o outside) Task(ctx context.Context, a delivery.AgentRef, taskID string) (agent.Task, error) {
	defer o.away(ctx)()
	return o.agent.Task(ctx, a, taskID)
}

// Follow is no part of a step.
func (o outside) Follow(ctx context.Context, a delivery.AgentRef, taskID string, update func(agent.Task)) (agent.Task, error) {
	return o.agent.Follow(ctx, a, taskID, update)
}

func (o outside) Cancel(ctx context.Context, a delivery.AgentRef, taskID string, may agent.Permit) (agent.Task, error) {
	defer o.away(ctx)()
	return o.agent.Cancel(ctx, a, taskID, may)
}

func (o outside) Reply(ctx context.Context, a delivery.AgentRef, t agent.Task, text string, data json.RawMessage, messageID string, may agent.Permit) (agent.Task, error) {
	defer o.away(ctx)()
	return o.agent.Reply(ctx, a, t, text, data, messageID, may)
}

// turn is what the queue has instead of a delivery where an agent's line is to be opened for one.
const turn = "turn of "

func turnOf(a delivery.AgentRef) string { return turn + a.String() }

func ofTurn(id string) (a delivery.AgentRef, ok bool) {
	ref, ok := strings.CutPrefix(id, turn)
	if !ok {
		return a, false
	}
	a.Namespace, a.Name, _ = strings.Cut(ref, "/")
	return a, true
}

// tryOne lets the first delivery of an agent whose line is shut try whether it is back.
func (d *Dispatcher) tryOne(a delivery.AgentRef) {
	next, again := d.slots.tryOne(a, d.cfg.Clock.Now())
	d.queueAll(next)
	if again > 0 {
		d.queue.AddAfter(turnOf(a), again)
	}
}

// shut holds back the calls of an agent for some time. A delivery that has a slot for nothing goes back to its place in line.
func (d *Dispatcher) shut(a delivery.AgentRef, p place, lasts time.Duration) {
	d.slots.close(a, p, d.cfg.Clock.Now().Add(lasts))
	d.queue.AddAfter(turnOf(a), lasts)
}

// called notes what became of a call of an agent, or of a look for one: for its breaker, and for those that wait for it. An agent that
// names a time is not asked before it, also not for others; where calls fail one delivery after the other tries.
func (d *Dispatcher) called(a delivery.AgentRef, f delivery.Fault, err error) {
	back := d.breakers.record(a, f)
	after, open := d.breakers.waits(a)
	switch asked := agent.RetryAfter(err); {
	case asked >= d.cfg.RetryMin && !f.Rule().Patience: // patience is each delivery's own, and runs only while it asks
		d.shut(a, place{}, wait.Jitter(min(asked, maxRetryAfter), 0.1))
	case !open:
		d.shut(a, place{}, wait.Jitter(max(after, d.cfg.RetryMin), 0.5))
	default:
		d.queueAll(d.slots.open(a))
	}
	if back { // kagent is: each agent's first one tries, not all at the same moment
		for _, other := range d.slots.waitingFor() {
			d.queue.AddAfter(turnOf(other), wait.Jitter(time.Millisecond, float64(d.cfg.BreakerDelay/time.Millisecond)))
		}
	}
}
