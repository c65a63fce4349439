package dispatch

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/delivery"
)

// pausable is a rig whose calls can be paused.
func pausable(t *testing.T, opts kagenttest.Options) (*rig, *atomic.Bool) {
	paused := &atomic.Bool{}
	r := newRig(t, opts, func(c *Config) {
		c.Paused = func(delivery.HookRef) (delivery.Pause, bool) {
			return delivery.Pause{By: "ann", Reason: "it does harm"}, paused.Load()
		}
	})
	return r, paused
}

func TestWhatIsDueWhileCallsArePausedIsCalledOnceWhenTheyGoOn(t *testing.T) {
	r, paused := pausable(t, kagenttest.Options{Script: answers(kagenttest.Act{Answer: "done"})})
	paused.Store(true)
	d := r.until(r.due(), "it says why it waits", func(d *delivery.Delivery) bool { return d.Failure != "" })
	if d.State != delivery.Pending || d.Sent != nil || d.Failure != "calls of all Hooks are paused by ann since 0001-01-01T00:00:00Z, until a person resumes them: it does harm" {
		t.Errorf("%s, sent %+v: %s", d.State, d.Sent, d.Failure)
	}
	r.halt()
	r.start()
	r.until(d, "it waits as before", func(d *delivery.Delivery) bool { return d.State == delivery.Pending })
	paused.Store(false)
	r.d.Resumed()
	d = r.untilState(d, delivery.Succeeded)
	if d.Failure != "" || d.Attempt != 1 {
		t.Errorf("attempt %d: %s", d.Attempt, d.Failure)
	}
	r.once(d)
}

func TestWhatRecoveredWhileCallsWerePausedIsNotCalledFor(t *testing.T) {
	r, paused := pausable(t, kagenttest.Options{})
	paused.Store(true)
	d := r.until(r.due(), "it says why it waits", func(d *delivery.Delivery) bool { return d.Failure != "" })
	r.resolve(d, "recovered")
	paused.Store(false)
	r.d.Resumed()
	if d = r.untilState(d, delivery.Canceled); d.Skipped != delivery.SkipRecovered {
		t.Errorf("skipped %q: %s", d.Skipped, d.Failure)
	}
}

// TestAPauseThatCancelsStopsThoseAtWorkOfItsScopeOnly has two agents at work, and a call that waits.
func TestAPauseThatCancelsStopsThoseAtWorkOfItsScopeOnly(t *testing.T) {
	r, paused := pausable(t, kagenttest.Options{Cancels: true, Script: answers(kagenttest.Act{Work: time.Hour, Answer: "done"})})
	ours := r.untilState(r.due(), delivery.Working)
	other := r.untilState(r.due(func(d *delivery.Delivery) { d.Hook.Namespace = "pay" }), delivery.Working)
	paused.Store(true)
	waits := r.until(r.due(), "it says why it waits", func(d *delivery.Delivery) bool { return d.Failure != "" })
	n, err := r.d.CancelWithin(context.Background(), delivery.PauseScope{Namespace: ours.Hook.Namespace}, "ann")
	if err != nil || n != 1 {
		t.Fatalf("%d canceled, %v", n, err)
	}
	if d := r.untilState(ours, delivery.Canceled); d.Skipped != "" {
		t.Errorf("an agent that worked is told not to have been called: %s", d.Skipped)
	}
	if d := r.now(other); d.State != delivery.Working || d.CancelRequestedBy != "" {
		t.Errorf("another namespace's: %s, canceled by %q", d.State, d.CancelRequestedBy)
	}
	if d := r.now(waits); d.State != delivery.Pending || d.CancelRequestedBy != "" {
		t.Errorf("one that was not called yet: %s, canceled by %q", d.State, d.CancelRequestedBy)
	}
	var refused *delivery.RefusedError
	if _, err := r.d.Retry(context.Background(), ours.ID, "ben"); !errors.As(err, &refused) || !strings.Contains(err.Error(), "paused by ann") {
		t.Errorf("who wants it again is not told that calls are paused: %v", err)
	}
	if n, err := r.d.CancelWithin(context.Background(), delivery.PauseScope{}, "ann"); err != nil || n != 1 {
		t.Errorf("all: %d canceled, %v", n, err)
	}
}
