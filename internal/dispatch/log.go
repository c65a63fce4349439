package dispatch

import (
	"slices"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/incident"
)

// said are the entries of the delivery's log for what the task says, without those that this run has
// recorded already.
func (d *Dispatcher) said(dl *incident.Delivery, t agent.Task) []incident.Entry {
	var log []incident.Entry
	for _, e := range t.Entries {
		log = append(log, incident.Entry{
			Source: string(e.Kind) + " " + e.ID, Kind: incident.EntryKind(e.Kind), Who: "agent", Name: e.Name, Text: e.Text, Cut: e.Cut,
		})
	}
	if t.State.Interrupted() {
		log = append(log, incident.Entry{Source: "question " + t.QuestionID, Kind: incident.EntryQuestion, Who: "agent", State: string(t.State), Text: t.Question})
	}
	return slices.DeleteFunc(log, func(e incident.Entry) bool { return d.notes.isRecorded(dl.ID, &e) })
}
