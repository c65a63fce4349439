package detect

import (
	"unique"

	"github.com/kagent-dev/khook/internal/incident"
)

// WorkloadHealth is how many Pods of a workload there are, and how many of them are healthy. Which
// Pods count:
//
//  1. Pods that are being deleted never count.
//  2. Pods that run, or are about to, count.
//  3. A Pod that has ended (Succeeded or Failed) does not count while another one runs: it is what
//     an eviction left, a former attempt of a Job, or a former run of a CronJob.
//  4. If all Pods have ended, as between two runs of a CronJob, the newest one counts, and is
//     healthy if it succeeded. For a workload that keeps its Pods running, such as a Deployment,
//     none counts then.
type WorkloadHealth struct {
	Pods    int
	Healthy int // of Pods: all their containers are as they should be, or they have succeeded
}

// Workload counts the Pods of a workload.
func (d *Detector) Workload(namespace string, w incident.Workload) WorkloadHealth {
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
