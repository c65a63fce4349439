package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

// exception lets a finding through until the end of a day, for a reason.
type exception struct {
	id     string
	until  time.Time
	reason string
}

// knownID is the form of an ID in Go's database.
var knownID = regexp.MustCompile(`^GO-\d{4}-\d{4,}$`)

// maxReach is for how long an exception may be written ahead, so that each is thought about again.
const maxReach = 180 * 24 * time.Hour

// readExceptions reads the file of exceptions: an ID, a last day and the reason a line, # for
// comments. There are none if file is empty.
func readExceptions(file string, now time.Time) ([]exception, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var found []exception
	for i, line := range strings.Split(string(text), "\n") {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		e, err := parseException(line, now)
		if err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", file, i+1, err)
		}
		found = append(found, e)
	}
	return found, nil
}

func parseException(line string, now time.Time) (exception, error) {
	fields := strings.Fields(line)
	if len(fields) < 3 || !knownID.MatchString(fields[0]) {
		return exception{}, fmt.Errorf("%q: write an ID, the last day and the reason, such as GO-2026-1234 2026-12-31 only tests call it", line)
	}
	day, err := time.Parse(time.DateOnly, fields[1])
	if err != nil {
		return exception{}, fmt.Errorf("%q is no day: write it such as 2026-12-31", fields[1])
	}
	if day.After(now.Add(maxReach)) {
		return exception{}, fmt.Errorf("%s is too far ahead: at most %d days", fields[1], maxReach/(24*time.Hour))
	}
	return exception{id: fields[0], until: day.Add(24*time.Hour - time.Second), reason: strings.Join(fields[2:], " ")}, nil
}

func exceptionFor(id string, exceptions []exception) *exception {
	i := slices.IndexFunc(exceptions, func(e exception) bool { return e.id == id })
	if i < 0 {
		return nil
	}
	return &exceptions[i]
}
