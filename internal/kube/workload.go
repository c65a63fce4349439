package kube

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kagent-dev/khook/internal/detect"
	"github.com/kagent-dev/khook/internal/incident"
)

// WorkloadHealth is how the Pods of a workload are now.
type WorkloadHealth struct {
	detect.WorkloadHealth
	// Synced says whether the first list of the namespace's Pods is in: before, there may be more.
	Synced bool
}

// answerWithin bounds how long Workload waits for the detector, which can be held up for as long as
// signals can't be recorded.
const answerWithin = 5 * time.Second

// ErrBusy is returned by Workload when the detector has no time.
var ErrBusy = errors.New("the Pods can't be counted: detection is behind")

var errNotRunning = errors.New("the Pods can't be counted: the source does not run any more")

// workloadQuery is a question about a workload, for the detector's goroutine.
type workloadQuery struct {
	namespace string
	workload  incident.Workload
	answer    chan detect.WorkloadHealth // with room for the answer
}

// Workload counts the Pods of a workload. A bare Pod is its own workload, of kind Pod. The answer is
// as new as what detection has seen. It goes over all Pods, which keeps the detector
// for 0.1 ms if there are 10,000 (BenchmarkWorkload): it is for a few questions a second.
func (s *Source) Workload(ctx context.Context, namespace string, w incident.Workload) (WorkloadHealth, error) {
	synced := s.listed(namespace) // asked first: what is counted then is at least that list
	ctx, cancel := context.WithTimeoutCause(ctx, answerWithin, ErrBusy)
	defer cancel()
	q := workloadQuery{namespace: namespace, workload: w, answer: make(chan detect.WorkloadHealth, 1)}
	select {
	case s.queries <- q:
	case <-s.ended:
		return WorkloadHealth{}, errNotRunning
	case <-ctx.Done():
		return WorkloadHealth{}, fmt.Errorf("ask for %s in %s: %w", w, namespace, context.Cause(ctx))
	}
	counted := <-q.answer // the detector does nothing else once it has the query
	return WorkloadHealth{WorkloadHealth: counted, Synced: synced}, nil
}

// listed says whether the first list of the Pods in a namespace is in.
func (s *Source) listed(namespace string) bool {
	for _, w := range s.watches {
		if w.resource == "pods" && (w.namespace == "" || w.namespace == namespace) {
			return w.isListed()
		}
	}
	return false
}
