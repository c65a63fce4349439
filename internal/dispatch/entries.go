package dispatch

import (
	"slices"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/delivery"
)

// said are the entries of the delivery's log for what the task says, without those that this run has
// recorded already.
func (d *Dispatcher) said(dl *delivery.Delivery, t agent.Task) []delivery.Entry {
	var log []delivery.Entry
	for _, e := range t.Entries {
		log = append(log, delivery.Entry{
			Source: string(e.Kind) + " " + e.ID, Kind: delivery.EntryKind(e.Kind), By: "agent", Name: e.Name, Text: e.Text, Truncated: e.Truncated,
		})
	}
	if t.State.Interrupted() {
		log = append(log, delivery.Entry{Source: "question " + t.QuestionID, Kind: delivery.EntryQuestion, By: "agent", State: string(t.State), Text: t.Question})
	}
	return slices.DeleteFunc(log, func(e delivery.Entry) bool { return d.memos.isRecorded(dl.ID, &e) })
}
