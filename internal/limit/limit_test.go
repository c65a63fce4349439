package limit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
	"pgregory.net/rapid"
)

func TestAClientIsRememberedAmongMany(t *testing.T) {
	c := NewClients(1, 2, 100)
	for range 2 {
		if _, ok := c.Allow("ann"); !ok {
			t.Fatal("the burst is not let through")
		}
	}
	for i := range 50 {
		c.Allow(fmt.Sprint("client ", i))
	}
	if wait, ok := c.Allow("ann"); ok || wait <= 0 || wait > time.Second || !c.Spent("ann") {
		t.Errorf("%v %v", wait, ok)
	}
	if c.Spent("ben") {
		t.Error("who never asked has used up nothing")
	}
}

// served runs waiters through a queue that serves one at a time, and returns in which order they got
// their turns. All join, in order, before the first turn.
func served(t *testing.T, cfg QueueConfig, places ...Place) (order []int, turnedAway []int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg.Rate, cfg.Burst, cfg.Running = rate.Inf, 1, 1
		q := NewQueue(cfg)
		var mu sync.Mutex
		begin := make(chan struct{})
		go func() { _ = q.Do(t.Context(), Place{Path: make([]string, len(places[0].Path))}, func() { <-begin }) }()
		synctest.Wait()
		for i, p := range places {
			go func() {
				err := q.Do(t.Context(), p, func() { mu.Lock(); order = append(order, i); mu.Unlock() })
				if errors.Is(err, ErrTurnedAway) {
					mu.Lock()
					turnedAway = append(turnedAway, i)
					mu.Unlock()
				}
			}()
			synctest.Wait()
		}
		close(begin)
		synctest.Wait()
	})
	return order, turnedAway
}

func TestACrowdAtOneAddressTakesNoTurnsFromOthers(t *testing.T) {
	var places []Place
	for range 50 {
		places = append(places, Place{Path: []string{"crowd", "x"}})
	}
	places = append(places, Place{Path: []string{"ann", "a"}}, Place{Path: []string{"ben", "b"}})
	order, _ := served(t, QueueConfig{Waiting: 100, Order: []int{0}}, places...)
	if len(order) != 52 || slices.Index(order, 50) > 3 || slices.Index(order, 51) > 3 {
		t.Errorf("two that came after a crowd got the turns %d and %d of %d", slices.Index(order, 50), slices.Index(order, 51), len(order))
	}
}

func TestWithinOneAddressEachSubjectHasItsTurns(t *testing.T) {
	var places []Place
	for range 50 {
		places = append(places, Place{Path: []string{"office", "forged"}})
	}
	places = append(places, Place{Path: []string{"office", "ann"}})
	if order, _ := served(t, QueueConfig{Waiting: 100, Order: []int{0}}, places...); slices.Index(order, 50) > 1 {
		t.Errorf("it got turn %d", slices.Index(order, 50))
	}
}

func TestACrowdDisplacesOnlyItself(t *testing.T) {
	places := []Place{{Path: []string{"ann"}}, {Class: 1, Path: []string{"ben"}}}
	for i := range 20 {
		places = append(places, Place{Class: i % 2, Path: []string{"crowd"}})
	}
	order, away := served(t, QueueConfig{Waiting: 10, Order: []int{0, 1}}, places...)
	if len(order) != 10 || len(away) != 12 || slices.Contains(away, 0) || slices.Contains(away, 1) {
		t.Errorf("turned away: %v", away)
	}
	last := 0
	for _, i := range away {
		last += i % 2 // of class 1
	}
	if last != 10 {
		t.Errorf("of the crowd those of the last class go first: %v", away)
	}
}

func TestEachClassHasItsShareAndNoneIsStarved(t *testing.T) {
	var places []Place
	for range 20 {
		places = append(places, Place{Class: 0, Path: []string{"a"}}, Place{Class: 1, Path: []string{"b"}})
	}
	order, _ := served(t, QueueConfig{Waiting: 100, Order: []int{0, 0, 0, 1}}, places...)
	first := 0
	for _, i := range order[:12] {
		first += 1 - i%2
	}
	if first != 9 {
		t.Errorf("class 0 got %d of 12 turns, not 9", first)
	}
}

func TestTurnsComeAtTheRateAndNoFaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(QueueConfig{Rate: 20, Burst: 10, Running: 5, Waiting: 1000, Order: []int{0}})
		var mu sync.Mutex
		turns := 0
		for range 500 {
			go func() { _ = q.Do(t.Context(), Place{Path: []string{"a"}}, func() { mu.Lock(); turns++; mu.Unlock() }) }()
		}
		time.Sleep(10*time.Second + time.Millisecond) // of the test's own clock
		mu.Lock()
		defer mu.Unlock()
		if turns != 10+200 {
			t.Errorf("%d turns in 10 s", turns)
		}
	})
}

func TestNoMoreThanAllowedAreUnderWayAndWhoLeavesIsNotServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(QueueConfig{Rate: rate.Inf, Burst: 1, Running: 2, Waiting: 10, Order: []int{0}})
		end := make(chan struct{})
		for range 2 {
			go func() { _ = q.Do(t.Context(), Place{Path: []string{"a"}}, func() { <-end }) }()
		}
		synctest.Wait()
		ctx, leave := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() {
			result <- q.Do(ctx, Place{Path: []string{"b"}}, func() { t.Error("who left was served") })
		}()
		synctest.Wait()
		if q.Waiting() != 1 {
			t.Errorf("%d wait", q.Waiting())
		}
		leave()
		if err := <-result; !errors.Is(err, context.Canceled) || q.Waiting() != 0 {
			t.Errorf("%v, %d wait", err, q.Waiting())
		}
		close(end)
	})
}

// TestAQueueNeverLosesAnybody draws who comes, who leaves and who is done, and holds the queue's bounds.
func TestAQueueNeverLosesAnybody(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := NewQueue(QueueConfig{Rate: rate.Inf, Burst: 1, Running: 2, Waiting: 5, Order: []int{0, 1, 0, 2}})
		live := map[*waiter]bool{}
		running := 0
		sweep := func() {
			for w := range live {
				select {
				case <-w.settled:
					delete(live, w)
					if !w.turnedAway {
						running++
					}
				default:
				}
			}
			if running > 2 || len(live) > 5 || len(live) != q.Waiting() || running < 2 && len(live) > 0 {
				t.Fatalf("%d run, %d wait (the queue says %d)", running, len(live), q.Waiting())
			}
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 2).Draw(t, "step") {
			case 0:
				address := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "address")
				w := &waiter{word: address, settled: make(chan struct{})}
				live[w] = true
				q.join(Place{Class: rapid.IntRange(0, 2).Draw(t, "class"), Path: []string{address, rapid.SampledFrom([]string{"x", "y"}).Draw(t, "subject")}}, w)
			case 1:
				for w := range live {
					if q.leave(w) {
						delete(live, w)
					}
					break
				}
			default:
				if running > 0 {
					running--
					q.finish()
				}
			}
			sweep()
		}
	})
}
