package cli

import (
	"regexp"
	"strings"
	"time"
)

// Times are shown by the clock on the wall of whoever reads them: in the time zone of this machine, which TZ sets. It is named
// once where there are many of them, and with each that stands alone. What programs read has UTC.

// clock is a time where the zone is said.
func clock(t time.Time) string { return t.Local().Format(time.DateTime) }

// clockZone is a time that stands alone.
func clockZone(t time.Time) string { return clock(t) + " " + zoneName(t) }

// zone names the time zone of a time, for a heading: UTC, or CET (UTC+01:00).
func zone(t time.Time) string {
	name, offset := t.Local().Zone()
	from := "UTC" + t.Local().Format("-07:00")
	switch {
	case offset == 0:
		return "UTC"
	case strings.HasPrefix(name, "+") || strings.HasPrefix(name, "-"): // it has no name of its own
		return from
	}
	return name + " (" + from + ")"
}

func zoneName(t time.Time) string {
	name, _, _ := strings.Cut(zone(t), " ")
	return name
}

var instants = regexp.MustCompile(`\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z\b`)

// byTheClock is one of khook's own sentences, with the times in it as a person's clock has them.
func byTheClock(sentence string) string {
	return instants.ReplaceAllStringFunc(sentence, func(found string) string {
		t, err := time.Parse(time.RFC3339, found)
		if err != nil {
			return found
		}
		return clockZone(t)
	})
}
