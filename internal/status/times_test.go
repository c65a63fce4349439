package status

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/incident"
)

// TestATimeThatCantBeShownKeepsNothingElseFromBeingShown holds that a status is written whatever times its incidents have:
// the API server refuses it as a whole for one that is null.
func TestATimeThatCantBeShownKeepsNothingElseFromBeingShown(t *testing.T) {
	now := time.Date(2026, 1, 15, 10, 0, 0, 0, time.UTC)
	for name, at := range map[string]time.Time{"year 1": {}, "1970": time.Unix(0, 0), "year 12000": now.AddDate(10_000, 0, 0)} {
		good := &incident.Incident{FirstSeen: now, LastSeen: now}
		for _, tc := range []struct {
			odd  *incident.Incident
			want time.Time
		}{
			{&incident.Incident{FirstSeen: at, LastSeen: now.Add(-time.Hour)}, now.Add(-time.Hour)},
			{&incident.Incident{FirstSeen: at, LastSeen: at, ObservedAt: now.Add(-time.Minute)}, now.Add(-time.Minute)},
			{&incident.Incident{FirstSeen: at, LastSeen: at}, now},
		} {
			shown := activeEvents([]*incident.Incident{tc.odd, good}, now)
			if _, err := json.Marshal(shown); err != nil || len(shown) != 2 {
				t.Fatalf("%s: %d are shown, %v", name, len(shown), err)
			}
			for _, e := range shown {
				if e.FirstSeen.IsZero() || e.LastSeen.IsZero() {
					t.Errorf("%s: %+v", name, e)
				}
			}
			if odd := shown[0]; !shown[0].FirstSeen.Time.Equal(tc.want) && !shown[1].FirstSeen.Time.Equal(tc.want) {
				t.Errorf("%s: first seen %s, want %s", name, odd.FirstSeen, tc.want)
			}
		}
	}
}
