package dispatch

import (
	"context"
	"errors"
	"testing"

	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/store"
)

// TestWhatAPersonTookBackIsNotDone: another replica was asked, and what it wrote down is taken back or done already when the leader comes to it.
func TestWhatAPersonTookBackIsNotDone(t *testing.T) {
	r := newRig(t, kagenttest.Options{Cancels: true, Script: answers(kagenttest.Act{Ask: "may I?"})})
	asks := r.untilState(r.due(), delivery.InputRequired)
	over := r.untilState(r.dueOf("over"), delivery.InputRequired)
	if _, err := r.d.Cancel(t.Context(), over.ID, "ann"); err != nil {
		t.Fatal(err)
	}
	over = r.untilState(over, delivery.Canceled)
	for name, act := range map[string]func(ctx context.Context) error{
		"reply": func(ctx context.Context) error {
			_, err := r.d.Reply(ctx, asks.ID, "ann", delivery.Reply{Text: "yes"})
			return err
		},
		"cancel": func(ctx context.Context) error { _, err := r.d.Cancel(ctx, asks.ID, "ann"); return err },
		"retry":  func(ctx context.Context) error { _, err := r.d.Retry(ctx, over.ID, "ann"); return err },
	} {
		if err := r.store.Ask(t.Context(), &store.Wish{ID: name, Kind: name}); err != nil {
			t.Fatal(err)
		}
		if back, err := r.store.Withdraw(t.Context(), name); err != nil || !back {
			t.Fatalf("%s can't be taken back: %v", name, err)
		}
		if err := act(store.WithWish(t.Context(), name)); !errors.Is(err, store.ErrWithdrawn) {
			t.Errorf("%s: it was taken back, and is done: %v", name, err)
		}
	}
	if d := r.now(asks); d.State != delivery.InputRequired || d.Reply != nil || d.CancelRequestedBy != "" {
		t.Errorf("the delivery is %+v", d)
	}
	if _, err := r.store.Delivery(t.Context(), RepetitionID(over.ID)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("it was tried again: %v", err)
	}
}
