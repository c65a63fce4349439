package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// moment is one line of a story.
type moment struct {
	at   time.Time
	text string
}

// timeline prints what happened, in the order of time.
func (p *display) timeline(line []moment, truncated bool) {
	if len(line) == 0 {
		return
	}
	slices.SortStableFunc(line, func(a, b moment) int { return a.at.Compare(b.at) })
	fmt.Fprintf(p.out, "\nTimeline, in %s:\n", zone(p.now))
	for _, m := range line {
		at := "  " + clock(m.at) + "  "
		for _, text := range p.wrapped(incident.Clean(m.text, maxCell), len(at)) {
			fmt.Fprintln(p.out, at+text)
			at = strings.Repeat(" ", len(at))
		}
	}
	if truncated {
		fmt.Fprintln(p.out, "  ... and more")
	}
}

// aboutDelivery is the kind of the timeline's entries that tell of a call step by step, for which there is one line here.
const aboutDelivery = "delivery"

// incidentMoments are what happened, with a line for each call.
func incidentMoments(i *api.IncidentDetail) []moment {
	var line []moment
	told := map[string]bool{}
	for n := range i.Deliveries {
		d := &i.Deliveries[n]
		told[d.ID] = true
		line = append(line, moment{d.CreatedAt, callOf(d, nil) + "; delivery " + d.ID})
	}
	for n := range i.Timeline {
		if e := &i.Timeline[n]; e.Kind != aboutDelivery || !told[e.DeliveryID] {
			line = append(line, moment{e.At, textOfEntry(e)})
		}
	}
	return line
}

// textOfEntry is what an entry of a timeline says.
func textOfEntry(e *api.TimelineEntry) string {
	if e.Kind == "reopened" { // khook's own words, and a time among them
		return byTheClock(e.Text)
	}
	return e.Text
}

// deliveryMoments are what happened around a call, the call itself in a line, and what was said and done in it. The
// answer is told before.
func deliveryMoments(d *api.DeliveryDetail) []moment {
	var line []moment
	if len(d.Timeline) > 0 {
		line = append(line, moment{d.CreatedAt, callOf(&d.Delivery, d.Log)})
	}
	for n := range d.Timeline {
		if e := &d.Timeline[n]; e.Kind != aboutDelivery {
			line = append(line, moment{e.At, textOfEntry(e)})
		}
	}
	for n := range d.Log {
		e := &d.Log[n]
		switch {
		case e.Kind == delivery.EntryState || isTaken(e):
		case e.Kind == delivery.EntryArtifact && d.Answer != "" && strings.Contains(d.Answer, strings.TrimSpace(e.Text)):
		case e.Sentence() != "":
			line = append(line, moment{e.At, e.Sentence()})
		}
	}
	return line
}

// isTaken says whether an entry says no more than that an agent has a message.
func isTaken(e *api.LogEntry) bool {
	return e.Kind == delivery.EntryCall && strings.HasSuffix(e.Text, delivery.TookTheMessage)
}

// callOf is a call in one line: when it was due, made and taken, what its task came to, and when it ended.
func callOf(d *api.Delivery, log []api.LogEntry) string {
	var steps []string
	step := func(at time.Time, what string) {
		if at.IsZero() {
			return
		}
		form := time.TimeOnly
		if at.Local().Format(time.DateOnly) != d.CreatedAt.Local().Format(time.DateOnly) {
			form = time.DateTime
		}
		steps = append(steps, what+" "+at.Local().Format(form))
	}
	called := "called"
	if d.Attempt > 1 {
		called = fmt.Sprintf("called (attempt %d)", d.Attempt)
	}
	step(d.CalledAt, called)
	ending := ""
	for n := range log {
		e := &log[n]
		switch {
		case isTaken(e):
			step(e.At, "taken")
		case e.Kind == delivery.EntryState && e.State == "completed" && d.State == delivery.Succeeded: // which the end says
		case e.Kind == delivery.EntryState && e.State != ending:
			ending = e.State
			step(e.At, e.State)
		}
	}
	switch {
	case d.State == delivery.Succeeded:
		step(d.EndedAt, "finished")
	case string(d.State) != ending:
		step(d.EndedAt, string(d.State))
	}
	if len(steps) == 0 {
		steps = []string{"not made yet"}
	}
	return fmt.Sprintf("call to %s/%s about %s for Hook %s/%s: %s", d.Agent.Namespace, d.Agent.Name, d.Group, d.Hook.Namespace, d.Hook.Name, strings.Join(steps, ", "))
}
