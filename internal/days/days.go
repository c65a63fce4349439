// Package days reads durations as people write them: as Go does, and with days.
package days

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
)

var inDays = regexp.MustCompile(`([0-9]*\.?[0-9]+)d`)

// Parse is time.ParseDuration, with the unit d for 24 hours: 7d, 1d12h. As there, a number without a unit is refused, unless it is 0.
func Parse(text string) (time.Duration, error) {
	inHours := inDays.ReplaceAllStringFunc(text, func(part string) string {
		n, err := strconv.ParseFloat(part[:len(part)-1], 64)
		if err != nil {
			return part // which time.ParseDuration refuses
		}
		return strconv.FormatFloat(24*n, 'f', -1, 64) + "h"
	})
	d, err := time.ParseDuration(inHours)
	if err != nil {
		return 0, fmt.Errorf("%q is no duration: write it such as 90s, 2h or 7d", text)
	}
	return d, nil
}
