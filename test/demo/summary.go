package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// sumUp prints what happened, what was called for, and what came of it.
func (s *story) sumUp(ctx context.Context, tell *teller) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	f, err := s.ask(ctx)
	if err != nil {
		return fmt.Errorf("sum up: %w", err)
	}
	tell.say(me, "What happened:")
	tell.plain("\n" + summary(f))
	return nil
}

// row is a line of the summary: what happened to one workload in one way.
type row struct {
	eventType api.EventType
	about     string

	events, calls int
	without       map[delivery.Disposition]int
	outcome       string
	open          bool
}

// summary is a table with a line for each way in which a workload failed, in the order in which they began.
func summary(f facts) string {
	var all []*row
	of := func(t api.EventType, about string) *row {
		at := slices.IndexFunc(all, func(l *row) bool { return l.eventType == t && l.about == about })
		if at < 0 {
			at, all = len(all), append(all, &row{eventType: t, about: about, without: map[delivery.Disposition]int{}})
		}
		return all[at]
	}
	for _, e := range f.events {
		l := of(e.EventType, incident.Workload(e.Workload).String())
		l.events++
		for _, d := range e.Dispositions {
			if d.Disposition == delivery.Delivered {
				l.calls++
			} else {
				l.without[d.Disposition]++
			}
		}
	}
	for _, d := range f.deliveries {
		l := of(d.EventType, d.Group)
		l.outcome = cmp.Or(string(d.Outcome), "not known yet")
	}
	for _, i := range f.incidents {
		l := of(i.EventType, incident.Workload(i.Workload).String())
		l.open = l.open || i.Status == string(incident.Firing)
	}
	return table(all)
}

func table(all []*row) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 8, 3, ' ', 0)
	fmt.Fprintln(w, "TYPE\tABOUT\tEVENTS\tCALLS\tNO CALL, BECAUSE\tNOW\tOUTCOME")
	events, calls := 0, 0
	for _, l := range all {
		now := "ended"
		if l.open {
			now = "failing"
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%s\t%s\n", l.eventType, l.about, l.events, l.calls, l.reasons(), now, cmp.Or(l.outcome, "-"))
		events, calls = events+l.events, calls+l.calls
	}
	_ = w.Flush() // into memory
	times := fmt.Sprintf("%d times", calls)
	if calls == 1 {
		times = "once"
	}
	fmt.Fprintf(&text, "\nkhook recorded %d events, and called its agent %s.\n", events, times)
	return text.String()
}

// reasons are why there was no call, most frequent first.
func (l *row) reasons() string {
	var names []delivery.Disposition
	for name := range l.without {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b delivery.Disposition) int {
		return cmp.Or(l.without[b]-l.without[a], strings.Compare(string(a), string(b)))
	})
	var parts []string
	for _, name := range names {
		parts = append(parts, fmt.Sprintf("%d %s", l.without[name], name))
	}
	if len(parts) == 0 {
		return "-"
	}
	return strings.Join(parts, ", ")
}
