package detect

import (
	"slices"

	"github.com/kagent-dev/khook/internal/incident"
)

// Reasons are what the signals of one event type have as their reason.
type Reasons struct {
	Known []string // in the order in which docs/hooks.md has them
	Open  bool     // Kubernetes and container runtimes word them, and may have others
}

// reasonsOf has what detection writes itself, and what it passes on of the kubelet (pkg/kubelet/images/types.go,
// pkg/kubelet/kuberuntime/kuberuntime_container.go, pkg/kubelet/container/sync_result.go, pkg/kubelet/events/event.go), of the
// scheduler (pkg/scheduler/schedule_one.go, handleSchedulingFailure) and of container runtimes.
var reasonsOf = map[incident.EventType]Reasons{
	incident.OOMKill:     {Known: []string{reasonOOMKilled}},
	incident.ProbeFailed: {Known: []string{liveness.reason(), readiness.reason(), startup.reason()}},
	incident.PodRestart: {Open: true, Known: []string{
		"Error", reasonOOMKilled, "Completed", reasonStartError, "ContainerCannotRun", "RestartingAllContainers", "Unknown", reasonRestarted,
	}},
	incident.PodPending: {Open: true, Known: []string{
		"Unschedulable", "SchedulerError", reasonNotScheduled,
		"ImagePullBackOff", "ErrImagePull", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError",
		"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreCreateHookError", "PreStartHookError",
		"PostStartHookError", "CrashLoopBackOff",
		"Error", reasonOOMKilled, reasonStartError,
		"FailedMount", "FailedAttachVolume", "FailedMapVolume", "FailedCreatePodSandBox",
		"ContainerCreating", "PodInitializing", reasonPending,
	}},
}

// ReasonsOf returns the reasons of an event type; none, and open, if that is not known.
func ReasonsOf(t incident.EventType) Reasons {
	r, ok := reasonsOf[t]
	if !ok {
		return Reasons{Open: true}
	}
	return Reasons{slices.Clone(r.Known), r.Open}
}
