package dispatch

import (
	"testing"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/delivery"
)

func TestADeliveryKeepsWhatItsTaskTook(t *testing.T) {
	for _, dialect := range agent.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			r := newRig(t, kagenttest.Options{Dialect: dialect, Script: func(kagenttest.Message) kagenttest.Act {
				return kagenttest.Act{Answer: "done", Usage: map[string]any{"totalTokenCount": 30, "promptTokenCount": 20, "candidatesTokenCount": 10}}
			}})
			if d := r.untilState(r.due(), delivery.Succeeded); d.Usage != (delivery.Usage{Total: 30, Prompt: 20, Completion: 10}) {
				t.Errorf("%+v", d.Usage)
			}
		})
	}
}
