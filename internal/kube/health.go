package kube

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unique"

	"github.com/kagent-dev/khook/internal/incident"
)

// WorkloadHealth is how the Pods of a workload are now.
//
// It goes by the Pods that are at work, or are to be: not by those on their way out, and not by those
// that have ended while others are there, which are an evicted Pod's remains, or a Job's former
// attempts and a CronJob's former runs. Where nothing is at work, as between two runs of a CronJob,
// it goes by the one that was made last: it has succeeded, or it has not. A workload that keeps
// its Pods running, such as a Deployment, has none then.
type WorkloadHealth struct {
	Pods    int
	Healthy int // of Pods: all their containers are as they should be, or they have succeeded
	// Synced says whether the first list of the namespace's Pods is in: before, there may be more.
	Synced bool
}

// answerWithin bounds how long Workload waits for the detector, which can be held up for as long as
// signals can't be recorded.
const answerWithin = 5 * time.Second

// ErrBusy is returned by Workload when the detector has no time.
var ErrBusy = errors.New("the Pods can't be counted: detection is behind")

var errNotRunning = errors.New("the Pods can't be counted: the source does not run any more")

// question is one about a workload, for the detector's goroutine.
type question struct {
	namespace string
	workload  incident.Workload
	answer    chan WorkloadHealth // with room for the answer
}

// Workload counts the Pods of a workload. A bare Pod is its own workload, of kind Pod. The answer is
// as new as what detection has seen. It goes over all Pods, which keeps the detector
// for 0.1 ms if there are 10,000 (BenchmarkWorkload): it is for a few questions a second.
func (s *Source) Workload(ctx context.Context, namespace string, w incident.Workload) (WorkloadHealth, error) {
	synced := s.listed(namespace) // asked first: what is counted then is at least that list
	ctx, cancel := context.WithTimeoutCause(ctx, answerWithin, ErrBusy)
	defer cancel()
	q := question{namespace: namespace, workload: w, answer: make(chan WorkloadHealth, 1)}
	select {
	case s.asked <- q:
	case <-s.ended:
		return WorkloadHealth{}, errNotRunning
	case <-ctx.Done():
		return WorkloadHealth{}, fmt.Errorf("ask for %s in %s: %w", w, namespace, context.Cause(ctx))
	}
	health := <-q.answer // the detector does nothing else once it has the question
	health.Synced = synced
	return health, nil
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

// workload counts the Pods of a workload.
func (d *Detector) workload(namespace string, w incident.Workload) WorkloadHealth {
	var h WorkloadHealth
	var last *podState                                     // of those that have ended
	owner, where := unique.Make(w), unique.Make(namespace) // compared as pointers are
	for _, p := range d.pods {
		switch {
		case p.workload != owner || p.namespace != where || p.has(podTerminating):
		case p.over():
			last = later(last, p)
		default:
			h.count(p)
		}
	}
	if h.Pods == 0 && last != nil && !keepsRunning(w.Kind) {
		h.count(last)
	}
	return h
}

func (h *WorkloadHealth) count(p *podState) {
	h.Pods++
	if p.has(podHealthy) {
		h.Healthy++
	}
}

// later is the Pod that was made later; of two that were made at once, as by a Job that runs several,
// the one that failed.
func later(a, b *podState) *podState {
	if a == nil || b.created > a.created || b.created == a.created && !b.has(podHealthy) {
		return b
	}
	return a
}

// keepsRunning says whether the Pods of such a workload never end by themselves: one that has was
// evicted, or lost with its node.
func keepsRunning(kind string) bool {
	switch kind {
	case "Deployment", "ReplicaSet", "ReplicationController", "StatefulSet", "DaemonSet", "Rollout":
		return true
	}
	return false
}
