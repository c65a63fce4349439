package ledger

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
)

// The loop guard and the budgets are values: what they decide needs no history to be tried.

func drawCalls(t *rapid.T, now time.Time) []time.Time {
	ages := rapid.SliceOfN(rapid.IntRange(0, int(2*guardDay/time.Second)), 0, 10).Draw(t, "ages in seconds")
	slices.Sort(ages)
	calls := make([]time.Time, len(ages))
	for i, age := range ages {
		calls[i] = now.Add(-time.Duration(age) * time.Second)
	}
	return calls
}

func TestTheLoopGuardHoldsNothingForEverButWhatAPersonMustDecide(t *testing.T) {
	now := time.Date(2026, 1, 15, 10, 30, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		l := loopGuard{
			agent: delivery.AgentRef{Namespace: "kagent", Name: "medic"}, group: "Deployment/cart", calls: drawCalls(t, now),
			window: time.Duration(rapid.IntRange(1, 24*3600).Draw(t, "window in seconds")) * time.Second,
		}
		held, is := l.holds(now)
		switch {
		case !is && held != (groupHold{}):
			t.Fatalf("it holds nothing, and says %+v", held)
		case !is:
			return
		case !held.until.After(now):
			t.Fatalf("it is held until %s, which is not after %s", held.until, now)
		case held.person != (l.repeats(now) >= dayCalls):
			t.Fatalf("%d calls of a day, and a person is needed: %v", l.repeats(now), held.person)
		}
		if _, still := l.holds(held.until); still && !held.person {
			t.Fatalf("it is held at %s too, until when it said it would be", held.until)
		}
		if _, still := l.holds(now.Add(guardDay)); still && l.window < guardDay {
			t.Fatal("a day without a call does not end it")
		}
		l.resumed = []time.Time{now}
		if _, still := l.holds(now); still {
			t.Fatal("a person who lets calls through does not")
		}
	})
}

func TestABudgetIsUsedUpFromItsLastCallOnForAnHour(t *testing.T) {
	now := time.Date(2026, 1, 15, 10, 30, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		b := budget{name: "a budget", most: rapid.IntRange(1, 20).Draw(t, "most"), within: budgetHour, used: rapid.IntRange(0, 30).Draw(t, "called")}
		if rapid.Bool().Draw(t, "in the history") {
			b.oldest = now.Add(-time.Duration(rapid.IntRange(0, 3599).Draw(t, "seconds ago")) * time.Second)
		}
		held, over := b.exceeded(now)
		if over != (b.used >= b.most) {
			t.Fatalf("%d of %d calls, and used up: %v", b.used, b.most, over)
		}
		if over && (!held.until.After(now) || held.until.After(now.Add(budgetHour)) || held.person) {
			t.Fatalf("%+v at %s", held, now)
		}
	})
	full, free := budget{name: "full", most: 1, within: budgetHour, used: 1}, budget{name: "free", most: 2, within: budgetHour, used: 1}
	if held, over := firstExceeded([]budget{free, full, full}, now); !over || held.why != "full, 1, is used up" {
		t.Errorf("%v %+v", over, held)
	}
	if _, over := firstExceeded([]budget{free}, now); over {
		t.Error("a budget with room holds back")
	}
}

func TestACallStandsForItsGroupWhileItIsUnderWayAndForItsWindow(t *testing.T) {
	now := time.Date(2026, 1, 15, 10, 30, 0, 0, time.UTC)
	c := &hook.Config{Window: 10 * time.Minute}
	call := func(s delivery.State, age time.Duration) []*delivery.Delivery {
		return []*delivery.Delivery{{State: s, CreatedAt: now.Add(-age)}}
	}
	firing, repeated := &incident.Event{Status: incident.Firing}, &incident.Event{Status: incident.Duplicate}
	for name, tt := range map[string]struct {
		past []*delivery.Delivery
		ev   *incident.Event
		want delivery.Disposition // "" if the agent must be called
	}{
		"no call yet":                        {nil, firing, ""},
		"the call has just ended":            {call(delivery.Succeeded, 0), firing, delivery.Grouped},
		"the last moment of the window":      {call(delivery.Failed, c.Window-1), firing, delivery.Grouped},
		"the window is over":                 {call(delivery.Failed, c.Window), firing, ""},
		"over, but the agent is at work":     {call(delivery.Working, 24*time.Hour), firing, delivery.Grouped},
		"over, but a person has not replied": {call(delivery.InputRequired, 24*time.Hour), firing, delivery.Grouped},
		"the incident goes on":               {call(delivery.Working, time.Minute), nil, delivery.Duplicate},
		"the same incident again":            {call(delivery.Working, time.Minute), repeated, delivery.Duplicate},
		"an older call counts for nothing":   {append(call(delivery.Failed, c.Window), call(delivery.Working, time.Hour)...), firing, ""},
	} {
		if got, covered := coveredByNewest(c, tt.past, tt.ev, now); got != tt.want || covered != (tt.want != "") {
			t.Errorf("%s: %q, %v; want %q", name, got, covered, tt.want)
		}
	}
}
