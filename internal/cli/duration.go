package cli

import (
	"fmt"
	"reflect"
	"time"

	"github.com/alecthomas/kong"

	"github.com/kagent-dev/khook/internal/days"
)

// durations are taken as Go writes them, and with days: 7d, 1d12h.
func durations() kong.Option {
	return kong.TypeMapper(reflect.TypeFor[time.Duration](), kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
		token, err := ctx.Scan.PopValue("duration")
		if err != nil {
			return err
		}
		d, err := days.Parse(fmt.Sprint(token.Value)) // a number, of a file
		if err != nil {
			return err
		}
		target.SetInt(int64(d))
		return nil
	}))
}
