package dispatch

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/proptest"
	"github.com/kagent-dev/khook/internal/store"
)

// deed is one thing that is done to khook, to kagent or by a person, some time after the one before.
type deed struct {
	Kind  int
	Whom  int
	After int // seconds
}

// The deeds.
const (
	deedDue = iota
	deedKill
	deedChangeKagent
	deedChangeUser
	deedFault
	deedHeal
	deedCancel
	deedReply
	deedSuspend
	deedResume
	deedRecover
	deedLoseTasks
	deedPause
	deedUnpause
	deeds
)

// sequence is a run of the whole dispatcher, with a history in a file, in fake time.
type sequence struct {
	*rig
	liar      *liar
	agent     Agent
	path      string
	suspended bool
	paused    atomic.Bool
	ds        []*delivery.Delivery
	replies   map[string]bool // message IDs
}

func newSequence(t *testing.T, from uint64) *sequence {
	s := &sequence{path: filepath.Join(t.TempDir(), "khook.db"), replies: map[string]bool{}}
	s.liar = newLiar(from)
	s.agent = s.liar
	s.rig = &rig{T: t, cfg: Config{Grace: -1, VerifyWindow: time.Minute, Refusal: func(*delivery.Delivery) (delivery.Skip, string) {
		if s.suspended {
			return delivery.SkipSuspended, "the Hook was suspended before its agent was called"
		}
		return "", ""
	}, Paused: func(delivery.HookRef) (delivery.Pause, bool) {
		return delivery.Pause{By: "ann", Reason: "enough"}, s.paused.Load()
	}}}
	s.begin()
	return s
}

// begin starts a process: it opens the history, and leads.
func (s *sequence) begin() {
	st, err := store.Open(context.Background(), store.Config{Path: s.path})
	if err != nil {
		s.Fatal(err)
	}
	s.store = st
	ctx, cancel := context.WithCancel(context.Background())
	s.d, s.stop, s.ended = New(s.cfg, st, s.agent), cancel, make(chan struct{})
	go func(d *Dispatcher, ended chan struct{}) {
		defer close(ended)
		_ = d.Run(ctx)
	}(s.d, s.ended)
	synctest.Wait()
}

// kill ends the process wherever it is, and what its requests were about to tell.
func (s *sequence) kill() {
	s.stop()
	<-s.ended
	if err := s.store.Close(); err != nil {
		s.Fatal(err)
	}
}

func (s *sequence) do(d deed) {
	time.Sleep(time.Duration(d.After) * time.Second)
	s.liar.mu.Lock()
	l := s.liar
	switch d.Kind {
	case deedChangeKagent:
		user := l.peer.User
		l.peer = liarPeers[d.Whom%len(liarPeers)]
		l.peer.User = user
	case deedChangeUser:
		l.peer.User = []string{"khook", "other"}[d.Whom%2]
	case deedFault:
		l.fault = delivery.Faults()[d.Whom%len(delivery.Faults())]
		if l.fault == delivery.Refused || l.fault == delivery.TaskGone {
			l.fault = delivery.Lost
		}
	case deedHeal:
		l.fault = ""
	case deedLoseTasks:
		for _, t := range l.tasks {
			t.lost = true
		}
	}
	l.mu.Unlock()
	switch d.Kind {
	case deedDue:
		s.makeDue()
	case deedKill:
		s.kill()
		s.begin()
	case deedSuspend, deedResume:
		s.suspend(d.Kind == deedSuspend)
	case deedPause, deedUnpause:
		s.pause(d.Kind == deedPause)
	default:
		if len(s.ds) > 0 {
			s.person(d, s.ds[d.Whom%len(s.ds)])
		}
	}
	synctest.Wait()
}

func (s *sequence) makeDue() {
	d := s.due(func(d *delivery.Delivery) {
		d.StallAfter, d.OnStall = 10*time.Minute, delivery.OnStalls()[len(s.ds)%len(delivery.OnStalls())]
	})
	again := &delivery.Delivery{ID: incident.DeriveID("retry", d.ID)}
	s.liar.mu.Lock()
	s.liar.message[d.SessionID()] = d.MessageID()
	s.liar.message[again.SessionID()], s.liar.before[again.MessageID()] = again.MessageID(), d.MessageID()
	s.liar.stopped[d.MessageID()], s.liar.stopped[again.MessageID()] = s.suspended, s.suspended
	s.liar.mu.Unlock()
	s.ds = append(s.ds, d)
}

// pause holds all calls, or lets them go on.
func (s *sequence) pause(on bool) {
	synctest.Wait() // what is between its question and its first byte has left
	s.paused.Store(on)
	s.liar.mu.Lock()
	s.liar.paused = on
	s.liar.mu.Unlock()
	if !on {
		s.d.Resumed()
	}
}

// suspend closes or opens the gate of all messages that have no task.
func (s *sequence) suspend(on bool) {
	synctest.Wait() // what is between its question and its first byte has left
	s.suspended = on
	s.liar.mu.Lock()
	defer s.liar.mu.Unlock()
	for _, d := range s.ds {
		again := &delivery.Delivery{ID: incident.DeriveID("retry", d.ID)}
		if now, err := s.store.Delivery(context.Background(), again.ID); err != nil || now.TaskID == "" && !now.State.Ended() {
			s.liar.stopped[again.MessageID()] = on
		}
		if now := s.now(d); now.TaskID == "" && now.CancelRequestedBy == "" && !now.State.Ended() {
			s.liar.stopped[d.MessageID()] = on
		}
	}
}

// person does what people do.
func (s *sequence) person(d deed, dl *delivery.Delivery) {
	now := s.now(dl)
	switch d.Kind {
	case deedCancel:
		_, err := s.d.Cancel(context.Background(), dl.ID, "ann")
		if err == nil {
			s.liar.mu.Lock()
			s.liar.stopped[dl.MessageID()] = true
			s.liar.mu.Unlock()
		}
	case deedReply:
		if now.State != delivery.InputRequired {
			return
		}
		replied, err := s.d.Reply(context.Background(), dl.ID, "ann", delivery.Reply{Decision: delivery.Approve, QuestionID: now.QuestionID})
		if refused := (*delivery.RefusedError)(nil); err != nil && !errors.As(err, &refused) {
			s.Errorf("reply: %v", err)
		} else if err == nil {
			s.replies[replied.ReplyID()] = true
		}
	case deedRecover:
		if inc, err := s.store.Incident(context.Background(), now.IncidentID); err == nil && inc.Open() {
			s.resolve(now, incident.Recovered)
		}
	}
}

// settle lets the disturbances end and the deliveries come to theirs, and checks what a user would notice.
func (s *sequence) settle() {
	s.pause(false)
	s.liar.mu.Lock()
	s.liar.healed, s.liar.fault = true, ""
	s.liar.mu.Unlock()
	for range 30 {
		time.Sleep(time.Hour)
		synctest.Wait()
	}
	s.liar.mu.Lock()
	defer s.liar.mu.Unlock()
	for _, w := range s.liar.wrong {
		s.Errorf("%s", w)
	}
	for id := range s.replies {
		if n := s.liar.runs[id]; n > 1 {
			s.Errorf("a reply was heard %d times", n)
		}
	}
	for _, d := range s.ds {
		s.honest(s.now(d), s.liar.runs[d.MessageID()])
		if again, err := s.store.Delivery(context.Background(), incident.DeriveID("retry", d.ID)); err == nil {
			s.honest(again, s.liar.runs[again.MessageID()])
		}
	}
	if limit := 3000 * max(len(s.ds), 1); s.liar.requests > limit {
		s.Errorf("%d requests for %d deliveries", s.liar.requests, len(s.ds))
	}
}

func (s *sequence) honest(d *delivery.Delivery, runs int) {
	says := fmt.Sprintf("%s, skipped %q, task %q, sent %+v: %s", d.State, d.Skipped, d.TaskID, d.Sent, d.Error)
	switch {
	case !d.State.Ended():
		s.Errorf("it has not ended: %s", says)
	case runs > 1:
		s.Errorf("its message ran %d times: %s", runs, says)
	case runs > 0 && (d.Skipped != "" || d.Sent == nil || strings.Contains(d.Error, "not reached")):
		s.Errorf("it ran, and is told not to have been sent: %s", says)
	case runs == 0 && d.TaskID != "":
		s.Errorf("it has a task, and never ran: %s", says)
	case d.TaskID == "" && d.Sent != nil && !strings.Contains(d.Error, "not known"):
		s.Errorf("nobody knows whether it arrived, and it does not say so: %s", says)
	}
}

// TestAnySequenceOfTheDispatcherKeepsThePromises runs the whole dispatcher, on a history in a file, through what kagent, people, clusters and
// kills do to it: no message runs twice or leaves after it was stopped, one approval answers one question, each delivery ends, and what is told is
// true. A failure tells how to repeat it.
func TestAnySequenceOfTheDispatcherKeepsThePromises(t *testing.T) {
	one := rapid.Custom(func(t *rapid.T) deed {
		return deed{rapid.IntRange(0, deeds-1).Draw(t, "kind"), rapid.IntRange(0, 20).Draw(t, "whom"), rapid.SampledFrom([]int{0, 0, 1, 5, 20, 44, 60, 300, 3600}).Draw(t, "after")}
	})
	proptest.Check(t, 300, func(rt *rapid.T) {
		from := rapid.Uint64().Draw(rt, "seed")
		plan := rapid.SliceOfN(one, 1, 30).Draw(rt, "deeds")
		ok := t.Run("", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSequence(t, from)
				s.do(deed{Kind: deedDue})
				for _, d := range plan {
					s.do(d)
				}
				s.settle()
				s.kill()
				time.Sleep(time.Minute)
			})
		})
		if !ok {
			rt.Fatalf("seed %d, deeds %v", from, plan)
		}
	})
}

var _ Agent = (*liar)(nil)

var _ = agent.Working
