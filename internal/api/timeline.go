package api

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/notice"
)

// IncidentTimeline tells what happened, in the order of time; sent is what people were told of it.
func IncidentTimeline(inc *incident.Incident, events []*incident.Event, decisions []delivery.Decision, deliveries []*delivery.Delivery, sent []*notice.Line) []TimelineEntry {
	line := noticesTimeline(sent)
	for _, e := range events {
		shaped := EventOf(e)
		text := fmt.Sprintf("%s: %s", e.Reason, e.Message)
		if e.Status == incident.Duplicate {
			text = "again: " + text
		}
		line = append(line, TimelineEntry{At: e.At, Kind: "event", Text: text, Event: &shaped})
	}
	for _, d := range decisions {
		shaped := DecisionOf(d)
		line = append(line, TimelineEntry{At: d.At, Kind: "decision", Text: fmt.Sprintf("Hook %s (%s): %s", d.Hook, d.Config, meaning(d)), Decision: &shaped, DeliveryID: d.DeliveryID})
	}
	for _, d := range deliveries {
		line = append(line, milestones(d)...)
	}
	line = append(line, interruptions(inc)...)
	if !inc.Open() {
		line = append(line, resolution(inc))
	}
	return inOrder(line)
}

// noticesTimeline tells whom khook told something outside of it.
func noticesTimeline(sent []*notice.Line) []TimelineEntry {
	line := make([]TimelineEntry, 0, len(sent))
	for _, l := range sent {
		text := fmt.Sprintf("notifier %s was told: %s", l.Notifier, l.About)
		switch l.Kind {
		case notice.NeedsPerson:
			text = fmt.Sprintf("notifier %s was told that a person is needed: %s", l.Notifier, l.About)
		case notice.AgentFailed:
			text = fmt.Sprintf("notifier %s was told that the agent failed: %s", l.Notifier, l.About)
		case notice.Outcome:
			text = fmt.Sprintf("notifier %s was told the outcome: %s", l.Notifier, l.About)
		case notice.Uncalled:
			text = fmt.Sprintf("notifier %s was told that it goes on, and that no agent was called", l.Notifier)
		}
		line = append(line, TimelineEntry{At: l.EndedAt, Kind: "notice", Text: text, DeliveryID: l.DeliveryID})
	}
	return line
}

// interruptions tell of when an incident was not known to go on: after an end that was none, and while its node is lost.
func interruptions(inc *incident.Incident) []TimelineEntry {
	var line []TimelineEntry
	if inc.Reopenings > 0 {
		text := fmt.Sprintf("%s: it had ended as quiet at %s, and is seen to go on: open again", inc.Subject(), inc.QuietAt.UTC().Format(time.RFC3339))
		if inc.Reopenings > 1 {
			text += fmt.Sprintf(", for the %s time", ordinal(inc.Reopenings))
		}
		line = append(line, TimelineEntry{At: inc.ReopenedAt, Kind: "reopened", Text: text})
	}
	if !inc.UnheardSince.IsZero() {
		node := "the node"
		if inc.Node != "" {
			node = "node " + inc.Node
		}
		line = append(line, TimelineEntry{At: inc.UnheardSince, Kind: "unheard", Text: fmt.Sprintf("%s: nothing is heard of %s since, so nobody knows whether it goes on", inc.Subject(), node)})
	}
	return line
}

// ordinal is 2nd for 2.
func ordinal(n int64) string {
	suffix := "th"
	if n/10%10 != 1 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return strconv.FormatInt(n, 10) + suffix
}

// DeliveryTimeline tells a delivery: seen, matched, called, answered, verified.
func DeliveryTimeline(d *delivery.Delivery, covered []*incident.Incident, log []delivery.Entry, sent []*notice.Line) []TimelineEntry {
	line := append(milestones(d), noticesTimeline(sent)...)
	for _, e := range log {
		if text := moment(&e); text != "" {
			line = append(line, TimelineEntry{At: e.At, Kind: "delivery", Text: text, DeliveryID: d.ID})
		}
	}
	for _, inc := range covered {
		line = append(line, TimelineEntry{At: inc.FirstSeen, Kind: "event", Text: fmt.Sprintf("%s was first seen: %s", inc.Subject(), inc.Message)})
		if !inc.Open() {
			line = append(line, resolution(inc))
		}
	}
	return inOrder(line)
}

// inOrder sorts by time; what is of one moment keeps its order.
func inOrder(line []TimelineEntry) []TimelineEntry {
	slices.SortStableFunc(line, func(a, b TimelineEntry) int { return a.At.Compare(b.At) })
	if line == nil {
		line = []TimelineEntry{}
	}
	return line
}

func resolution(inc *incident.Incident) TimelineEntry {
	return TimelineEntry{At: inc.ResolvedAt, Kind: "resolution", Text: fmt.Sprintf("%s: %s, after %s", inc.Subject(), map[incident.Resolution]string{
		incident.Recovered: "seen healthy again", incident.Quiet: "nothing new was seen any more", incident.WasGone: "the resource was deleted",
	}[inc.Resolution], inc.ResolvedAt.Sub(inc.FirstSeen).Round(time.Second))}
}

// milestones are the moments of a delivery.
func milestones(d *delivery.Delivery) []TimelineEntry {
	var line []TimelineEntry
	add := func(at time.Time, format string, args ...any) {
		if !at.IsZero() {
			line = append(line, TimelineEntry{At: at, Kind: "delivery", Text: fmt.Sprintf(format, args...), DeliveryID: d.ID})
		}
	}
	add(d.CreatedAt, "Hook %s (%s) makes a call to agent %s due, about %s", d.Hook, d.Config, d.Agent, d.Group)
	add(d.CalledAt, "agent %s was called (attempt %d)", d.Agent, d.Attempt)
	switch {
	case d.State == delivery.Succeeded:
		add(d.EndedAt, "agent %s finished its task", d.Agent)
	case d.State.Ended():
		add(d.EndedAt, "%s", quoting(fmt.Sprintf("the delivery ended as %s", d.State), d.Error))
	}
	if d.Outcome == delivery.OutcomeRelapsed {
		add(d.RecoveredAt, "recovered for %s", d.RelapsedAfter().Round(time.Second))
	}
	add(d.OutcomeAt, "outcome: %s", map[delivery.Outcome]string{
		delivery.OutcomeRecovered: "recovered", delivery.OutcomeRelapsed: "relapsed: it failed again", delivery.OutcomePersisting: "the problem persists",
		delivery.OutcomeUnknown: "unknown: the incidents ended, but nothing healthy was seen",
	}[d.Outcome])
	return line
}

// quoting is a sentence with what it is about; that is "" where it may not be read.
func quoting(sentence, text string) string {
	if text == "" {
		return sentence
	}
	return sentence + ": " + text
}

// something is what an agent says or asks, as the end of a sentence.
func something(text string) string {
	if text == "" {
		return " something"
	}
	return ": " + text
}

// Sentence is the entry as a sentence; "" for what the delivery itself tells.
func (e *LogEntry) Sentence() string {
	return moment(&delivery.Entry{Kind: e.Kind, State: e.State, By: e.By, Name: e.Name, Text: e.Text})
}

// moment is an entry of a delivery's log as a sentence; "" for what the milestones tell.
func moment(e *delivery.Entry) string {
	text := incident.Clean(e.Text, maxMoment)
	switch e.Kind {
	case delivery.EntryCall:
		return text
	case delivery.EntryStall:
		return cmp.Or(text, "the task: "+e.State)
	case delivery.EntryPerson:
		return strings.TrimSpace(e.By + " " + cmp.Or(text, "acted on the delivery"))
	case delivery.EntryState:
		return "the agent's task is " + e.State
	case delivery.EntryMessage:
		return "the agent says" + something(text)
	case delivery.EntryArtifact:
		return quoting("the agent made "+cmp.Or(incident.Clean(e.Name, maxMoment), "an artifact"), text)
	case delivery.EntryToolCall:
		return strings.TrimSpace("the agent calls " + cmp.Or(incident.Clean(e.Name, maxMoment), "a tool") + " " + text)
	case delivery.EntryToolAnswer:
		return quoting(cmp.Or(incident.Clean(e.Name, maxMoment), "a tool")+" answers", text)
	case delivery.EntryQuestion:
		return "the agent asks" + something(text)
	case delivery.EntryReply:
		return quoting(e.By+" replies", strings.TrimSpace(e.State+" "+text))
	case delivery.EntryMore:
		return "the agent said more than was kept"
	}
	return ""
}

// maxMoment bounds what a timeline shows of a text, in bytes.
const maxMoment = 200

// meaning says what a decision means.
func meaning(d delivery.Decision) string {
	if why, ok := madeFor[d.MadeFor]; ok && d.Disposition == delivery.Delivered {
		return string(d.Disposition) + ", " + why
	}
	return string(d.Disposition) + ", " + map[delivery.Disposition]string{
		delivery.Delivered:       "a call to its agent is scheduled",
		delivery.Duplicate:       "its agent was called for this incident within the window",
		delivery.Grouped:         "its agent was called for another incident of the group within the window",
		delivery.Explained:       "its agent is called for the cause",
		delivery.OverBudget:      "a limit of calls or tokens is used up; the agent is told with the next call",
		delivery.LoopGuard:       "its agent was called again and again; the agent is told with the next call",
		delivery.RecoveredBefore: "everything had ended before its agent could be called",
		delivery.Suspended:       "the Hook is suspended",
		delivery.Paused:          "calls are paused by a person; once they go on, its agent is called if it still fails",
		delivery.Invalid:         "the configuration can't be used or its match expression not be evaluated; the conditions Ready and MatchTooCostly say why",
	}[d.Disposition]
}

// madeFor says why a call was made that no event asked for.
var madeFor = map[delivery.MadeFor]string{
	delivery.ForOngoing: "its agent is called again because the problem goes on",
	delivery.ForRelease: "its agent is called now because what held the call back is over",
	delivery.ForResume:  "its agent is called because a person let calls through again",
	delivery.ForRetry:   "its agent is called because a person wanted the call once more",
	delivery.ForStall:   "its agent is called again because the task of the call before stalled, and has ended since",
}
