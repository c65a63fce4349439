// Package dispatch carries each delivery to its end: it calls the agent, follows the task, keeps
// the answer, and watches whether the cluster recovered.
//
// A delivery is a row in the store, and the Dispatcher is its reconciler: read the row, take the
// next step, come back when due. Before a message is sent the row says so, and its message ID is
// derived from the row; so a crash at any point ends in one call, not zero and not two.
//
// It decides nothing about incidents: which deliveries there are is the ledger's. Invariants:
//
//   - A message is sent only after its row says "calling" on the disk, and after it was asked again whether this
//     replica still leads (fencing). The message ID is the idempotency key, the same at each attempt.
//   - A call that may have had an effect is never simply repeated: it is looked up first, or ends as failed.
//   - A row is saved only in the version that was read (optimistic concurrency); who loses reads again.
package dispatch

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// Agent is the side of the A2A client that a delivery needs.
type Agent interface {
	Peer(ctx context.Context, a delivery.AgentRef) (delivery.Peer, error)
	Send(context.Context, agent.Request) (agent.Task, error)
	Look(ctx context.Context, a delivery.AgentRef, may agent.Permit, contextID string) (delivery.Fate, agent.Task, error)
	Task(ctx context.Context, a delivery.AgentRef, taskID string) (agent.Task, error)
	Follow(ctx context.Context, a delivery.AgentRef, taskID string, update func(agent.Task)) (agent.Task, error)
	Cancel(ctx context.Context, a delivery.AgentRef, taskID string, may agent.Permit) (agent.Task, error)
	Reply(ctx context.Context, a delivery.AgentRef, t agent.Task, text string, data json.RawMessage, messageID string, may agent.Permit) (agent.Task, error)
}

// Config holds the dispatcher's settings; zero values take the defaults.
type Config struct {
	Concurrency  int           // tasks of one agent at the same time; 5
	Workers      int           // steps that do their own work at the same time; 16
	Calls        int           // steps under way, with those that wait for an answer of their agent; 128
	Followers    int64         // streams of agents that are read at the same time; further tasks are polled; 256
	PollMin      time.Duration // first pause between two looks at a task; 1 s
	PollMax      time.Duration // longest such pause; 30 s
	RetryMin     time.Duration // first pause after a failed call; 1 s
	RetryMax     time.Duration // longest such pause; 5 min
	VerifyWindow time.Duration // how long the incidents are watched after the agent's end; 10 min
	Patience     time.Duration // how long an agent may be absent, or kagent refuse the protocol, as during its upgrade, before a delivery fails; 15 min
	BreakerDelay time.Duration // how long the calls of an agent, or all, wait after it, or kagent, failed repeatedly; 10 s
	CallLimit    time.Duration // how long a request of the client may last: before, its message is not looked for; 30 s
	Settle       time.Duration // between two looks for a message whose answer was lost; 2 s
	CancelPause  time.Duration // before an agent that did not stop is asked again, the first time; 10 s
	Grace        time.Duration // how long a message under way may still be answered once Run is to end; 3 s, negative for not at all
	Follow       bool          // use the agent's stream where it has one
	Clock        clock.WithTicker
	Log          logr.Logger
	// Shared tells what else fails for the same reason; may be nil.
	Shared func(*incident.Incident) *incident.Shared
	// Refusal tells why a delivery whose message was never sent must not be sent any more, and in a
	// sentence for people; "" if it may. May be nil.
	Refusal func(*delivery.Delivery) (delivery.Skip, string)
	// Paused tells whether the calls of a Hook are paused. Nothing that is under way is stopped by it, and replies of people go
	// through. May be nil.
	Paused func(delivery.HookRef) (delivery.Pause, bool)
	// Workload tells how many Pods a workload has now, and how many of them are healthy; known is
	// false where that can't be said. May be nil.
	Workload func(ctx context.Context, namespace string, w incident.Workload) (pods, healthy int, known bool)
	// WatchedSince tells since when the cluster is watched without a break; false if it is not. May be nil.
	WatchedSince func() (time.Time, bool)
	// Observe is called after each committed change of a delivery, with its former state. It
	// must not block.
	Observe func(Change)
}

// Change is one committed change of a delivery.
type Change struct {
	Delivery *delivery.Delivery
	From     delivery.State
	Stall    delivery.StallChange // of its task being stalled
	Asks     bool                 // another question than before, in the same state
	Err      error                // of a call that failed; nil otherwise
	Took     time.Duration        // of the call, from sending to the first reply; zero for other changes
}

func (c *Config) setDefaults() {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.PollMin, time.Second)
	def(&c.PollMax, 30*time.Second)
	def(&c.RetryMin, time.Second)
	def(&c.RetryMax, 5*time.Minute)
	def(&c.VerifyWindow, 10*time.Minute)
	def(&c.Patience, 15*time.Minute)
	def(&c.BreakerDelay, 10*time.Second)
	def(&c.CallLimit, 30*time.Second)
	def(&c.Settle, 2*time.Second)
	def(&c.CancelPause, 10*time.Second)
	def(&c.Grace, 3*time.Second)
	if c.Concurrency == 0 {
		c.Concurrency = 5
	}
	if c.Workers == 0 {
		c.Workers = 16
	}
	if c.Calls == 0 {
		c.Calls = 128
	}
	if c.Followers == 0 {
		c.Followers = 256
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.Observe == nil {
		c.Observe = func(Change) {}
	}
}

// Dispatcher carries deliveries to their end.
type Dispatcher struct {
	cfg      Config
	store    *store.Store
	agent    Agent
	queue    workqueue.TypedDelayingInterface[string]
	slots    *agentLimiter
	lanes    *lanes
	breakers *breakers
	memos    *memos
	workers  room
	underWay room

	vanishAfter time.Duration // for how long a task that kagent does not know is looked for

	followers sync.WaitGroup
	following sync.Map // IDs of deliveries whose stream is read, or is not to be read again
	held      sync.Map // IDs of deliveries that wait because calls are paused
	woken     sync.Map // when a stream last woke each delivery, as time.Time
	streams   atomic.Int64
}

// New returns a dispatcher of the deliveries in st.
func New(cfg Config, st *store.Store, a Agent) *Dispatcher {
	cfg.setDefaults()
	workers := make(room, cfg.Workers)
	return &Dispatcher{
		cfg: cfg, store: st, agent: outside{agent: a, room: workers}, workers: workers, underWay: make(room, cfg.Calls),
		queue: workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[string]{Clock: cfg.Clock}),
		slots: newAgentLimiter(cfg.Concurrency), lanes: newLanes(min(stepsPerAgent, cfg.Calls/4)), memos: newMemos(), vanishAfter: time.Minute,
		breakers: newBreakers(cfg.BreakerDelay),
	}
}

// maxUnfinished bounds how many deliveries are resumed at a start.
const maxUnfinished = 100_000

// Run resumes what an earlier run left unfinished, and works until ctx ends. Agents that are at work get their
// slots back before the first step: otherwise a restart would let each of them have more tasks than it may. A message under way
// may still be answered for Config.Grace; what else is under way is left to the next run.
func (d *Dispatcher) Run(ctx context.Context) error {
	defer d.queue.ShutDown()
	unfinished, err := d.store.UnfinishedDeliveries(ctx, d.cfg.Clock.Now().Add(-delivery.MaxDown), maxUnfinished)
	if ctx.Err() != nil {
		return nil // told to end before it began
	}
	if err != nil {
		return fmt.Errorf("read the unfinished deliveries: %w", err)
	}
	for _, dl := range unfinished {
		if dl.State == delivery.InputRequired && dl.Replies > 0 { // what was read has no texts; a reply may be with its agent
			if full, err := d.store.Delivery(ctx, dl.ID); err == nil {
				dl = full
			}
		}
		if occupiesAgent(dl) {
			d.slots.hold(dl.Agent, dl.ID)
		}
		if !dl.State.Ended() {
			d.lanes.know(dl.ID, dl.Agent) // or each would be read once more to find its lane
		}
		d.queue.Add(dl.ID)
	}
	worked := make(chan struct{})
	go func() { defer close(worked); d.work(ctx) }()
	<-ctx.Done()
	d.queue.ShutDown()
	<-worked
	d.followers.Wait()
	return nil
}

// Wake looks at the deliveries at once.
func (d *Dispatcher) Wake(ids ...string) {
	for _, id := range ids {
		d.queue.Add(id)
	}
}

// Queued is how many deliveries are due now and not yet looked at.
func (d *Dispatcher) Queued() int { return d.queue.Len() }

// Waiting is how many deliveries wait for their agent to have time.
func (d *Dispatcher) Waiting() int { return d.slots.waiting() }

// BreakerOpen says whether calls wait because kagent failed repeatedly.
func (d *Dispatcher) BreakerOpen() bool { return d.breakers.open() }
