package detect

import (
	"cmp"
	"fmt"
	"iter"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kagent-dev/khook/internal/incident"
)

// restarts is the rule for containers that restarted since the version before.
//
// restartCount is the only truth: a first restart makes no Warning Event, and a quick one never shows
// a terminated state (recordings/crash-once-then-recover). The kubelet counts it when it starts the
// next instance (pkg/kubelet/kuberuntime/kuberuntime_container.go, startContainer); it can go down
// when the former instances' remains are deleted. Where all containers of a Pod are restarted together, the count grows
// before the next instance is made: it is told when that has an ID, by which it is known from then on.
func restarts(known state, seen observed) (state, []incident.Signal) {
	var signals []incident.Signal
	for st := range containerStatuses(seen.pod) {
		var countBefore int32
		if c := seen.before.containerOrNil(st.Name); c != nil {
			countBefore = c.restarts
		}
		if st.ContainerID == "" || lostSight(st) || st.RestartCount <= countBefore && !remade(seen.before, st) {
			continue
		}
		told := startedAt(st)
		at, believed := seen.when(told...)
		if seen.before == nil && seen.tooOld(at) || !believed && seen.ofFormerMirror(st.Name, told) {
			continue
		}
		count := max(1, st.RestartCount-countBefore)
		if seen.before == nil {
			count = 1 // when the earlier ones were is not known
		}
		known = known.with(func(p *problems) { p.lastRestart = seen.now })
		var sig incident.Signal
		known, sig = known.occurred(seen, restartSignal(seen, st, at, count, restartCauses(known.problems, seen.before, st)))
		signals = append(signals, sig)
	}
	return known, signals
}

// remade says whether a container has another instance than before, and the count went down.
func remade(before *podState, st *corev1.ContainerStatus) bool {
	was := before.containerOrNil(st.Name)
	return was != nil && was.id != 0 && was.id != hash(st.ContainerID) && st.RestartCount < was.restarts
}

// containerStatuses are those of the containers that can restart: init containers, sidecars among
// them, and regular ones.
func containerStatuses(pod *corev1.Pod) iter.Seq[*corev1.ContainerStatus] {
	return func(yield func(*corev1.ContainerStatus) bool) {
		for _, statuses := range [...][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
			for i := range statuses {
				if !yield(&statuses[i]) {
					return
				}
			}
		}
	}
}

// reasonStatusUnknown is written by the kubelet for a container that its runtime does not know any more
// (pkg/kubelet/container/runtime.go, ContainerReasonStatusUnknown; set in pkg/kubelet/kubelet_pods.go,
// convertToAPIContainerStatuses, and pkg/kubelet/status/status_manager.go, TerminatePod).
const reasonStatusUnknown = "ContainerStatusUnknown"

// lostSight says that the count grew because the kubelet lost sight of the container, as after the
// loss of a node or an eviction: neither a crash nor an OOM kill.
func lostSight(st *corev1.ContainerStatus) bool {
	for _, end := range [...]*corev1.ContainerStateTerminated{st.State.Terminated, st.LastTerminationState.Terminated} {
		if end != nil && end.Reason == reasonStatusUnknown {
			return true
		}
	}
	return false
}

// newestEnd is the newest termination that the status shows, or nil.
func newestEnd(st *corev1.ContainerStatus) *corev1.ContainerStateTerminated {
	if st.State.Terminated != nil {
		return st.State.Terminated
	}
	return st.LastTerminationState.Terminated
}

// formerEnd is the termination of the instance before the current one, which the restart followed; if
// only the current one's is shown, that; nil if there is none.
func formerEnd(st *corev1.ContainerStatus) *corev1.ContainerStateTerminated {
	if st.LastTerminationState.Terminated != nil {
		return st.LastTerminationState.Terminated
	}
	return st.State.Terminated
}

// startedAt are the times that tell when the container's current instance started, the best first: it runs, or it is the
// one whose end the status shows.
func startedAt(st *corev1.ContainerStatus) []time.Time {
	var told []time.Time
	if r := st.State.Running; r != nil {
		told = append(told, r.StartedAt.Time)
	}
	if end := newestEnd(st); end != nil {
		if end.ContainerID == st.ContainerID {
			told = append(told, end.StartedAt.Time)
		}
		told = append(told, end.FinishedAt.Time)
	}
	return told
}

// reasonRestarted is khook's own, where nothing says why the former instance ended.
const reasonRestarted = "ContainerRestarted"

func restartSignal(seen observed, st *corev1.ContainerStatus, at time.Time, count int32, causes []incident.EventType) incident.Signal {
	sig := incident.Signal{
		// The instance's container ID is the same while it runs, after its end and while the next one
		// is held back; the count alone may go down and come again.
		Key:  fmt.Sprintf("pod-restart/%s/%s/%016x", seen.pod.UID, st.Name, hash(st.ContainerID)),
		Type: incident.PodRestart, At: at, Observation: incident.Observation{
			Container: st.Name,
			Reason:    reasonRestarted, Message: fmt.Sprintf("Container %s restarted (restart %d)", st.Name, st.RestartCount),
		},
		Count: count, Causes: causes,
	}
	var code *int32
	if end := formerEnd(st); end != nil {
		code = exitCode(end)
		sig.Reason = cmp.Or(end.Reason, reasonRestarted)
		sig.Message += fmt.Sprintf(": it had ended with exit code %d", end.ExitCode)
		if end.Reason != "" {
			sig.Message += " (" + end.Reason + ")"
		}
		if end.Message != "" {
			sig.Message += ": " + end.Message
		}
	}
	sig.Attributes = podAttributes(st.RestartCount, code)
	return sig
}

// exitKilled is the exit code of what SIGKILL ended.
const exitKilled = 137

// restartCauses finds what the status and the probes say about why the former instance ended. The
// kubelet ends each instance whose liveness or startup probe has failed, though a grace period or
// the back-off may put off the restart by minutes
// (pkg/kubelet/kuberuntime/kuberuntime_manager.go, computePodActions).
func restartCauses(p *problems, before *podState, st *corev1.ContainerStatus) []incident.EventType {
	end, was := formerEnd(st), before.containerOrNil(st.Name)
	if oom, _ := outOfMemory(end); oom {
		return []incident.EventType{incident.OOMKill}
	}
	// Only where the runtime says no more than that: other reasons, such as RestartingAllContainers, say why it was ended.
	killed := end != nil && end.ExitCode == exitKilled && (end.Reason == "Error" || end.Reason == "")
	switch {
	case was != nil && p.endedByProbe(st.Name, was.id, killed):
		return []incident.EventType{incident.ProbeFailed}
	case killed && p.isOpen(incident.OOMKill, st.Name):
		// Container runtimes tell an OOM kill as an Error now and then (containerd#8180, #12372). A
		// container that keeps being OOM-killed and is killed again has one problem, not two.
		return []incident.EventType{incident.OOMKill}
	}
	return nil
}

// endedByProbe says whether the kubelet ended an instance because of its probe. On a busy node the
// failures of a streak can come so late that they do not seem to be in a row: then one is enough,
// if the probe has failed before and the instance was killed.
func (p *problems) endedByProbe(container string, instance uint64, killed bool) bool {
	for _, kind := range [...]probeKind{liveness, startup} {
		s := p.streak(probe{container, kind})
		if s.isNew() || s.instance != instance {
			continue
		}
		if s.reported || killed && p.isOpen(incident.ProbeFailed, container) {
			return true
		}
	}
	return false
}
