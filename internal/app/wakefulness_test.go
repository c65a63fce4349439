package app

import (
	"testing"
	"time"
)

// TestAProcessThatWasHaltedHasNotWatchedMeanwhile holds that nothing ends as quiet for the time in which khook stood still.
func TestAProcessThatWasHaltedHasNotWatchedMeanwhile(t *testing.T) {
	noon := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		pauses []time.Duration
		want   time.Duration // since noon; 0 for never
	}{
		"never halted":        {[]time.Duration{quietEvery, quietEvery, 2 * quietEvery}, 0},
		"halted":              {[]time.Duration{quietEvery, 20 * time.Minute, quietEvery}, quietEvery + 20*time.Minute},
		"halted twice":        {[]time.Duration{time.Hour, quietEvery, time.Minute}, time.Hour + quietEvery + time.Minute},
		"its clock went back": {[]time.Duration{quietEvery, -time.Hour, quietEvery}, quietEvery - time.Hour},
	} {
		var w wakefulness
		now := noon
		got := w.since(now)
		for _, pause := range tc.pauses {
			now = now.Add(pause)
			got = w.since(now)
		}
		want := time.Time{}
		if tc.want != 0 {
			want = noon.Add(tc.want)
		}
		if !got.Equal(want) {
			t.Errorf("%s: watched since %s, want %s", name, got, want)
		}
	}
}
