package dispatch

import (
	"strings"
	"testing"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/delivery"
)

// TestAnUpgradeAfterALostAnswerIsNoSecondCall: kagent 1.0 does not know the messages that an older one
// got, and can't be asked for its contexts; the older ones can.
func TestAnUpgradeAfterALostAnswerIsNoSecondCall(t *testing.T) {
	dialects := agent.Dialects()
	for i, from := range dialects {
		for _, to := range dialects[i+1:] {
			for _, restart := range []bool{false, true} {
				t.Run(from+" to "+to, func(t *testing.T) {
					r := newRig(t, kagenttest.Options{Dialect: from, Script: acts(kagenttest.Act{Answer: "done"})})
					r.kagent.Inject(kagenttest.Fault{On: kagenttest.Send, Accept: true, Drop: true})
					for _, kind := range []string{kagenttest.Send, kagenttest.Tasks, kagenttest.List} {
						r.kagent.Inject(kagenttest.Fault{On: kind, Times: -1, Status: 503})
					}
					d := r.until(r.due(), "its answer is lost", func(d *delivery.Delivery) bool { return d.Sent != nil && d.Error != "" })
					if d.Sent.Dialect != from {
						t.Errorf("the dialect of the lost call is %q", d.Sent.Dialect)
					}
					if restart {
						r.halt()
					}
					r.kagent.SetDialect(to)
					r.kagent.Heal()
					if restart {
						r.start()
					}
					d = r.until(d, "it has ended", func(d *delivery.Delivery) bool { return d.State.Ended() })
					r.once(d)
					if to == agent.Kagent10 && (d.State != delivery.Failed || !strings.Contains(d.Error, "kagent was changed since")) {
						t.Errorf("it is %s: %s", d.State, d.Error)
					}
				})
			}
		}
	}
}
