package dashboard

import (
	"os"
	"testing"
	"time"
)

// TestHold shows the scene to who works on the page, until the file is deleted that KHOOK_DASHBOARD_HOLD names and that the
// address is written into: see docs/dashboard.md.
func TestHold(t *testing.T) {
	file := os.Getenv("KHOOK_DASHBOARD_HOLD")
	if file == "" {
		t.Skip("KHOOK_DASHBOARD_HOLD names no file")
	}
	s := newScene(t)
	s.play()
	if err := os.WriteFile(file, []byte(s.admin), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, err := os.Stat(file); err == nil; _, err = os.Stat(file) {
		time.Sleep(time.Second)
	}
}
