package delivery

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kagent-dev/khook/internal/proptest"
)

// kagentModel is a kagent that refuses and lies: it takes messages late, loses answers and tasks, is upgraded and rolled back, and is
// asked as somebody else. It knows what really happened.
type kagentModel struct {
	now    time.Time
	peer   Peer
	direct bool                 // its agent answers with a message: there is a session and no task
	lost   bool                 // its tasks are lost, and the sessions are not, as after an upgrade
	has    map[string]time.Time // what arrived in which store, and when
	runs   int                  // of the message
	closed Closed               // the gate
	held   string               // calls are paused
	late   []lateMessage        // under way
}

// lateMessage arrives when khook may have given up on it.
type lateMessage struct {
	to Peer
	at time.Time
}

var (
	modelLimits = Limits{Request: 30 * time.Second, Settle: 2 * time.Second, Unclear: 15 * time.Minute, Cancel: 10 * time.Second}
	modelPeers  = []Peer{
		{Dialect: "0.5", Lists: true}, {Dialect: "0.9", Lists: true}, {Dialect: "pre", Lists: true}, {Dialect: "1.0", Once: true},
	}
)

// store is where the peer keeps what it got: all versions up to 0.10 share one, for each user.
func store(p Peer) string {
	name := p.Dialect
	if name == "0.5" {
		name = "0.9"
	}
	return name + " " + p.User + " " + p.URL
}

// arrive runs the message, unless the kagent knows it by its ID.
func (k *kagentModel) arrive(p Peer, at time.Time) {
	if _, known := k.has[store(p)]; known && p.Once {
		return
	}
	k.has[store(p)] = at
	k.runs++
}

// look answers as the peer does.
func (k *kagentModel) look(t *rapid.T) (fate Fate, failed bool) {
	if rapid.IntRange(0, 3).Draw(t, "look") == 0 {
		return "", true
	}
	switch _, has := k.has[store(k.peer)]; {
	case k.peer.Dialect == "pre" && rapid.IntRange(0, 9).Draw(t, "can't list") == 0:
		return Untold, false
	case !has:
		return Missing, false
	case k.direct || k.lost:
		return Unclear, false
	}
	return Arrived, false
}

// pass lets time go on, and what is under way arrive.
func (k *kagentModel) pass(d time.Duration) {
	k.now = k.now.Add(d)
	k.late = slices.DeleteFunc(k.late, func(m lateMessage) bool {
		if m.at.After(k.now) {
			return false
		}
		k.arrive(m.to, m.at)
		return true
	})
}

// send lets the message leave, and says what khook sees: a task, or a fault. It leaves at most LeaveWithin after its commit, and its
// request ends within Request: in between it may arrive whatever khook sees.
func (k *kagentModel) send(t *rapid.T) (took bool, f Fault) {
	p, at := k.peer, k.now
	held := rapid.SampledFrom([]time.Duration{0, modelLimits.LeaveWithin()}).Draw(t, "held up")
	delay := rapid.SampledFrom([]time.Duration{time.Second, modelLimits.Request - time.Millisecond}).Draw(t, "on its way")
	hop := rapid.SampledFrom([]time.Duration{0, modelLimits.Settle - time.Millisecond}).Draw(t, "from kagent to its agent")
	switch rapid.IntRange(0, 5).Draw(t, "what becomes of it") {
	case 0:
		k.arrive(p, at)
		return true, ""
	case 1: // it arrives, and its answer is lost
		k.arrive(p, at)
		return false, rapid.SampledFrom([]Fault{Lost, BadAnswer, Unreadable}).Draw(t, "fault")
	case 2: // khook gives up, and it arrives later
		k.late = append(k.late, lateMessage{p, at.Add(held + delay + hop)})
		return false, Lost
	case 3: // it does not arrive, and nobody knows
		return false, rapid.SampledFrom([]Fault{Lost, BadAnswer, Unreadable}).Draw(t, "fault")
	}
	var harmless []Fault
	for _, f := range Faults() {
		if f.Rule().Effect == NoEffect && f != Refused {
			harmless = append(harmless, f)
		}
	}
	return false, rapid.SampledFrom(append(harmless, Refused)).Draw(t, "no effect")
}

// upgrade brings another version, or the former one back.
func (k *kagentModel) upgrade(p Peer) {
	p.User, p.URL = k.peer.User, k.peer.URL
	k.peer = p
}

// disturb is what people and clusters do between two steps.
func (k *kagentModel) disturb(t *rapid.T, row *Delivery) {
	switch rapid.IntRange(0, 11).Draw(t, "disturbance") {
	case 0:
		k.upgrade(modelPeers[rapid.IntRange(0, len(modelPeers)-1).Draw(t, "version")])
		k.lost = rapid.Bool().Draw(t, "tasks lost")
	case 1:
		k.peer.User = rapid.SampledFrom([]string{"khook", "other"}).Draw(t, "user")
	case 2:
		k.peer.URL = rapid.SampledFrom([]string{"http://a", "http://b"}).Draw(t, "url")
	case 3:
		row.CancelRequestedBy = "ann"
	case 4:
		k.closed = Closed{Skip: rapid.SampledFrom([]Skip{SkipSuspended, SkipDeleted, SkipForbidden, SkipRecovered}).Draw(t, "gate"), Why: "closed"}
	case 5:
		k.closed = Closed{}
	case 6:
		k.held = rapid.SampledFrom([]string{"", "calls are paused"}).Draw(t, "held")
	}
	if row.CancelRequestedBy != "" {
		k.closed = Closed{Skip: SkipCanceled, Why: "canceled by ann"}
	}
	k.pass(time.Duration(rapid.IntRange(0, 60).Draw(t, "seconds")) * time.Second)
}

// step takes one step as the dispatcher does, with kills between the commit and the bytes, and returns the row on the disk.
func (k *kagentModel) step(t *rapid.T, row Delivery) Delivery {
	_, next := Decide(row, Observation{Of: Due, Limits: modelLimits}, k.now)
	if next.Do == DoWait {
		k.pass(max(next.At.Sub(k.now), 0))
		return row
	}
	if next.Do == DoExpire {
		row.State = Expired
		return row
	}
	if next.Do != DoPrepare {
		return row
	}
	pause := time.Duration(rapid.IntRange(1, 300).Draw(t, "pause")) * time.Second
	o := Observation{Of: Ready, Limits: modelLimits, Peer: k.peer, Closed: k.closed, Held: k.held, Pause: pause, Worn: rapid.IntRange(0, 20).Draw(t, "worn") == 0}
	after, todo := Decide(row, o, k.now)
	switch todo.Do {
	case DoSend:
		if k.closed != (Closed{}) {
			t.Fatalf("a message leaves although the gate is closed: %s", k.closed.Skip)
		}
		if k.held != "" {
			t.Fatal("a message leaves although calls are paused")
		}
		return k.sent(t, after, o)
	case DoLook:
		fate, failed := k.look(t)
		o.Of, o.Fate = Looked, fate
		if failed {
			o.Of, o.Fault = LookFailed, Lost
		}
		after, todo = Decide(row, o, k.now)
		if todo.Do == DoFollow {
			after.TaskID = "task"
		}
	case DoWait:
		if k.held != "" {
			k.pass(max(todo.At.Sub(k.now), 0))
		}
	}
	return after
}

func (k *kagentModel) sent(t *rapid.T, row Delivery, o Observation) Delivery {
	if row.Sent == nil || row.State != Calling {
		t.Fatal("a message leaves that the row says nothing of")
	}
	if rapid.IntRange(0, 5).Draw(t, "killed") == 0 { // after the commit, before the first byte
		return row
	}
	took, fault := k.send(t)
	if rapid.IntRange(0, 5).Draw(t, "killed later") == 0 { // before the answer is recorded
		return row
	}
	if took {
		row.TaskID, row.State = "task", Working
		return row
	}
	o.Of, o.Fault = CallFailed, fault
	row, _ = Decide(row, o, k.now)
	return row
}

// honest checks that what the end says is true.
func (k *kagentModel) honest(t *rapid.T, row Delivery) {
	k.pass(time.Hour)
	switch {
	case k.runs > 1:
		t.Fatalf("the message ran %d times", k.runs)
	case row.Skipped != "" && k.runs > 0:
		t.Fatalf("it is said to be skipped (%s), and ran", row.Skipped)
	case row.TaskID == "" && row.Sent == nil && k.runs > 0:
		t.Fatalf("it is %s and said to be with nobody, and ran: %s", row.State, row.Error)
	case row.State == Canceled && row.Sent != nil && !strings.Contains(row.Error, "not known"):
		t.Fatalf("it may have arrived, and the end does not say so: %s", row.Error)
	}
}

// TestAnySequenceEndsInAtMostOneRun draws what a kagent, people and kills do to one delivery: at most one run of its message, none that
// leaves through a closed gate, an end by the deadline, and nothing said that is not so. A failure tells how to repeat it.
func TestAnySequenceEndsInAtMostOneRun(t *testing.T) {
	proptest.Check(t, 10_000, func(t *rapid.T) {
		start := time.Date(2026, 1, 15, 10, 0, 0, 0, time.UTC)
		k := &kagentModel{now: start, has: map[string]time.Time{}, peer: modelPeers[rapid.IntRange(0, len(modelPeers)-1).Draw(t, "kagent")]}
		k.direct = rapid.Bool().Draw(t, "answers with a message") && k.peer.Dialect != "pre"
		k.peer.User, k.peer.URL = "khook", "http://a"
		row := Delivery{ID: "d", State: Pending, CreatedAt: start, NextAt: start, Timeout: time.Hour}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			if row.State.Ended() || row.TaskID != "" {
				break
			}
			k.disturb(t, &row)
			if k.peer.Dialect == "pre" {
				k.direct = false // docs/reliability.md names this exception
			}
			row = k.step(t, row)
		}
		for n := 0; !row.State.Ended() && row.TaskID == ""; n++ { // then it is left alone
			if n > 10_000 {
				t.Fatalf("it does not end: %+v, sent %+v", row, row.Sent)
			}
			row = k.step(t, row)
			k.pass(time.Second)
		}
		if over := k.now.Sub(start.Add(MaxWait)); over > 10*time.Minute {
			t.Fatalf("it ended %s after its deadline", over)
		}
		k.honest(t, row)
	})
}
