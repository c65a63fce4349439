package dispatch

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"sync"
	"time"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/delivery"
)

// liar is an agent on a kagent that refuses and lies by default: it loses answers and tasks, takes messages late, can't cancel, says
// nothing that is right where something stands before it, and is upgraded, rolled back and asked as another user. It keeps the book of what
// really happened. What it does with a message is drawn from the seed, the message's ID and the number of the request.
type liar struct {
	seed uint64

	mu       sync.Mutex
	peer     delivery.Peer
	healed   bool
	fault    delivery.Fault       // of all requests, while something stands before it; "" for nothing
	has      map[string]string    // task IDs by store and message
	tasks    map[string]*liarTask // by ID
	runs     map[string]int       // by message ID
	asked    map[string]int       // requests, by what they are about
	message  map[string]string    // of each session, since both are derived from the delivery's ID
	requests int
	before   map[string]string // the message that each message is the repetition of, after a stall
	paused   bool              // no call may leave
	stopped  map[string]bool   // messages that a person or a gate has stopped, and that was committed
	wrong    []string          // what must not be
}

type liarTask struct {
	id, message string
	state       agent.State
	question    int // its number; 0 for none
	heard       map[string]bool
	ends        time.Time
	lost        bool

	canceledAt time.Time // when it ends by a request to stop; zero for never
}

var liarPeers = []delivery.Peer{
	{Dialect: agent.Kagent05, User: "khook", URL: "http://a", Lists: true}, {Dialect: agent.Kagent097, User: "khook", URL: "http://a", Lists: true},
	{Dialect: agent.Kagent10, User: "khook", URL: "http://a", Once: true},
}

func newLiar(from uint64) *liar {
	l := &liar{seed: from, has: map[string]string{}, tasks: map[string]*liarTask{}, runs: map[string]int{}, asked: map[string]int{}, message: map[string]string{}, before: map[string]string{}, stopped: map[string]bool{}}
	l.peer = liarPeers[l.draw("peer", len(liarPeers))]
	return l
}

// draw is a number below n, by the seed, by what it is about, and by how often that was drawn before.
func (l *liar) draw(what string, n int) int {
	l.asked[what]++
	h := fnv.New64a()
	_, _ = fmt.Fprintln(h, l.seed, what, l.asked[what])
	return int(h.Sum64() >> 8 % uint64(n))
}

// store is where the kagent of now keeps what it gets. The caller holds the lock.
func (l *liar) store() string {
	if l.peer.Once {
		return "1.0 " + l.peer.User
	}
	return "0.x " + l.peer.User
}

// request counts a request, and returns what stands in its way. A look takes a moment.
func (l *liar) request(ctx context.Context, what string) error {
	select {
	case <-ctx.Done():
		return &agent.Error{Kind: delivery.Lost, NoEffect: true, Reason: "given up", Err: ctx.Err()}
	case <-time.After(50 * time.Millisecond):
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests++
	if l.fault != "" {
		return &agent.Error{Kind: l.fault, NoEffect: true, Reason: "something is in the way"}
	}
	if !l.healed && l.draw("request "+what, 6) == 0 {
		return &agent.Error{Kind: delivery.Lost, NoEffect: true, Reason: "no answer"}
	}
	return nil
}

// Peer implements Agent.
func (l *liar) Peer(ctx context.Context, _ delivery.AgentRef) (delivery.Peer, error) {
	if err := l.request(ctx, "peer"); err != nil {
		return delivery.Peer{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.peer, nil
}

// arrive runs the message, unless this kagent knows it by its ID.
func (l *liar) arrive(store, messageID string, once bool) *liarTask {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := store + " " + messageID
	if id, ok := l.has[key]; ok && once {
		return l.tasks[id]
	}
	for _, former := range l.tasks {
		if former.message == l.before[messageID] && !former.state.Ended() {
			l.wrong = append(l.wrong, "two agents at once: "+messageID+" begins while the task of the call before is under way")
		}
	}
	l.runs[messageID]++
	t := &liarTask{id: fmt.Sprintf("task-%s-%d", messageID[:8], l.runs[messageID]), message: messageID, state: agent.Working, heard: map[string]bool{}, ends: time.Now().Add(time.Minute)}
	switch l.draw("task "+messageID, 4) {
	case 0:
		t.state, t.question = agent.InputRequired, 1
	case 1:
		t.ends = time.Now().Add(100 * time.Hour) // its agent died
	}
	l.has[key], l.tasks[t.id] = t.id, t
	return t
}

// leave asks whether the message may leave, and notes one that must not.
func (l *liar) leave(ctx context.Context, messageID string, may agent.Permit) (store string, once bool, err error) {
	l.mu.Lock()
	connects := []time.Duration{0, 7 * time.Second}[l.draw("connect "+messageID, 2)]
	l.mu.Unlock()
	select { // its connection takes a while, in which people act
	case <-ctx.Done():
		return "", false, &agent.Error{Kind: delivery.Unreachable, NoEffect: true, Err: ctx.Err()}
	case <-time.After(connects):
	}
	if may.Precheck != nil {
		if err := may.Precheck(ctx); err != nil {
			return "", false, &agent.Error{Kind: delivery.Unreachable, NoEffect: true, Err: err}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.permits(may); err != nil {
		return "", false, err
	}
	if l.fault != "" && l.fault.Rule().Effect == delivery.NoEffect {
		return "", false, &agent.Error{Kind: l.fault, NoEffect: true, Reason: "something is in the way"}
	}
	if l.paused && !l.isReply(messageID) {
		l.wrong = append(l.wrong, "message "+messageID+" leaves although calls are paused")
	}
	if l.stopped[messageID] {
		l.wrong = append(l.wrong, "message "+messageID+" leaves after it was stopped")
	}
	return l.store(), l.peer.Once, nil
}

// isReply says whether a message is none that makes a task. The caller holds the lock.
func (l *liar) isReply(messageID string) bool {
	for _, call := range l.message {
		if call == messageID {
			return false
		}
	}
	return true
}

// permits says whether a request may be made of the kagent of now, as the client does when it makes one. The caller holds the lock.
func (l *liar) permits(may agent.Permit) error {
	if l.peer.Dialect != may.Dialect || l.peer.User != may.User {
		return &agent.Error{Kind: delivery.WrongDialect, NoEffect: true, Reason: "another dialect, or another user"}
	}
	return nil
}

// fate is what becomes of a message that has left: whether it arrives, after how long, and whether its answer does.
func (l *liar) fate(messageID string) (arrives bool, after time.Duration, answered bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests++
	if l.healed {
		return true, 0, true
	}
	n := l.draw("send "+messageID, 5)
	return n != 4, []time.Duration{0, 0, 10 * time.Second, 29 * time.Second, 0}[n], n == 0
}

// deliver brings a message that has left to where it goes.
func (l *liar) deliver(ctx context.Context, messageID string, run func()) error {
	arrives, after, answered := l.fate(messageID)
	if arrives && after == 0 {
		run()
	} else if arrives {
		time.AfterFunc(after, run)
	}
	if answered {
		return nil
	}
	lost := &agent.Error{Kind: delivery.Lost, Reason: "no answer"}
	select {
	case <-ctx.Done():
		lost.Err = ctx.Err()
	case <-time.After(30 * time.Second):
	}
	return lost
}

// Send implements Agent.
func (l *liar) Send(ctx context.Context, r agent.Request) (agent.Task, error) {
	store, once, err := l.leave(ctx, r.MessageID, r.Permit)
	if err != nil {
		return agent.Task{}, err
	}
	var t *liarTask
	if err := l.deliver(ctx, r.MessageID, func() { t = l.arrive(store, r.MessageID, once) }); err != nil {
		return agent.Task{}, err
	}
	return l.tell(t), nil
}

// Look implements Agent. The context is the session's of the same delivery as the message.
func (l *liar) Look(ctx context.Context, _ delivery.AgentRef, may agent.Permit, contextID string) (delivery.Fate, agent.Task, error) {
	if err := l.request(ctx, "look "+contextID); err != nil {
		return "", agent.Task{}, err
	}
	l.mu.Lock()
	id, ok := l.has[l.store()+" "+l.message[contextID]]
	t, refused := l.tasks[id], l.permits(may)
	lost := ok && t.lost
	l.mu.Unlock()
	switch {
	case refused != nil:
		return "", agent.Task{}, refused
	case !ok:
		return delivery.Missing, agent.Task{}, nil
	case lost:
		return delivery.Unclear, agent.Task{}, nil
	}
	return delivery.Arrived, l.tell(t), nil
}

// tell is the task as it is now.
func (l *liar) tell(t *liarTask) agent.Task {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !t.state.Ended() && !t.canceledAt.IsZero() && !time.Now().Before(t.canceledAt) {
		t.state = agent.Canceled
	}
	if t.state == agent.Working && !time.Now().Before(t.ends) {
		t.state = agent.Completed
	}
	told := agent.Task{ID: t.id, Dialect: l.peer.Dialect, State: t.state}
	if t.question > 0 && t.state == agent.InputRequired {
		told.Question, told.QuestionID, told.Approval = "may I?", l.questionID(t), true
	}
	return told
}

// questionID is what the question of a task is known by. To a kagent before 1.0 the next one can look just like it. The caller holds the
// lock.
func (l *liar) questionID(t *liarTask) string {
	if l.peer.Once {
		return fmt.Sprintf("%s question %d", t.id, t.question)
	}
	return t.id + " question"
}

// Task implements Agent.
func (l *liar) Task(ctx context.Context, _ delivery.AgentRef, id string) (agent.Task, error) {
	if err := l.request(ctx, "get "+id); err != nil {
		return agent.Task{}, err
	}
	l.mu.Lock()
	t := l.tasks[id]
	lost := t == nil || t.lost
	l.mu.Unlock()
	if lost {
		return agent.Task{}, &agent.Error{Kind: delivery.TaskGone, NoEffect: true, Reason: "no such task"}
	}
	return l.tell(t), nil
}

// Follow implements Agent: there are no streams.
func (l *liar) Follow(context.Context, delivery.AgentRef, string, func(agent.Task)) (agent.Task, error) {
	return agent.Task{}, agent.ErrNoStream
}

// Cancel implements Agent: it can't, or it takes the request, and its task ends or does not, at once or later.
func (l *liar) Cancel(ctx context.Context, _ delivery.AgentRef, id string, may agent.Permit) (agent.Task, error) {
	if may.Precheck != nil {
		if err := may.Precheck(ctx); err != nil {
			return agent.Task{}, &agent.Error{Kind: delivery.Unreachable, NoEffect: true, Err: err}
		}
	}
	l.mu.Lock()
	t, how := l.tasks[id], l.draw("cancel "+id[:13], 4)
	ends := map[int]time.Duration{1: 0, 2: 5 * time.Minute}
	if after, ok := ends[how]; ok && t != nil && after == 0 && !t.state.Ended() {
		t.state = agent.Canceled
	} else if ok && t != nil {
		t.canceledAt = time.Now().Add(after)
	}
	lost := t == nil || t.lost
	l.mu.Unlock()
	if how == 0 || lost {
		return agent.Task{}, &agent.Error{Kind: delivery.Lost, Reason: "error -32603: NotImplementedError"}
	}
	return l.tell(t), nil
}

// Reply implements Agent. A kagent before 1.0 takes a reply for whatever it asks by then: so it may be for another question than a person read.
func (l *liar) Reply(ctx context.Context, _ delivery.AgentRef, task agent.Task, _ string, _ json.RawMessage, messageID string, may agent.Permit) (agent.Task, error) {
	if err := l.request(ctx, "before "+messageID); err != nil {
		return agent.Task{}, err
	}
	if _, _, err := l.leave(ctx, messageID, may); err != nil {
		return agent.Task{}, err
	}
	err := l.deliver(ctx, messageID, func() { l.hear(task, messageID) })
	if err != nil {
		return agent.Task{}, err
	}
	l.mu.Lock()
	t := l.tasks[task.ID]
	l.mu.Unlock()
	return l.tell(t), nil
}

// hear lets the task go on with a reply, to another question or to its end.
func (l *liar) hear(task agent.Task, messageID string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.tasks[task.ID]
	if t.state != agent.InputRequired || l.peer.Once && t.heard[messageID] {
		return // 1.x: it does not match the pending request
	}
	if l.peer.Once && l.questionID(t) != task.QuestionID {
		return
	}
	if t.heard[messageID] {
		l.wrong = append(l.wrong, "one approval answers two questions: "+task.QuestionID)
	}
	t.heard[messageID] = true
	l.runs[messageID]++
	if t.question++; t.question > 2 {
		t.state, t.ends = agent.Working, time.Now().Add(time.Second)
	}
}
