package detect

import (
	"time"

	"k8s.io/apimachinery/pkg/watch"

	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/recording"
)

// Play feeds a recording through a Detector on a virtual clock, and calls step at each moment at
// which something happened, in order. Timers fire between the records and, for the time of settle,
// after the last one; then nothing is observed any more. Where the recording says until when it was watched, that is when this
// begins. The last call is at the end, without signals.
func Play(rec *recording.Recording, timing Timing, settle time.Duration, step func(now time.Time, signals []incident.Signal) error) error {
	timing.Start = rec.Base
	d := New(timing)
	now := rec.Base
	ticks := func(until time.Time) error {
		for {
			due, ok := d.Next()
			if !ok || due.After(until) {
				return nil
			}
			now = latest(now, due)
			if signals := d.Tick(now); len(signals) > 0 {
				if err := step(now, signals); err != nil {
					return err
				}
			}
		}
	}
	for _, r := range rec.Records {
		if err := ticks(rec.Base.Add(r.T)); err != nil {
			return err
		}
		now = latest(now, rec.Base.Add(r.T))
		typ := r.Type
		if r.Listed { // as what the source lists
			typ = watch.Modified
		}
		var signals []incident.Signal
		if r.Pod != nil {
			signals = d.Pod(now, typ, r.Pod, r.Listed)
		} else {
			signals = d.Event(now, typ, r.Event, r.Listed)
		}
		if err := step(now, signals); err != nil {
			return err
		}
	}
	if err := ticks(rec.Base.Add(rec.End)); err != nil {
		return err
	}
	now = latest(now, rec.Base.Add(rec.End))
	d.SetLive(false)
	end := now.Add(settle)
	if err := ticks(end); err != nil {
		return err
	}
	return step(end, nil)
}
