package cli

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"time"

	"github.com/alecthomas/kong"
)

// durations are taken as Go writes them, and with days: 7d, 1d12h.
func durations() kong.Option {
	return kong.TypeMapper(reflect.TypeFor[time.Duration](), kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
		token, err := ctx.Scan.PopValue("duration")
		if err != nil {
			return err
		}
		d, err := parseDuration(fmt.Sprint(token.Value)) // a number, of a file
		if err != nil {
			return err
		}
		target.SetInt(int64(d))
		return nil
	}))
}

var days = regexp.MustCompile(`([0-9]*\.?[0-9]+)d`)

// parseDuration is time.ParseDuration, with the unit d for 24 hours. As there, a number without a unit is refused, unless it is 0.
func parseDuration(text string) (time.Duration, error) {
	inHours := days.ReplaceAllStringFunc(text, func(part string) string {
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
