package delivery

import (
	"slices"
	"testing"

	"github.com/kagent-dev/khook/internal/incident"
)

func TestTheFirstNoOfARecordedDecisionIsItsDisposition(t *testing.T) {
	for _, disposition := range Dispositions() {
		d := Decision{EventType: incident.OOMKill, Config: "memory", Disposition: disposition, DeliveryID: "d1"}
		c := d.Checklist()
		first, no := c.First()
		if no == (disposition == Delivered) || no && first.Name != StoppedAt(disposition) {
			t.Errorf("%s: %+v", disposition, c.Steps)
		}
		if last := c.Steps[len(c.Steps)-1]; no && last != first || last.Text == "" {
			t.Errorf("%s goes on after the first no: %+v", disposition, c.Steps)
		}
		order := -1
		for _, s := range c.Steps {
			at := slices.Index(Steps(), s.Name)
			if at <= order || s.Text == "" {
				t.Errorf("%s: step %s is out of order, or says nothing: %+v", disposition, s.Name, c.Steps)
			}
			order = at
		}
	}
}
