package main

import (
	"fmt"
	"time"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// digest puts decisions into sentences: the first of its kind at once, those that repeat it together.
type digest struct {
	every time.Duration // at most so often the repetitions of one kind are told
	seen  map[int64]bool
	kinds map[kind]*repetition
	order []kind
}

// kind is what decisions have in common that are told together.
type kind struct {
	eventType   api.EventType
	about       string // the workload
	disposition delivery.Disposition
	cause       api.EventType // of the call that covers the event
}

// repetition counts what is not told yet.
type repetition struct {
	n    int
	last time.Time // when something was told
}

func newDigest(every time.Duration) *digest {
	return &digest{every: every, seen: map[int64]bool{}, kinds: map[kind]*repetition{}}
}

// add takes events with their decisions, of which some may be known, and returns what is to be told now. Calls are not told: khook tells them
// itself, by a Kubernetes Event.
func (d *digest) add(events []api.Event, types map[string]api.EventType, now time.Time) []string {
	var lines []string
	for _, e := range events {
		if d.seen[e.ID] || len(e.Dispositions) == 0 {
			continue
		}
		d.seen[e.ID] = true
		for _, decided := range e.Dispositions {
			if decided.Disposition == delivery.Delivered {
				continue
			}
			k := kind{e.EventType, incident.Workload(e.Workload).String(), decided.Disposition, types[decided.DeliveryID]}
			r := d.kinds[k]
			if r == nil {
				d.kinds[k] = &repetition{last: now}
				d.order = append(d.order, k)
				lines = append(lines, k.first())
				continue
			}
			r.n++
		}
	}
	return append(lines, d.due(now.Add(-d.every), now)...)
}

// rest tells what is not told yet.
func (d *digest) rest(now time.Time) []string { return d.due(now, now) }

// due tells of the repetitions of which nothing was told since a time.
func (d *digest) due(since, now time.Time) (lines []string) {
	for _, k := range d.order {
		if r := d.kinds[k]; r.n > 0 && !r.last.After(since) {
			lines = append(lines, k.more(r.n))
			*r = repetition{last: now}
		}
	}
	return lines
}

// first tells the first decision of a kind.
func (k kind) first() string {
	if k.disposition == delivery.Duplicate {
		return fmt.Sprintf("%s of %s again: %s", k.eventType, k.about, k.why())
	}
	return fmt.Sprintf("%s of %s: %s", k.eventType, k.about, k.why())
}

// several is what more than one event of a type are called.
var several = map[api.EventType]string{
	"oom-kill": "OOM kills", "pod-restart": "restarts", "pod-pending": "times pending", "probe-failed": "failed probes",
}

// more tells of further ones.
func (k kind) more(n int) string {
	if n == 1 {
		return fmt.Sprintf("once more %s of %s: %s", k.eventType, k.about, k.why())
	}
	return fmt.Sprintf("%d more %s of %s: %s", n, several[k.eventType], k.about, k.why())
}

// why says why there is no call.
func (k kind) why() string {
	switch k.disposition {
	case delivery.Explained:
		cause := string(k.cause)
		if cause == "" {
			cause = "another failure"
		}
		return "explained by the " + cause + ", no second call"
	case delivery.Duplicate, delivery.Grouped:
		return "same group, no second call"
	default:
		return "no call (" + string(k.disposition) + ")"
	}
}
