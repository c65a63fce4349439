package dashboard

import (
	"os"
	"testing"
	"time"
)

// TestHold shows the scene for as long as KHOOK_DASHBOARD_HOLD says, such as 1h, to work on the page: see docs/dashboard.md.
func TestHold(t *testing.T) {
	hold, err := time.ParseDuration(os.Getenv("KHOOK_DASHBOARD_HOLD"))
	if err != nil {
		t.Skip("KHOOK_DASHBOARD_HOLD is not set")
	}
	s := newScene(t, "--api-auth", "none")
	s.play()
	t.Log("the dashboard is at " + s.url)
	if err := os.WriteFile(os.Getenv("KHOOK_DASHBOARD_URL_FILE"), []byte(s.url), 0o600); err != nil {
		t.Log(err)
	}
	time.Sleep(hold)
}
