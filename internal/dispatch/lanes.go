package dispatch

import (
	"context"
	"sync"

	"github.com/kagent-dev/khook/internal/delivery"
)

// lanes bound how many steps are taken at the same time for deliveries of one agent, so that an agent that hangs keeps only some of the
// workers, and the deliveries of others go on. Within an agent the order stays: who has to wait is taken first come, first served,
// by the worker that leaves.
type lanes struct {
	limit int

	mu   sync.Mutex
	busy map[delivery.AgentRef]int
	line map[delivery.AgentRef][]string
	of   map[string]delivery.AgentRef // of deliveries under way; an agent never changes
}

func newLanes(workers int) *lanes {
	return &lanes{limit: max(1, workers/4), busy: map[delivery.AgentRef]int{}, line: map[delivery.AgentRef][]string{}, of: map[string]delivery.AgentRef{}}
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

// work takes steps until the queue is shut down. What waits in a lane is not done for the queue, which hands out no delivery twice.
func (d *Dispatcher) work(ctx context.Context) {
	for {
		id, stop := d.queue.Get()
		if stop {
			return
		}
		a := d.agentOf(ctx, id)
		for ok := d.lanes.enter(a, id); ok; id, ok = d.lanes.leave(a) {
			d.step(ctx, id)
			d.queue.Done(id)
		}
	}
}
