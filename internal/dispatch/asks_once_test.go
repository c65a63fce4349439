package dispatch

import (
	"sync/atomic"
	"testing"

	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/delivery"
)

func TestEachQuestionIsToldOnce(t *testing.T) {
	var asked atomic.Int64
	r := newRig(t, kagenttest.Options{Script: func(m kagenttest.Message) kagenttest.Act {
		if m.Reply {
			return kagenttest.Act{Ask: "and the volume?"}
		}
		return kagenttest.Act{Ask: "may I delete the Pod?"}
	}}, func(c *Config) {
		c.Observe = func(change Change) {
			if change.Delivery.State == delivery.InputRequired && (change.From != delivery.InputRequired || change.Asks) {
				asked.Add(1)
			}
		}
	})
	d := r.untilState(r.due(), delivery.InputRequired)
	first := d.QuestionID
	r.answer(d, "yes")
	r.until(d, "another question", func(d *delivery.Delivery) bool { return d.State == delivery.InputRequired && d.QuestionID != first })
	r.eventually("the second question is told", func() bool { return asked.Load() >= 2 }, func() string { return "one was told" })
	if n := asked.Load(); n != 2 {
		t.Errorf("two questions were told %d times", n)
	}
}
