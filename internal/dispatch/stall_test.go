package dispatch

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// mute is a kagent whose agents die at work: their tasks stay as they are. What it does when it is asked to stop one is up to the test.
type mute struct {
	mu      sync.Mutex
	tasks   []*agent.Task
	cancels int
	refuses error         // what it says to a request to stop
	ends    agent.State   // what the task comes to by such a request; "" for nothing
	after   time.Duration // how long that takes
	down    bool          // kagent can't connect to the agent
	most    int           // tasks at work at the same time
}

// becomes changes it while khook may ask it.
func (m *mute) becomes(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

// counts are how often it was asked to stop a task, and how many tasks were at work at the same time.
func (m *mute) counts() (cancels, most int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cancels, m.most
}

// Peer implements Agent.
func (*mute) Peer(context.Context, delivery.AgentRef) (delivery.Peer, error) {
	return delivery.Peer{Dialect: agent.Kagent10, User: "khook", URL: "http://a", Once: true}, nil
}

// Send implements Agent.
func (m *mute) Send(_ context.Context, r agent.Request) (agent.Task, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tasks = append(m.tasks, &agent.Task{ID: r.MessageID, State: agent.Working})
	working := 0
	for _, t := range m.tasks {
		if !t.State.Ended() {
			working++
		}
	}
	m.most = max(m.most, working)
	return *m.tasks[len(m.tasks)-1], nil
}

// Look implements Agent.
func (*mute) Look(context.Context, delivery.AgentRef, agent.Permit, string) (delivery.Fate, agent.Task, error) {
	return delivery.Untold, agent.Task{}, nil
}

// Task implements Agent.
func (m *mute) Task(_ context.Context, _ delivery.AgentRef, id string) (agent.Task, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return agent.Task{}, &agent.Error{Kind: delivery.AgentDown, NoEffect: true, Reason: "connection refused"}
	}
	return *m.find(id), nil
}

func (m *mute) find(id string) *agent.Task {
	for _, t := range m.tasks {
		if t.ID == id {
			return t
		}
	}
	return &agent.Task{}
}

// say lets the newest task tell something.
func (m *mute) say(text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.tasks[len(m.tasks)-1]
	t.Entries = append(t.Entries, agent.Entry{Kind: agent.EntryMessage, ID: fmt.Sprint(len(t.Entries)), Role: "agent", Text: text})
}

// end brings a task to a state.
func (m *mute) end(n int, s agent.State) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tasks[n].State = s
}

// Follow implements Agent.
func (*mute) Follow(context.Context, delivery.AgentRef, string, func(agent.Task)) (agent.Task, error) {
	return agent.Task{}, agent.ErrNoStream
}

// Cancel implements Agent. A task that it ends is still at work when it answers.
func (m *mute) Cancel(_ context.Context, _ delivery.AgentRef, id string, _ agent.Permit) (agent.Task, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cancels++
	if m.down {
		return agent.Task{}, &agent.Error{Kind: delivery.AgentDown, NoEffect: true, Reason: "connection refused"}
	}
	t := m.find(id)
	if m.ends != "" {
		ends := m.ends
		time.AfterFunc(m.after, func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			t.State = ends
		})
	}
	return *t, m.refuses
}

// Reply implements Agent.
func (*mute) Reply(context.Context, delivery.AgentRef, agent.Task, string, json.RawMessage, string, agent.Permit) (agent.Task, error) {
	return agent.Task{}, agent.ErrNoStream
}

// stall is a delivery whose agent says nothing any more, in fake time.
type stall struct {
	*sequence
	mute *mute
	of   *delivery.Delivery

	mu      sync.Mutex
	changes []delivery.StallChange
}

// told are the changes so far.
func (s *stall) told() []delivery.StallChange {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.changes)
}

// stalls runs a test of a delivery whose agent is mute.
func stalls(t *testing.T, m *mute, onStall delivery.OnStall, test func(*stall)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &stall{mute: m, sequence: &sequence{path: filepath.Join(t.TempDir(), "khook.db"), agent: m}}
		s.rig = &rig{T: t, cfg: Config{Grace: -1, VerifyWindow: time.Minute, Observe: func(c Change) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if c.Stall != "" {
				s.changes = append(s.changes, c.Stall)
			}
		}}}
		s.begin()
		s.of = s.due(func(d *delivery.Delivery) {
			d.Timeout, d.StallAfter, d.OnStall = 3*time.Hour, 15*time.Minute, onStall
		})
		time.Sleep(time.Second)
		test(s)
		s.kill()
		time.Sleep(time.Minute)
	})
}

// pass lets time go on.
func (s *stall) pass(d time.Duration) *delivery.Delivery {
	s.Helper()
	time.Sleep(d)
	synctest.Wait()
	return s.now(s.of)
}

// is checks what the row and the changes so far say.
func (s *stall) is(state delivery.State, stalled bool, stop delivery.Stop, changes ...delivery.StallChange) {
	s.Helper()
	d := s.pass(0)
	if d.State != state || !d.StalledSince.IsZero() != stalled || d.Stop != stop || fmt.Sprint(s.told()) != fmt.Sprint(changes) {
		s.Errorf("%s, stalled since %s, stop %q, changes %v; want %s, stalled %t, stop %q, changes %v: %s", d.State, d.StalledSince, d.Stop, s.told(), state, stalled, stop, changes, d.Error)
	}
}

func (s *stall) messages() int {
	s.mute.mu.Lock()
	defer s.mute.mu.Unlock()
	return len(s.mute.tasks)
}

func TestATaskThatSaysNothingMoreIsStalledAndEndsAtItsTimeoutOnly(t *testing.T) {
	stalls(t, &mute{}, delivery.OnStallWait, func(s *stall) {
		s.pass(14 * time.Minute)
		s.is(delivery.Working, false, "")
		since := s.pass(2 * time.Minute).StalledSince
		s.is(delivery.Working, true, "", delivery.StallBegan)
		if took := since.Sub(s.of.CreatedAt); took > time.Second {
			s.Errorf("stalled since %s after it was called", took)
		}
		s.logs(s.of, "stall stalled khook: stalled: nothing new was seen of the task for 15m0s; a person decides what is done (onStall: wait)")
		s.pass(160 * time.Minute)
		s.is(delivery.Working, true, "", delivery.StallBegan)
		if cancels, _ := s.mute.counts(); cancels != 0 || s.messages() != 1 {
			s.Errorf("%d requests to stop, %d messages", cancels, s.messages())
		}
		s.pass(10 * time.Minute)
		s.is(delivery.Expired, false, "", delivery.StallBegan)
	})
}

func TestWhateverIsNewEndsAStall(t *testing.T) {
	stalls(t, &mute{}, "", func(s *stall) {
		s.pass(10 * time.Minute)
		s.mute.say("still here")
		s.pass(14 * time.Minute)
		s.is(delivery.Working, false, "")
		s.pass(2 * time.Minute)
		s.is(delivery.Working, true, "", delivery.StallBegan)
		s.mute.say("and again")
		s.pass(time.Minute)
		s.is(delivery.Working, false, "", delivery.StallBegan, delivery.StallOver)
		s.pass(15 * time.Minute)
		s.is(delivery.Working, true, "", delivery.StallBegan, delivery.StallOver, delivery.StallBegan)
		s.mute.end(0, agent.Completed)
		s.pass(time.Minute)
		s.is(delivery.Succeeded, false, "", delivery.StallBegan, delivery.StallOver, delivery.StallBegan)
	})
}

func TestARestartKeepsSinceWhenATaskSaysNothing(t *testing.T) {
	stalls(t, &mute{}, delivery.OnStallWait, func(s *stall) {
		s.mute.say("I begin")
		s.pass(5 * time.Minute)
		heard := s.now(s.of).HeardAt
		for range 3 {
			s.kill()
			s.down(3 * time.Minute)
			s.begin()
		}
		s.pass(2 * time.Minute)
		s.is(delivery.Working, true, "", delivery.StallBegan)
		if since := s.now(s.of).StalledSince; !since.Equal(heard) {
			s.Errorf("stalled since %s, and something new was last seen at %s", since, heard)
		}
		s.kill()
		s.begin()
		s.pass(time.Hour)
		s.is(delivery.Working, true, "", delivery.StallBegan)
	})
}

// down lets time go on while khook is down.
func (s *stall) down(d time.Duration) { time.Sleep(d) }

func TestAStalledTaskIsStoppedWhereTheHookWantsIt(t *testing.T) {
	stalls(t, &mute{ends: agent.Canceled, after: 3 * time.Minute}, delivery.OnStallCancel, func(s *stall) {
		s.pass(16 * time.Minute)
		s.is(delivery.Working, true, delivery.StopAsked, delivery.StallBegan)
		s.logs(s.of, "its agent is asked to stop (onStall: cancel)", "person khook: the agent was told to stop")
		s.pass(4 * time.Minute)
		s.is(delivery.Canceled, false, "", delivery.StallBegan)
		s.pass(time.Hour)
		if cancels, _ := s.mute.counts(); cancels != 1 || s.messages() != 1 {
			s.Errorf("%d requests to stop, %d messages", cancels, s.messages())
		}
	})
}

// TestAStalledTaskIsFollowedByASecondOneOnlyOnceItHasEnded also kills khook on the way.
func TestAStalledTaskIsFollowedByASecondOneOnlyOnceItHasEnded(t *testing.T) {
	for _, end := range []agent.State{agent.Canceled, agent.Failed} {
		stalls(t, &mute{ends: end, after: 5 * time.Minute}, delivery.OnStallRetry, func(s *stall) {
			s.pass(16 * time.Minute)
			s.is(delivery.Working, true, delivery.StopAsked, delivery.StallBegan)
			s.kill()
			s.down(20 * time.Minute) // the task ends meanwhile
			if s.messages() != 1 {
				s.Fatal("it was called again before its task had ended")
			}
			s.begin()
			s.pass(time.Minute)
			_, most := s.mute.counts()
			if s.messages() != 2 || most != 1 {
				s.Fatalf("%d messages, %d tasks at the same time", s.messages(), most)
			}
			again, err := s.store.Delivery(context.Background(), incident.DeriveID("retry", s.of.ID))
			if err != nil || again.RetryOf != s.of.ID || again.State != delivery.Working || again.RequestedBy != "khook" {
				s.Errorf("%+v %v", again, err)
			}
			s.logs(s.of, "person khook: calls again, as delivery "+again.ID)
			s.logs(again, "person khook: calls again after delivery "+s.of.ID+", whose task had stalled (onStall: retry)")
			s.pass(time.Hour) // it stalls too: then a person decides
			cancels, _ := s.mute.counts()
			if now := s.now(again); now.State != delivery.Working || now.StalledSince.IsZero() || now.Stop != "" || s.messages() != 2 || cancels != 1 {
				s.Errorf("the second is %s, stalled since %s, stop %q; %d messages, %d requests to stop", now.State, now.StalledSince, now.Stop, s.messages(), cancels)
			}
		})
	}
}

func TestATaskThatDoesNotStopIsGivenToAPerson(t *testing.T) {
	cant := &agent.Error{Kind: delivery.Lost, Reason: "error -32603: NotImplementedError"}
	for name, says := range map[string]error{"takes it and goes on": nil, "can't": cant, "is not there": nil} {
		for _, on := range []delivery.OnStall{delivery.OnStallCancel, delivery.OnStallRetry} {
			t.Run(name+"/"+string(on), func(t *testing.T) {
				m := &mute{}
				stalls(t, m, on, func(s *stall) {
					m.becomes(func() { m.refuses, m.down = says, strings.Contains(name, "not there") })
					s.pass(16 * time.Minute)
					s.is(delivery.Working, true, s.now(s.of).Stop, delivery.StallBegan)
					s.pass(8 * time.Minute)
					s.is(delivery.Working, true, s.now(s.of).Stop, delivery.StallBegan)
					s.pass(5 * time.Minute)
					s.is(delivery.Working, true, delivery.StopInVain, delivery.StallBegan, delivery.StallInVain)
					s.logs(s.of, "stall cannot-be-stopped khook: stalled, can't be stopped: the task did not end after its agent was asked to stop. A person is asked to look at the agent")
					tries, _ := m.counts()
					s.pass(time.Hour)
					if cancels, _ := m.counts(); cancels != tries {
						s.Errorf("it is asked to stop again, %d times", cancels-tries)
					}
					m.becomes(func() { m.down = false })
					m.end(0, agent.Canceled)
					s.pass(time.Minute)
					s.is(delivery.Canceled, false, "", delivery.StallBegan, delivery.StallInVain)
					s.pass(time.Hour)
					if s.messages() != 1 {
						s.Errorf("%d messages after a person was asked", s.messages())
					}
				})
			})
		}
	}
}

// TestAKagentThatIsAwaySaysNothingOfATask: its agent may be at work.
func TestAKagentThatIsAwaySaysNothingOfATask(t *testing.T) {
	away := &awayAgent{mute: &mute{}}
	stalls(t, away.mute, delivery.OnStallRetry, func(s *stall) {
		s.kill()
		s.agent = away
		s.begin()
		away.set(true)
		s.pass(time.Hour)
		s.is(delivery.Working, false, "")
		away.say("all the time I worked")
		away.set(false)
		s.pass(time.Minute)
		s.is(delivery.Working, false, "")
	})
}

type awayAgent struct {
	*mute
	away bool
}

func (a *awayAgent) set(away bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.away = away
}

// Task implements Agent.
func (a *awayAgent) Task(ctx context.Context, ref delivery.AgentRef, id string) (agent.Task, error) {
	a.mu.Lock()
	away := a.away
	a.mu.Unlock()
	if away {
		return agent.Task{}, &agent.Error{Kind: delivery.Unreachable, NoEffect: true, Reason: "connection refused"}
	}
	return a.mute.Task(ctx, ref, id)
}

func TestAPersonWhoCancelsAStalledTaskDecidesInsteadOfTheHook(t *testing.T) {
	stalls(t, &mute{}, delivery.OnStallRetry, func(s *stall) {
		s.pass(16 * time.Minute)
		if _, err := s.d.Cancel(context.Background(), s.of.ID, "ann"); err != nil {
			s.Fatal(err)
		}
		s.pass(time.Minute)
		s.is(delivery.Working, true, delivery.StopLeft, delivery.StallBegan)
		s.mute.end(0, agent.Canceled)
		s.pass(time.Hour)
		s.is(delivery.Canceled, false, "", delivery.StallBegan)
		if s.messages() != 1 {
			s.Errorf("%d messages after a person had canceled it", s.messages())
		}
	})
}

// TestATaskThatIsLostIsNoTaskThatHasEnded: nobody knows whether its agent is at work, so it is not called again.
func TestATaskThatIsLostIsNoTaskThatHasEnded(t *testing.T) {
	gone := &goneAgent{mute: &mute{}}
	stalls(t, gone.mute, delivery.OnStallRetry, func(s *stall) {
		s.kill()
		s.agent = gone
		s.begin()
		s.pass(16 * time.Minute)
		s.is(delivery.Working, true, delivery.StopAsked, delivery.StallBegan)
		gone.mu.Lock()
		gone.gone = true
		gone.mu.Unlock()
		s.pass(time.Hour)
		s.is(delivery.Failed, false, "", delivery.StallBegan)
		if s.messages() != 1 {
			s.Errorf("%d messages", s.messages())
		}
	})
}

type goneAgent struct {
	*mute
	gone bool
}

// Task implements Agent.
func (g *goneAgent) Task(ctx context.Context, ref delivery.AgentRef, id string) (agent.Task, error) {
	g.mu.Lock()
	gone := g.gone
	g.mu.Unlock()
	if gone {
		return agent.Task{}, &agent.Error{Kind: delivery.TaskGone, NoEffect: true, Reason: "no such task"}
	}
	return g.mute.Task(ctx, ref, id)
}

// TestAStalledCallIsNotMadeAgainThroughAClosedGate: what a first call is kept from, its repetition is kept from too.
func TestAStalledCallIsNotMadeAgainThroughAClosedGate(t *testing.T) {
	for name, shut := range map[string]func(*stall){
		"the Hook is suspended": func(s *stall) {
			s.kill()
			s.cfg.Refusal = func(*delivery.Delivery) (delivery.Skip, string) {
				return delivery.SkipSuspended, "the Hook is suspended"
			}
			s.begin()
		},
		"all has recovered": func(s *stall) { s.resolve(s.of, incident.Recovered) },
	} {
		t.Run(name, func(t *testing.T) {
			stalls(t, &mute{ends: agent.Canceled, after: time.Minute}, delivery.OnStallRetry, func(s *stall) {
				s.pass(14 * time.Minute)
				shut(s)
				s.pass(10 * time.Minute)
				s.is(delivery.Canceled, false, "", delivery.StallBegan)
				if s.messages() != 1 {
					s.Errorf("%d messages", s.messages())
				}
				if strings.Contains(name, "suspended") {
					s.logs(s.of, "stall khook: it is not called again: the Hook is suspended")
				}
			})
		})
	}
}
