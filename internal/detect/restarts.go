package detect

import (
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kagent-dev/khook/internal/incident"
)

// restarts tells each container that restarted since old. restartCount is the only truth: a first
// restart makes no Warning Event, and a quick one never shows a terminated state
// (recordings/crash-once-then-recover).
func (b *builder) restarts(old *podState, pod *corev1.Pod) {
	for _, st := range statuses(pod) {
		var was int32
		if old != nil {
			if c := old.container(st.Name); c != nil {
				was = c.restarts
			}
		}
		if st.RestartCount <= was || unknownStatus(st) {
			continue
		}
		at := restartedAt(st, b.now)
		if old == nil && b.tooOld(at) {
			continue
		}
		count := st.RestartCount - was
		if old == nil {
			count = 1 // when the earlier ones were is not known
		}
		b.d.troubleOf(b.key).restart = b.now
		b.observe(restartSignal(string(pod.UID), st, at, count, b.causesOfRestart(old, st)))
	}
}

// statuses are those of the containers that can restart.
func statuses(pod *corev1.Pod) []*corev1.ContainerStatus {
	var all []*corev1.ContainerStatus
	for i := range pod.Status.InitContainerStatuses {
		all = append(all, &pod.Status.InitContainerStatuses[i])
	}
	for i := range pod.Status.ContainerStatuses {
		all = append(all, &pod.Status.ContainerStatuses[i])
	}
	return all
}

// unknownStatus says that the count grew because the kubelet lost sight of the container, as after
// the loss of a node: neither a crash nor an OOM kill.
func unknownStatus(st *corev1.ContainerStatus) bool {
	t := former(st)
	return t != nil && t.Reason == "ContainerStatusUnknown"
}

// ended is the newest termination that the status shows, or nil.
func ended(st *corev1.ContainerStatus) *corev1.ContainerStateTerminated {
	if st.State.Terminated != nil {
		return st.State.Terminated
	}
	return st.LastTerminationState.Terminated
}

// restartedAt is when the container's current instance started: it runs, or it is the one whose
// end the status shows.
func restartedAt(st *corev1.ContainerStatus, now time.Time) time.Time {
	if r := st.State.Running; r != nil && !r.StartedAt.IsZero() {
		return r.StartedAt.Time
	}
	if t := ended(st); t != nil {
		if t.ContainerID == st.ContainerID && !t.StartedAt.IsZero() {
			return t.StartedAt.Time
		}
		if !t.FinishedAt.IsZero() {
			return t.FinishedAt.Time
		}
	}
	return now
}

func restartSignal(uid string, st *corev1.ContainerStatus, at time.Time, count int32, causes []incident.EventType) incident.Signal {
	// The instance's container ID is the same while it runs, after its end and while the next one
	// is held back; the count alone may go down and come again.
	instance := st.ContainerID
	if instance == "" {
		instance = "#" + strconv.Itoa(int(st.RestartCount))
	}
	s := incident.Signal{
		Key:  fmt.Sprintf("pod-restart/%s/%s/%016x", uid, st.Name, hash(instance)),
		Type: incident.PodRestart, At: at, Container: st.Name, Reason: "ContainerRestarted",
		Message:      fmt.Sprintf("Container %s restarted (restart %d)", st.Name, st.RestartCount),
		RestartCount: st.RestartCount, Count: count, Causes: causes,
	}
	if t := former(st); t != nil {
		code := t.ExitCode
		s.ExitCode = &code
		s.Reason = t.Reason
		s.Message += fmt.Sprintf(": it had ended with exit code %d", t.ExitCode)
		if t.Reason != "" {
			s.Message += " (" + t.Reason + ")"
		}
		if t.Message != "" {
			s.Message += ": " + t.Message
		}
	}
	return s
}

// former is the termination of an instance before the current one, which the restart followed; if
// only the current one's is shown, that.
func former(st *corev1.ContainerStatus) *corev1.ContainerStateTerminated {
	if st.LastTerminationState.Terminated != nil {
		return st.LastTerminationState.Terminated
	}
	return st.State.Terminated
}

// causesOfRestart finds what the status and the probes say about why the former instance ended. The
// kubelet ends each instance whose liveness or startup probe has failed, though a grace period or
// the back-off may put off the restart by minutes.
func (b *builder) causesOfRestart(old *podState, st *corev1.ContainerStatus) []incident.EventType {
	t, was := former(st), old.containerOrNil(st.Name)
	if t != nil && t.Reason == reasonOOMKilled {
		return []incident.EventType{incident.OOMKill}
	}
	killed := t != nil && t.ExitCode == exitKilled
	switch {
	case was != nil && b.probeEnded(st.Name, was.id, killed):
		return []incident.EventType{incident.ProbeFailed}
	case killed && b.isOpen(incident.OOMKill, st.Name):
		// Container runtimes tell an OOM kill as an Error now and then (containerd#8180, #12372). A
		// container that keeps being OOM-killed and is killed again has one problem, not two.
		return []incident.EventType{incident.OOMKill}
	}
	return nil
}

// exitKilled is the exit code of what SIGKILL ended.
const exitKilled = 137

// probeEnded says whether the kubelet ended an instance because of its probe. On a busy node the
// failures of a streak can come so late that they do not seem to be in a row: then one is enough,
// if the probe has failed before and the instance was killed.
func (b *builder) probeEnded(container string, instance uint64, killed bool) bool {
	tr := b.d.trouble[b.key]
	if tr == nil {
		return false
	}
	for _, kind := range []probeKind{liveness, startup} {
		track := tr.probes[probeKey{container, kind}]
		if track == nil || track.instance != instance {
			continue
		}
		if track.fired || killed && b.isOpen(incident.ProbeFailed, container) {
			return true
		}
	}
	return false
}

const reasonOOMKilled = "OOMKilled"

// oomKills tells each container instance that was OOM-killed, once. An OOM kill makes no Event; it
// is only in the status, as the current state or the last one. Exit code 137 alone is none.
func (b *builder) oomKills(old *podState, pod *corev1.Pod) {
	for _, st := range statuses(pod) {
		c := b.pod.container(st.Name)
		if c == nil {
			continue
		}
		for _, t := range []*corev1.ContainerStateTerminated{st.LastTerminationState.Terminated, st.State.Terminated} {
			if t == nil || t.Reason != reasonOOMKilled {
				continue
			}
			instance := t.ContainerID
			if instance == "" {
				instance = t.FinishedAt.String()
			}
			id := hash(instance)
			if c.ooms.has(id) {
				continue
			}
			c.ooms = c.ooms.with(id)
			if old == nil && b.tooOld(t.FinishedAt.Time) {
				continue
			}
			b.observe(oomSignal(string(pod.UID), st, c.spec.Value().memLimit, t, id, b.now))
		}
	}
}

func oomSignal(uid string, st *corev1.ContainerStatus, limit string, t *corev1.ContainerStateTerminated, id uint64, now time.Time) incident.Signal {
	at := t.FinishedAt.Time
	if at.IsZero() {
		at = now
	}
	code := t.ExitCode
	message := fmt.Sprintf("Container %s was OOM-killed (exit code %d", st.Name, t.ExitCode)
	if limit != "" {
		message += ", memory limit " + limit
	}
	return incident.Signal{
		Key:  fmt.Sprintf("oom-kill/%s/%s/%016x", uid, st.Name, id),
		Type: incident.OOMKill, At: at, Container: st.Name, Reason: reasonOOMKilled, Message: message + ")",
		RestartCount: st.RestartCount, ExitCode: &code, Count: 1,
	}
}
