package dispatch

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/kagent-dev/khook/internal/delivery"
)

// TestALaneKeepsItsOrderAndItsBound draws who comes and who leaves.
func TestALaneKeepsItsOrderAndItsBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLanes(rapid.IntRange(1, 20).Draw(t, "workers"))
		agents := []delivery.AgentRef{{Name: "a"}, {Name: "b"}}
		came, begun, busy := map[delivery.AgentRef][]string{}, map[delivery.AgentRef][]string{}, map[delivery.AgentRef]int{}
		for n := range rapid.IntRange(1, 60).Draw(t, "events") {
			a := agents[rapid.IntRange(0, 1).Draw(t, "agent")]
			if busy[a] > 0 && rapid.Bool().Draw(t, "one leaves") {
				if next, ok := l.leave(a); ok {
					begun[a] = append(begun[a], next)
				} else {
					busy[a]--
				}
				continue
			}
			id := fmt.Sprint(n)
			came[a] = append(came[a], id)
			if l.enter(a, id) {
				begun[a] = append(begun[a], id)
				busy[a]++
			}
			if busy[a] > l.limit {
				t.Fatalf("%d steps of one agent at once, limit %d", busy[a], l.limit)
			}
		}
		for _, a := range agents {
			for i, id := range begun[a] {
				if came[a][i] != id {
					t.Fatalf("came %v, begun %v", came[a], begun[a])
				}
			}
			for busy[a] > 0 {
				if _, ok := l.leave(a); !ok {
					busy[a]--
				}
			}
		}
		if len(l.busy)+len(l.line) > 0 {
			t.Fatalf("left: %v, %v", l.busy, l.line)
		}
	})
}
