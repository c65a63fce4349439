package detect

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kagent-dev/khook/internal/incident"
)

// pendingState is what is kept of a Pod while it is Pending.
type pendingState struct {
	since           time.Time
	hadRun          bool // it was Running before: its key needs the time
	reported        bool
	notBefore       time.Time // not to be told before: the Events that say why are still to be listed
	why             warning
	scheduled       time.Time // when it got its node; zero if it has none
	progress        progress  // what is done about it
	causes          []incident.EventType
	heldByContainer string // the init container that keeps it Pending; "" if none does
}

// longPending is the rule for Pods in phase Pending (pkg/kubelet/kubelet_pods.go, getPhase: until all
// init containers are done and all containers have started once). It follows such a Pod, and tells it
// when that has lasted too long.
func longPending(known state, seen observed) (state, []incident.Signal) {
	if known.pod.phase != phasePending || known.pod.over() {
		if known.problems != nil && known.problems.pending != nil {
			known = known.with(func(p *problems) { p.pending = nil })
		}
		return known, nil
	}
	var now pendingState
	wasGated := seen.before != nil && seen.before.has(podGated)
	if known.problems == nil || known.problems.pending == nil || known.pod.has(podGated) || wasGated {
		again := hasRun(seen.pod) || seen.before != nil && seen.before.phase == phaseRunning
		now = pendingState{since: pendingSince(known.pod, seen, again), hadRun: again}
	} else {
		now = *known.problems.pending
	}
	now.why = whyPending(seen.pod)
	now.heldByContainer, now.causes = heldByInit(seen.pod)
	if now.scheduled.IsZero() || seen.pod.Spec.NodeName == "" {
		now.scheduled = seen.scheduledAt()
	}
	if seen.catchUp && !seen.justMade && (isVague(now.why.reason) || now.scheduled.IsZero()) && now.notBefore.IsZero() {
		now.notBefore = seen.now.Add(eventsLag)
	}
	return pendingOverdue(known.with(func(p *problems) { p.pending = &now }), seen)
}

// eventsLag is how long after the first sight of a Pod the Events that say why it waits, or what is done about it, may come.
const eventsLag = 5 * time.Second

// pendingSince is when the Pod began to wait: when it was made, when its scheduling gates went
// away, or when it came back to Pending.
func pendingSince(p *podState, seen observed, again bool) time.Time {
	if again {
		at, _ := seen.when(uninitializedSince(seen.pod))
		return at
	}
	if seen.before != nil && (seen.before.has(podGated) || seen.before.phase != phasePending) || p.has(podGated) {
		return seen.now
	}
	return seen.madeAt()
}

// watchLag is how long after its creation a Pod that is just made may come at most. Where it seems to be more, the clocks of
// khook and of the API server differ.
const watchLag = 10 * time.Second

// madeAt is when the Pod was made, by khook's clock. The API server tells it by its own: one that is just made and seems to
// be older was made now, by a khook whose clock is ahead; and so was one that seems to come from the future. Of a Pod that
// was listed nobody knows better than its creation.
func (l observed) madeAt() time.Time {
	made := l.pod.CreationTimestamp.Time
	if made.After(l.now) || l.justMade && l.now.Sub(made) > watchLag {
		return l.now
	}
	return made
}

// hasRun says whether a Pod that is Pending ran before, as one does that runs its init containers again after its node's
// restart: each of its regular containers has started once, which is what makes a Pod run.
func hasRun(pod *corev1.Pod) bool {
	neverStarted := func(st corev1.ContainerStatus) bool {
		return st.RestartCount == 0 && st.State.Running == nil && newestEnd(&st) == nil
	}
	statuses := pod.Status.ContainerStatuses
	return len(statuses) > 0 && len(statuses) == len(pod.Spec.Containers) && !slices.ContainsFunc(statuses, neverStarted)
}

// uninitializedSince is since when the Pod's init containers are not done; zero if nothing says so. It is in the status, so
// that a khook that starts meanwhile finds the same.
func uninitializedSince(pod *corev1.Pod) time.Time {
	c := condition(pod, corev1.PodInitialized)
	if c.Status != corev1.ConditionFalse {
		return time.Time{}
	}
	return c.LastTransitionTime.Time
}

// pendingOverdue is the rule for Pods that have been Pending for too long.
func pendingOverdue(known state, seen observed) (state, []incident.Signal) {
	if known.problems == nil || !known.problems.pending.mayReport(known.pod) {
		return known, nil
	}
	p := *known.problems.pending
	at := p.due(known.pod, known.problems, seen.timing)
	if seen.now.Before(at) || seen.now.Before(p.notBefore) {
		return known, nil
	}
	p.reported = true
	known = known.with(func(now *problems) { now.pending = &p })
	seen.catchUp = seen.catchUp || !p.notBefore.IsZero()
	why := p.why
	fromEvent := known.problems.volumeWarning
	if overcome := p.progress.kind == pulling && fromEvent.at.Before(p.progress.at); fromEvent.reason != "" && isVague(why.reason) && !overcome {
		why = fromEvent.warning
	}
	key := "pod-pending/" + known.pod.resource(seen.key).UID
	if p.hadRun {
		key += fmt.Sprintf("/%d", p.since.Unix())
	}
	known, sig := known.occurred(seen, incident.Signal{
		Key: key, Type: incident.PodPending, At: at, Observation: incident.Observation{
			Reason: why.reason, Message: fmt.Sprintf("Pod is Pending for longer than %s: %s", short(at.Sub(p.since).Round(time.Second)), p.reasonWith(known.pod, why)),
		},
		Causes: p.causes, CauseContainer: p.heldByContainer,
	})
	return known, []incident.Signal{sig}
}

// mayReport says whether the Pod is still to be told as Pending, once it is time. A Pod that is held by
// scheduling gates waits on purpose.
func (s *pendingState) mayReport(p *podState) bool {
	return s != nil && !s.reported && !p.has(podGated) && !p.over()
}

// isVague says whether a reason of a waiting container says nothing: a Warning Event knows better. The
// kubelet writes the first two of each container that it has not begun with
// (pkg/kubelet/kubelet_pods.go, convertToAPIContainerStatuses).
func isVague(reason string) bool {
	return reason == "ContainerCreating" || reason == "PodInitializing" || reason == reasonPending
}

// Reasons of khook's own, where a Pod does not say why it is Pending.
const (
	reasonPending      = "Pending"
	reasonNotScheduled = "NotScheduled"
)

// whyPending reads the reason off the Pod: not scheduled (pkg/scheduler/schedule_one.go,
// handleSchedulingFailure), or what its containers wait for.
func whyPending(pod *corev1.Pod) warning {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return warning{cmp.Or(c.Reason, "Unschedulable"), cmp.Or(c.Message, "no node was found for it")}
		}
	}
	why := warning{reasonPending, "it has not started"}
	for st := range containerStatuses(pod) {
		w := st.State.Waiting
		if w == nil || w.Reason == "" {
			if end := st.State.Terminated; end != nil && end.ExitCode != 0 {
				return warning{cmp.Or(end.Reason, "Error"), fmt.Sprintf("container %s ended with exit code %d", st.Name, end.ExitCode)}
			}
			continue
		}
		ofContainer := warning{w.Reason, fmt.Sprintf("container %s waits: %s", st.Name, cmp.Or(w.Message, w.Reason))}
		if !isVague(w.Reason) {
			return ofContainer
		}
		if why.reason == reasonPending {
			why = ofContainer
		}
	}
	if pod.Spec.NodeName == "" && why.reason == reasonPending {
		return warning{reasonNotScheduled, "the scheduler has not taken it up yet"}
	}
	return why
}

// heldByInit finds the init container whose restarts keep the Pod Pending, and what explains them.
func heldByInit(pod *corev1.Pod) (string, []incident.EventType) {
	for i := range pod.Status.InitContainerStatuses {
		st := &pod.Status.InitContainerStatuses[i]
		if oom, _ := outOfMemory(newestEnd(st)); !st.Ready && (st.RestartCount > 0 || oom) {
			return st.Name, []incident.EventType{incident.OOMKill, incident.PodRestart}
		}
	}
	return "", nil
}

// short writes a duration as people do: 1m, not 1m0s.
func short(d time.Duration) string {
	s := d.String()
	s, _ = strings.CutSuffix(s, "m0s")
	if s != d.String() {
		s += "m"
	}
	if h, ok := strings.CutSuffix(s, "h0m"); ok {
		s = h + "h"
	}
	return s
}
