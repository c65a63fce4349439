package store

import (
	"context"
	"errors"
	"testing"
	"time"
)

// TestALeaderIsHeldBackThatGivesOutMoreNumbersThanANewTermLeavesOut: what a new term leaves out relies on it.
func TestALeaderIsHeldBackThatGivesOutMoreNumbersThanANewTermLeavesOut(t *testing.T) {
	st := openStore(t, newPath(t))
	give := func(n int) error {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		return st.WriteRelaxed(ctx, func(tx *Tx) error {
			for range n {
				tx.Next()
			}
			return nil
		})
	}
	must(t, give(2*numbersAtOnce)) // by nobody who leads
	must(t, give(1))
	must(t, st.Lead(t.Context()))
	must(t, give(numbersAtOnce-1))
	must(t, give(1))
	must(t, give(numbersASecond)) // which makes it wait for about a second
	if err := give(1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("beyond the bound: %v", err)
	}
	must(t, st.Lead(t.Context()))
	must(t, give(1))
	if a, b := skip(0), skip(time.Hour); a < 2*numbersAtOnce || b < 2*(numbersAtOnce+3600*numbersASecond) {
		t.Errorf("a new term leaves out %d and after an hour %d", a, b)
	}
}
