package detect

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kagent-dev/khook/internal/incident"
)

// pendingState is what is kept of a Pod while it is Pending.
type pendingState struct {
	since  time.Time
	again  bool // it had left Pending before
	told   bool
	hold   time.Time // not to be told before: its Events are still to be listed
	why    note
	causes []incident.EventType
	by     string // the init container that keeps it
}

// pending follows a Pod while it is Pending, and tells it when that has lasted too long.
func (b *builder) pending(old *podState, pod *corev1.Pod) {
	tr := b.d.trouble[b.key]
	if b.pod.phase != phasePending || b.pod.over() {
		if tr != nil {
			tr.pending = nil
		}
		return
	}
	if tr == nil {
		tr = b.d.troubleOf(b.key)
	}
	if tr.pending == nil || b.pod.has(podGated) || old != nil && old.has(podGated) {
		tr.pending = &pendingState{since: pendingSince(b.pod, old, b.now), again: old != nil && old.phase == phaseRunning}
	}
	tr.pending.why = whyPending(pod)
	tr.pending.by, tr.pending.causes = heldByInit(pod)
	if b.catchUp && vague[tr.pending.why.reason] && tr.pending.hold.IsZero() {
		tr.pending.hold = b.now.Add(eventsLag)
	}
	b.pendingDue()
}

// eventsLag is how long after the first sight of a Pod the Events that say why it waits may come.
const eventsLag = 5 * time.Second

// pendingSince is when the Pod began to wait: at its creation, when its scheduling gates went
// away, or when it came back to Pending.
func pendingSince(p, old *podState, now time.Time) time.Time {
	if old != nil && (old.has(podGated) || old.phase != phasePending) || p.has(podGated) {
		return now
	}
	return time.Unix(int64(p.created), 0)
}

// pendingDue tells the Pod if it is due.
func (b *builder) pendingDue() {
	tr := b.d.trouble[b.key]
	if tr == nil || tr.pending == nil || tr.pending.told || b.pod.has(podGated) || b.pod.over() {
		return
	}
	pending := tr.pending
	at := pending.since.Add(b.d.timing.PendingAfter)
	if b.now.Before(at) || b.now.Before(pending.hold) {
		return
	}
	pending.told = true
	b.catchUp = b.catchUp || !pending.hold.IsZero()
	why := pending.why
	if tr.mount.reason != "" && vague[why.reason] {
		why = tr.mount
	}
	key := "pod-pending/" + b.pod.resource(b.key).UID
	if pending.again {
		key += fmt.Sprintf("/%d", pending.since.Unix())
	}
	b.observe(incident.Signal{
		Key: key, Type: incident.PodPending, At: at, Reason: why.reason,
		Message: fmt.Sprintf("Pod is Pending for longer than %s: %s", short(b.d.timing.PendingAfter), why.message),
		Causes:  pending.causes, CauseContainer: pending.by,
	})
}

// vague are the reasons of waiting containers that say nothing: a Warning Event knows better.
var vague = map[string]bool{"ContainerCreating": true, "PodInitializing": true, "Pending": true}

// whyPending reads the reason off the Pod: not scheduled, or what its containers wait for.
func whyPending(pod *corev1.Pod) note {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return note{orText(c.Reason, "Unschedulable"), orText(c.Message, "no node was found for it")}
		}
	}
	why := note{"Pending", "it has not started"}
	for _, st := range statuses(pod) {
		w := st.State.Waiting
		if w == nil || w.Reason == "" {
			if t := st.State.Terminated; t != nil && t.ExitCode != 0 {
				return note{t.Reason, fmt.Sprintf("container %s ended with exit code %d", st.Name, t.ExitCode)}
			}
			continue
		}
		found := note{w.Reason, fmt.Sprintf("container %s waits: %s", st.Name, orText(w.Message, w.Reason))}
		if !vague[w.Reason] {
			return found
		}
		if vague[why.reason] && why.reason == "Pending" {
			why = found
		}
	}
	if pod.Spec.NodeName == "" && why.reason == "Pending" {
		return note{"NotScheduled", "the scheduler has not taken it up yet"}
	}
	return why
}

func orText(s, unset string) string {
	if s == "" {
		return unset
	}
	return s
}

// heldByInit finds the init container whose restarts keep the Pod Pending.
func heldByInit(pod *corev1.Pod) (string, []incident.EventType) {
	for i := range pod.Status.InitContainerStatuses {
		st := &pod.Status.InitContainerStatuses[i]
		if t := ended(st); !st.Ready && (st.RestartCount > 0 || t != nil && t.Reason == reasonOOMKilled) {
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
