package metric

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestTheSecondOfAKindCountsInTheSameMetric(t *testing.T) {
	r := prometheus.NewRegistry()
	options := prometheus.CounterOpts{Name: "khook_calls_total", Help: "Calls."}
	for range 2 {
		Register(r, prometheus.NewCounter(options)).Inc()
	}
	if n, err := testutil.GatherAndCount(r); n != 1 || err != nil {
		t.Fatalf("%d metrics, %v", n, err)
	}
	if got := testutil.ToFloat64(Register(r, prometheus.NewCounter(options))); got != 2 {
		t.Errorf("it counted %v, want 2", got)
	}
}

func TestAMetricIsNeverSilentlyAbsent(t *testing.T) {
	r := prometheus.NewRegistry()
	Register(r, prometheus.NewCounter(prometheus.CounterOpts{Name: "khook_calls_total", Help: "Calls."}))
	for name, c := range map[string]prometheus.Collector{
		"another help": prometheus.NewCounter(prometheus.CounterOpts{Name: "khook_calls_total", Help: "Others."}),
		"no name":      prometheus.NewCounter(prometheus.CounterOpts{Help: "Calls."}),
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("nobody is told that it could not be registered")
				}
			}()
			Register(r, c)
		})
	}
}
