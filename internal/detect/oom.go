package detect

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kagent-dev/khook/internal/incident"
)

// reasonOOMKilled is written by the container runtimes (containerd: internal/cri/server/events.go, on a
// TaskOOM event; CRI-O: server/container_status.go) and passed on by the kubelet
// (pkg/kubelet/kubelet_pods.go, convertToAPIContainerStatuses).
const reasonOOMKilled = "OOMKilled"

// A container that runs out of memory before its command begins was never running for its runtime: runc says so in the error
// of the start (libcontainer/process_linux.go, initProcess.start), which containerd writes as the message of a termination
// with a reason of its own (internal/cri/server/container_start.go, StartContainer).
const (
	reasonStartError = "StartError"
	initOOMKilled    = "container init was OOM-killed"
)

// outOfMemory says whether a container ended for want of memory, and whether that was before its command began.
func outOfMemory(end *corev1.ContainerStateTerminated) (oom, starting bool) {
	if end == nil {
		return false, false
	}
	starting = end.Reason == reasonStartError && strings.Contains(end.Message, initOOMKilled)
	return starting || end.Reason == reasonOOMKilled, starting
}

// oomKills is the rule for containers that ran out of memory: it tells each instance once. An OOM kill
// makes no Event; it is only in the status, as the current state or the last one. Exit code 137 alone
// is none.
//
// Invariant: an instance is told if and only if its ID is not yet among the container's ooms, and it is
// among them afterwards. Without that the same end, which moves from state to lastState, is told twice.
func oomKills(known state, seen observed) (state, []incident.Signal) {
	var signals []incident.Signal
	for st := range containerStatuses(seen.pod) {
		for _, end := range [...]*corev1.ContainerStateTerminated{st.LastTerminationState.Terminated, st.State.Terminated} {
			c := known.pod.container(st.Name)
			if oom, _ := outOfMemory(end); c == nil || !oom {
				continue
			}
			instance := end.ContainerID
			if instance == "" {
				instance = end.FinishedAt.String()
			}
			id := hash(instance)
			if c.ooms.has(id) {
				continue
			}
			limit := c.spec.Value().limit()
			known.pod = known.pod.withOOM(st.Name, id)
			told := end.FinishedAt.Time
			at, believed := seen.when(told)
			if seen.before == nil && seen.tooOld(at) || !believed && seen.ofFormerMirror(st.Name, []time.Time{told}) {
				continue
			}
			var sig incident.Signal
			known, sig = known.occurred(seen, oomSignal(seen, st, end, id, limit))
			sig.At = at
			signals = append(signals, sig)
		}
	}
	return known, signals
}

func oomSignal(seen observed, st *corev1.ContainerStatus, end *corev1.ContainerStateTerminated, id uint64, limit string) incident.Signal {
	when := ""
	if _, starting := outOfMemory(end); starting {
		when = " while it was started"
	}
	message := fmt.Sprintf("Container %s was OOM-killed%s (exit code %d", st.Name, when, end.ExitCode)
	if limit != "" {
		message += ", memory limit " + limit
	}
	return incident.Signal{
		Key:  fmt.Sprintf("oom-kill/%s/%s/%016x", seen.pod.UID, st.Name, id),
		Type: incident.OOMKill, Observation: incident.Observation{
			Container: st.Name, Reason: reasonOOMKilled, Message: message + ")", Attributes: podAttributes(st.RestartCount, exitCode(end)),
		},
		Count: 1,
	}
}

// exitCode is that of a termination, as a pointer of its own.
func exitCode(end *corev1.ContainerStateTerminated) *int32 {
	code := end.ExitCode
	return &code
}

// oomIDs are hashes of the two newest instances that were told as OOM-killed, the newest first: a
// status shows two terminations at most.
type oomIDs [2]uint64

func (o *oomIDs) has(id uint64) bool { return o != nil && (o[0] == id || o[1] == id) }

func (o *oomIDs) with(id uint64) *oomIDs {
	if o == nil {
		return &oomIDs{id}
	}
	return &oomIDs{id, o[0]}
}
