package capacity

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// enter takes a cost or fails the test.
func enter(t *testing.T, g *Gate, client string, cost int64) (leave func()) {
	t.Helper()
	pass, err := g.Enter(t.Context(), client, cost)
	if err != nil {
		t.Fatalf("%s did not get in: %v", client, err)
	}
	return pass.Leave
}

func TestAGreedyClientLeavesRoomForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(GateConfig{Size: 100, ClientLine: 4})
		var taken int64
		var refused error
		for refused == nil {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			pass, err := g.Enter(ctx, "greedy", 10)
			cancel()
			if refused = err; err == nil {
				defer pass.Leave()
				taken += 10
			}
		}
		if taken != 50 {
			t.Errorf("alone it got %d of 100, want half", taken)
		}
		for i := range 3 { // each of whom finds room, as long as there is any
			defer enter(t, g, fmt.Sprint("other", i), 10)()
		}
	})
}

func TestWhoHasNothingInsideIsNextHoweverLongTheLineOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(GateConfig{Size: 1, ClientLine: 8})
		var order []string
		var mu sync.Mutex
		work := func(client string) {
			pass, err := g.Enter(t.Context(), client, 1)
			if err != nil {
				t.Error(client, err)
				return
			}
			mu.Lock()
			order = append(order, client)
			mu.Unlock()
			time.Sleep(time.Second)
			pass.Leave()
		}
		for range 6 {
			go work("greedy")
		}
		synctest.Wait()
		go work("other")
		time.Sleep(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if order[1] != "other" {
			t.Errorf("the order was %v: the other one came after the greedy one's line", order)
		}
	})
}

func TestALineThatIsFullRefusesItsClientOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(GateConfig{Size: 2, ClientLine: 3, Wait: time.Minute})
		leave := enter(t, g, "greedy", 1)
		for range 3 {
			go func() { _, _ = g.Enter(t.Context(), "greedy", 1) }()
		}
		synctest.Wait()
		if _, err := g.Enter(t.Context(), "greedy", 1); !errors.Is(err, ErrClientBusy) {
			t.Errorf("the fifth entry: %v", err)
		}
		enter(t, g, "other", 1)()
		if _, waiting := g.Used(); waiting != 3 {
			t.Errorf("%d wait, want 3", waiting)
		}
		time.Sleep(2 * time.Minute)
		if _, waiting := g.Used(); waiting != 0 {
			t.Errorf("%d wait after their time", waiting)
		}
		leave()
		if used, _ := g.Used(); used != 0 || len(g.clients) != 0 {
			t.Errorf("%d is inside after all left, and %d clients are remembered", used, len(g.clients))
		}
	})
}

func TestWhatAnEntryGivesBackIsForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(GateConfig{Size: 10})
		pass, err := g.Enter(t.Context(), "anna", 10)
		if err != nil {
			t.Fatal(err)
		}
		go func() { time.Sleep(time.Second); pass.Keep(3); pass.Keep(9) }()
		enter(t, g, "bert", 7)()
		if used, _ := g.Used(); used != 3 {
			t.Errorf("%d is inside, want 3", used)
		}
	})
}

func TestALargeEntryIsNotPassedByForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(GateConfig{Size: 10})
		for i := range 5 {
			go func() {
				for range 100 {
					if pass, err := g.Enter(t.Context(), fmt.Sprint("small", i), 2); err == nil {
						time.Sleep(time.Second)
						pass.Leave()
					}
				}
			}()
		}
		synctest.Wait()
		began := time.Now()
		enter(t, g, "large", 10)()
		if waited := time.Since(began); waited > 5*time.Second {
			t.Errorf("it waited for %s, while entries of a second came and went", waited)
		}
		time.Sleep(time.Hour)
	})
}

// Whatever clients do: what is inside never costs more than the gate, and nothing stays behind.
func TestWhatIsInsideNeverCostsMoreThanTheGate(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		size := rapid.Int64Range(1, 50).Draw(r, "size")
		costs := rapid.SliceOfN(rapid.Int64Range(1, 60), 1, 40).Draw(r, "costs")
		clients := rapid.IntRange(1, 5).Draw(r, "clients")
		g := NewGate(GateConfig{Size: size, Lines: 1000, ClientLine: 1000, Wait: time.Minute})
		var inside, in atomic.Int64
		var all sync.WaitGroup
		for i, cost := range costs {
			all.Go(func() {
				pass, err := g.Enter(context.Background(), fmt.Sprint(i%clients), cost)
				if err != nil {
					r.Errorf("entry %d: %v", i, err)
					return
				}
				in.Add(1)
				if n := inside.Add(min(cost, size)); n > size {
					r.Errorf("%d inside, of %d", n, size)
				}
				inside.Add(-min(cost, size))
				pass.Leave()
				pass.Leave()
			})
		}
		all.Wait()
		if used, waiting := g.Used(); used != 0 || waiting != 0 || int(in.Load()) != len(costs) {
			r.Errorf("%d inside and %d waiting after %d of %d came and went", used, waiting, in.Load(), len(costs))
		}
	})
}
