// Package metric registers the metrics of parts that may be made more than once in a process. It knows no metric, and must
// not hide that one could not be registered.
package metric

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Register adds a metric to the registry, or returns the one of the same name that is there already: another App of the
// process, as tests have, or the Source of an earlier leadership made it. Any other error is a fault in khook: a metric
// that is silently absent would keep an alert from ever firing.
func Register[C prometheus.Collector](r prometheus.Registerer, c C) C {
	err := r.Register(c)
	if err == nil {
		return c
	}
	if known, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if same, ok := known.ExistingCollector.(C); ok {
			return same
		}
	}
	panic(fmt.Errorf("register a metric: %w", err))
}
