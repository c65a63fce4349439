package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/kagent-dev/khook/internal/agent/kagenttest"
)

// startAgent starts a real A2A server, shaped like kagent's newest, whose agent answers from the
// structured part of the message.
func startAgent(tell *teller, p pace) (*kagenttest.Server, error) {
	work := p.of(2 * time.Second)
	return kagenttest.Start(kagenttest.Options{Script: func(m kagenttest.Message) kagenttest.Act {
		answer := advise(m.Data)
		tell.called(m, answer, work)
		return kagenttest.Act{Work: work, Answer: answer}
	}})
}

// event is what the stand-in reads of khook's structured part.
type event struct {
	EventType string `json:"eventType"`
	Total     int    `json:"totalIncidents"`
	Incidents []struct {
		ResourceName string `json:"resourceName"`
		Container    string `json:"container"`
		Reason       string `json:"reason"`
		Message      string `json:"message"`
	} `json:"incidents"`
	Effects []struct {
		EventType string `json:"eventType"`
	} `json:"effects"`
}

// advice is what the stand-in says to each event type.
var advice = map[string]string{
	"oom-kill":     "look at the container's memory use, and raise its limit or mend the leak",
	"pod-restart":  "read the log of the container before its end (kubectl logs --previous)",
	"pod-pending":  "make what the Pod waits for, or take it out of its specification",
	"probe-failed": "ask the probe's address from inside the Pod, and compare it with what the container serves",
}

func advise(data json.RawMessage) string {
	var e event
	if err := json.Unmarshal(data, &e); err != nil || len(e.Incidents) == 0 {
		return "I found no structured event in the message."
	}
	first := e.Incidents[0]
	var b strings.Builder
	fmt.Fprintf(&b, "The structured event says: %s of %s", e.EventType, first.ResourceName)
	if first.Container != "" {
		fmt.Fprintf(&b, ", container %s", first.Container)
	}
	fmt.Fprintf(&b, " (%s).", first.Reason)
	for _, effect := range e.Effects {
		fmt.Fprintf(&b, " It also caused a %s.", effect.EventType)
	}
	fmt.Fprintf(&b, " A person would now %s.", advice[e.EventType])
	return b.String()
}
