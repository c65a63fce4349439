package delivery

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kagent-dev/khook/internal/proptest"
)

// silence is a task that says something now and then, and what is known of it beside its row.
type silence struct {
	now     time.Time
	said    int64
	news    time.Time // when a look last showed something new
	asked   time.Time // when the agent was last asked to stop; zero if it was not, or something new was seen since
	reached bool      // it was, rather than tried
	person  bool      // has canceled it
}

// act is one thing that happens, and the row after it.
func (s *silence) act(t *rapid.T, row Delivery) Delivery {
	s.now = s.now.Add(time.Duration(rapid.IntRange(0, 900).Draw(t, "seconds")) * time.Second)
	switch rapid.IntRange(0, 9).Draw(t, "what") {
	case 0:
		s.said++
		row.State = Working
		return s.look(t, row, s.said)
	case 1:
		return s.look(t, row, 0)
	case 2:
		s.person = true
		return CanceledBy(row, "ann")
	case 3:
		s.said++
		row.State = InputRequired
		return s.look(t, row, s.said)
	case 4: // a stream or a person asks for a look before the next try
		return s.look(t, row, s.said)
	}
	if _, step := Decide(row, Observation{Of: Due, Limits: modelLimits}, s.now); step.Do == DoCancel {
		return s.cancel(t, row)
	}
	return s.look(t, row, s.said)
}

func (s *silence) cancel(t *rapid.T, row Delivery) Delivery {
	row = Canceling(row, s.now)
	if row.Stop == StopAsking && s.asked.IsZero() {
		s.asked = s.now
	}
	switch rapid.IntRange(0, 2).Draw(t, "canceled") {
	case 0:
		row, s.asked, s.reached = AskedToStop(row, s.now), s.now, true
	case 1:
		next, again := CancelFailed(row, rapid.SampledFrom(Faults()).Draw(t, "fault"), s.now)
		if row = next; !again {
			s.asked, s.reached = s.now, true
		}
	}
	return row
}

// look checks what a user would notice of one look.
func (s *silence) look(t *rapid.T, row Delivery, said int64) Delivery {
	next, change := Glanced(row, Glance{Said: said}, s.now)
	fresh := said != 0 && said != row.HeardSum
	if fresh {
		s.news = s.now
	}
	silent := s.now.Sub(s.news)
	switch {
	case fresh && (!next.StalledSince.IsZero() || next.Stop == StopAsking || next.Stop == StopInVain):
		t.Fatalf("something new was seen, and it is stalled since %s, stop %q", next.StalledSince, next.Stop)
	case s.person && next.Stop != StopLeft:
		t.Fatalf("a person has canceled it, and khook does something by itself: stop %q", next.Stop)
	case change == StallBegan && (silent < row.StallAfter || !next.StalledSince.Equal(s.news)):
		t.Fatalf("stalled since %s after %s of silence, limit %s", next.StalledSince, silent, row.StallAfter)
	case row.State == Working && silent >= row.StallAfter && next.StalledSince.IsZero():
		t.Fatalf("not stalled after %s of silence, limit %s", silent, row.StallAfter)
	case change == StallOver != (!row.StalledSince.IsZero() && next.StalledSince.IsZero()):
		t.Fatal("the end of a stall is not told, or told without one")
	case change == StallInVain && s.now.Sub(next.StopAt) < stopWithin:
		t.Fatalf("it is given up %s after its agent was asked to stop", s.now.Sub(next.StopAt))
	case change == StallInVain && !s.reached && said != 0:
		t.Fatal("an agent that was never reached is said not to stop")
	case next.Stop == StopAsking && row.Stop != StopAsking && !row.OnStall.stops():
		t.Fatal("its agent is asked to stop, and nobody wants that")
	case next.State != row.State:
		t.Fatal("a stall ends a delivery")
	}
	if next.Stop == StopAsking && row.Stop != StopAsking || next.Stop == "" {
		s.asked, s.reached = time.Time{}, false
	}
	return next
}

// TestAnySilenceIsToldAndEndsNoDelivery draws what a task says, what becomes of the requests to stop its agent, and what people do.
func TestAnySilenceIsToldAndEndsNoDelivery(t *testing.T) {
	proptest.Check(t, 5000, func(t *rapid.T) {
		start := time.Date(2026, 1, 15, 10, 0, 0, 0, time.UTC)
		s := &silence{now: start, said: 1, news: start}
		row := Delivery{
			ID: "d", State: Working, TaskID: "task", TaskState: "working", CreatedAt: start, CalledAt: start, Timeout: 24 * time.Hour,
			StallAfter: time.Duration(rapid.IntRange(1, 60).Draw(t, "stallAfter")) * time.Minute, OnStall: rapid.SampledFrom(append(OnStalls(), "")).Draw(t, "onStall"),
			HeardAt: start, HeardSum: 1,
		}
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			row = s.act(t, row)
			if row.TriesAgain(s.now) {
				t.Fatal("it is called again while its task is under way")
			}
		}
		stopping, person := row.Stop, s.person
		row.State = rapid.SampledFrom([]State{Succeeded, Failed, Rejected, Canceled, Expired}).Draw(t, "end")
		row.TaskState = rapid.SampledFrom([]string{"working", string(row.State)}).Draw(t, "as the task says")
		switch again := row.TriesAgain(s.now); {
		case again && (row.OnStall != OnStallRetry || person || row.TaskState == "working" || row.State != Failed && row.State != Canceled):
			t.Fatalf("%s is called again: %s, task %s, canceled by a person: %t", row.State, row.OnStall, row.TaskState, person)
		case !again && row.OnStall == OnStallRetry && row.TaskState == string(Canceled) && !row.StalledSince.IsZero() && stopping == StopAsked:
			t.Fatal("it was stopped to be called again, and is not")
		}
	})
}

func TestARowOfAnEarlierKhookIsNotStalledByTheUpgrade(t *testing.T) {
	heard := time.Date(2026, 1, 15, 10, 0, 0, 0, time.UTC)
	row := Delivery{State: Working, TaskID: "task", HeardAt: heard}
	row, change := Glanced(row, Glance{Said: 7}, heard.Add(10*time.Minute))
	if change != StallNone || !row.HeardAt.Equal(heard) {
		t.Errorf("%q, heard at %s", change, row.HeardAt)
	}
	if row, change = Glanced(row, Glance{Said: 7}, heard.Add(DefaultStallAfter)); change != StallBegan || !row.StalledSince.Equal(heard) || row.Stop != "" {
		t.Errorf("%q since %s, stop %q", change, row.StalledSince, row.Stop)
	}
	behind := Delivery{State: Working, TaskID: "task", HeardAt: heard.Add(time.Hour), HeardSum: 7}
	if behind, _ = Glanced(behind, Glance{Said: 7}, heard); !behind.HeardAt.Equal(heard) {
		t.Errorf("a clock that was ahead hides a stall until %s", behind.StallsAt())
	}
}
