package days

import (
	"strings"
	"testing"
	"time"
)

func TestDurationsMayHaveDays(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"7d": 168 * time.Hour, "1d12h": 36 * time.Hour, "0.5d": 12 * time.Hour, "90s": 90 * time.Second, "1h30m": 90 * time.Minute, "0": 0, "-1d": -24 * time.Hour,
	} {
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "7", "d", "7w", "7 d", "1d2", "d7", "9999999999d", "1.2.3d"} {
		if got, err := Parse(text); err == nil || !strings.Contains(err.Error(), "write it such as 90s, 2h or 7d") {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
}
