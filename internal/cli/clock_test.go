package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/api/client"
)

func TestCLITellsTimesByTheClockOnTheWallAndNamesTheZone(t *testing.T) {
	at := time.Date(2026, 1, 15, 23, 30, 0, 0, time.UTC)
	own := time.Local
	t.Cleanup(func() { time.Local = own })
	for _, tc := range []struct {
		in             *time.Location
		alone, heading string
	}{
		{time.UTC, "2026-01-15 23:30:00 UTC", "UTC"},
		{time.FixedZone("CET", 3600), "2026-01-16 00:30:00 CET", "CET (UTC+01:00)"},
		{time.FixedZone("-03", -3*3600), "2026-01-15 20:30:00 UTC-03:00", "UTC-03:00"},
	} {
		time.Local = tc.in
		if got := clockZone(at); got != tc.alone || zone(at) != tc.heading || clock(at) != tc.alone[:len("2006-01-02 15:04:05")] {
			t.Errorf("%q in %q, want %q in %q", got, zone(at), tc.alone, tc.heading)
		}
		if got := byTheClock("held until 2026-01-15T23:30:00Z, not 2026-01-15T23:30:00+01:00"); got != "held until "+tc.alone+", not 2026-01-15T23:30:00+01:00" {
			t.Errorf("%q", got)
		}
	}
}

func TestCLITellsWhenAnEventBecameResolved(t *testing.T) {
	for status, want := range map[string]string{"resolved": "2026-01-15 10:00:00", "firing": "2026-01-15 09:00:00"} {
		var out bytes.Buffer
		p := &display{out: &out, form: "table"}
		data := `{"id": 7, "status": "` + status + `", "timestamp": "2026-01-15T09:00:00Z", "changedAt": "2026-01-15T10:00:00Z"}`
		if err := p.followed(Env{}, &grid{p: p, header: []string{"TIME"}, begun: true}, client.Message{Kind: "event", Data: []byte(data)}); err != nil || !strings.HasPrefix(out.String(), want) {
			t.Errorf("%s: %v %s", status, err, out.String())
		}
	}
}
