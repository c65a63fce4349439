package dispatch

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// itself is who asks an agent to stop, and calls it again, where the Hook wants that of a stalled task.
const itself = "khook"

// saidBy is a digest of all that a task says. It is kept in the row, so it must be the same in another process; it is never 0.
func saidBy(t agent.Task) int64 {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%q %q %q", t.State, t.Answer, t.QuestionID)
	for _, e := range t.Entries {
		_, _ = fmt.Fprintf(h, " %q %q %q %q", e.Kind, e.ID, e.Name, e.Text)
	}
	return int64(h.Sum64()>>1) | 1
}

// glanced takes over what a look at the task says about its being stalled, and returns the change with what the log gets of it.
func (d *Dispatcher) glanced(dl *delivery.Delivery, said int64) (delivery.StallChange, []delivery.Entry) {
	now := d.cfg.Clock.Now()
	row, change := delivery.Glanced(*dl, delivery.Glance{Said: said}, now)
	text := stallText(&row, change, now)
	*dl = row
	if text == "" {
		return change, nil
	}
	d.cfg.Log.Info("agent's task: "+string(change), "delivery", dl.ID, "hook", dl.Hook, "agent", dl.Agent, "task", dl.TaskID,
		"stalledSince", dl.StalledSince, "onStall", dl.OnStall)
	return change, []delivery.Entry{{Kind: delivery.EntryStall, State: string(change), By: itself, Text: text}}
}

// sameStall says whether two versions of a delivery say the same about its task being stalled.
func sameStall(a, b *delivery.Delivery) bool {
	return a.HeardAt.Equal(b.HeardAt) && a.HeardSum == b.HeardSum && a.StalledSince.Equal(b.StalledSince) && a.Stop == b.Stop
}

// stallText tells a change in a sentence.
func stallText(row *delivery.Delivery, change delivery.StallChange, now time.Time) string {
	switch change {
	case delivery.StallBegan:
		next := "a person decides what is done (onStall: wait)"
		if row.Stop == delivery.StopAsking {
			next = fmt.Sprintf("its agent is asked to stop (onStall: %s)", row.OnStall)
		}
		return fmt.Sprintf("stalled: nothing new was seen of the task for %s; %s", now.Sub(row.StalledSince).Round(time.Second), next)
	case delivery.StallOver:
		return "the task goes on: something new was seen of it"
	case delivery.StallInVain:
		return "stalled, can't be stopped: the task did not end after its agent was asked to stop. A person is asked to look at the agent"
	}
	return ""
}

// tryAgain makes the call of a stalled task that has ended again, in the transaction that records the end: a crash can leave out neither.
// The gates of a first call count for it, so it is not sent if all has recovered; and it does not stall into another one.
func (d *Dispatcher) tryAgain(ctx context.Context, tx *store.Tx, old *delivery.Delivery) (*delivery.Delivery, error) {
	again := repetition(old, itself, d.cfg.Clock.Now())
	again.EvenIfRecovered, again.OnStall = old.EvenIfRecovered, delivery.OnStallWait
	err := d.repeat(ctx, tx, old, again, delivery.ForStall)
	if refused := (*delivery.RefusedError)(nil); errors.As(err, &refused) {
		note := delivery.Entry{
			DeliveryID: old.ID, At: again.CreatedAt, Kind: delivery.EntryStall, By: itself, Text: incident.Truncate("it is not called again: "+refused.Reason, delivery.MaxError),
		}
		return nil, tx.Save(ctx, &store.Changes{Entries: []delivery.Entry{note}})
	}
	return again, err
}
