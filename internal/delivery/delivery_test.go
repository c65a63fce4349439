package delivery

import (
	"testing"
	"time"
)

func TestADeliveryWaitsLongForItsAgentAndThenHasItsTimeout(t *testing.T) {
	created := time.Date(2026, 1, 15, 10, 0, 0, 0, time.UTC)
	d := Delivery{ID: "d", State: Pending, CreatedAt: created, Timeout: time.Hour}
	if got := d.Deadline(); !got.Equal(created.Add(MaxWait)) {
		t.Errorf("waiting: %s", got)
	}
	d.State, d.CalledAt = Working, created.Add(5*time.Hour)
	if got := d.Deadline(); !got.Equal(created.Add(6 * time.Hour)) {
		t.Errorf("working: %s", got)
	}
	if d.MessageID() == d.SessionID() || d.MessageID() != (&Delivery{ID: "d"}).MessageID() {
		t.Error("message and session IDs are not derived from the delivery's alone")
	}
}
