package detect

import (
	"slices"
	"time"
	"unique"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"

	"github.com/kagent-dev/khook/internal/incident"
)

// compact keeps of a Pod what detection needs. before is what was kept of its former version; nil if
// it was not known. What the status does not show any more is taken over from it, per container: which
// instances were told as OOM-killed, and whether the current instance was ready once.
func compact(pod *corev1.Pod, before *podState, now time.Time) *podState {
	p := &podState{
		name: packName(pod.Name, string(pod.UID)), created: unixSeconds(pod.CreationTimestamp.Time), phase: phases[pod.Status.Phase],
		namespace: unique.Make(pod.Namespace), node: unique.Make(pod.Spec.NodeName),
		workload: unique.Make(workloadOf(pod)), labels: unique.Make(encodeLabels(pod.Labels)),
	}
	if pod.DeletionTimestamp != nil {
		p.flags |= podTerminating
	}
	if len(pod.Spec.SchedulingGates) > 0 || gated(pod) {
		p.flags |= podGated
	}
	p.containers = make([]containerState, 0, len(pod.Spec.Containers)+len(pod.Spec.InitContainers))
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		kind := initial
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			kind = sidecar
		}
		p.containers = append(p.containers, compactContainer(c, kind, pod.Status.InitContainerStatuses, before, now))
	}
	for i := range pod.Spec.Containers {
		p.containers = append(p.containers, compactContainer(&pod.Spec.Containers[i], regular, pod.Status.ContainerStatuses, before, now))
	}
	if healthy(pod) {
		p.flags |= podHealthy
	}
	return p
}

// gated says whether the Pod is held by scheduling gates: the API server writes the condition
// (pkg/registry/core/pod/strategy.go, applySchedulingGatedCondition).
func gated(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonSchedulingGated
	})
}

// compactContainer keeps of a container what detection needs. What is known of an instance is taken over
// only while its ID stays the same: a new instance has not been ready, whatever the former one was.
func compactContainer(c *corev1.Container, kind containerKind, statuses []corev1.ContainerStatus, before *podState, now time.Time) containerState {
	s := containerState{spec: unique.Make(specOf(c, kind))}
	var was *containerState
	if before != nil {
		if was = before.container(c.Name); was != nil {
			s.ooms, s.restarts, s.id = was.ooms, was.restarts, was.id
		}
	}
	st := statusOf(statuses, c.Name)
	if st == nil {
		return s
	}
	s.restarts = st.RestartCount
	if st.ContainerID != "" {
		s.id = hash(st.ContainerID)
	}
	same := was != nil && was.id == s.id
	if r := st.State.Running; r != nil {
		s.flags |= containerRunning
		s.started = min(unixSeconds(r.StartedAt.Time), unixSeconds(now)) // a node's clock may be ahead
	}
	if st.Ready {
		s.flags |= containerReady | containerWasReady
	}
	if same && was.has(containerWasReady) {
		s.flags |= containerWasReady
	}
	if st.Started != nil && *st.Started {
		s.flags |= containerStarted
		s.readyAt = unixSeconds(now)
		if same && was.readyAt != 0 {
			s.readyAt = was.readyAt
		}
	}
	if w := st.State.Waiting; w != nil && w.Reason == reasonCrashLoop {
		s.flags |= containerCrashLoop
	}
	return s
}

// specOf reads what detection needs of a specification, with the defaults that the API server writes
// (pkg/apis/core/v1/defaults.go, SetDefaults_Probe): an object from elsewhere may lack them.
func specOf(c *corev1.Container, kind containerKind) containerSpec {
	spec := containerSpec{name: c.Name, kind: kind}
	for ofKind, p := range [...]*corev1.Probe{liveness: c.LivenessProbe, readiness: c.ReadinessProbe, startup: c.StartupProbe} {
		if p == nil {
			continue
		}
		spec.probes[ofKind] = probeSpec{
			threshold: orDefault(p.FailureThreshold, 3), initialDelay: p.InitialDelaySeconds,
			period: orDefault(p.PeriodSeconds, 10), timeout: orDefault(p.TimeoutSeconds, 1),
		}
	}
	if limit, ok := c.Resources.Limits[corev1.ResourceMemory]; ok {
		spec.memLimit = limit.String()
	}
	return spec
}

func orDefault(v, unset int32) int32 {
	if v <= 0 {
		return unset
	}
	return v
}

// reasonCrashLoop is written while the next instance is held back
// (pkg/kubelet/kuberuntime/kuberuntime_manager.go, doBackOff).
const reasonCrashLoop = "CrashLoopBackOff"

// statusOf returns the status of a container, or nil.
func statusOf(statuses []corev1.ContainerStatus, name string) *corev1.ContainerStatus {
	for i := range statuses {
		if statuses[i].Name == name {
			return &statuses[i]
		}
	}
	return nil
}

// healthy says whether every container is as it should be: the regular ones and the sidecars
// ready, the init containers done; or the Pod has succeeded.
func healthy(pod *corev1.Pod) bool {
	if pod.Status.Phase == corev1.PodSucceeded {
		return true
	}
	if pod.Status.Phase != corev1.PodRunning || pod.DeletionTimestamp != nil || nodeLost(pod) {
		return false
	}
	for i := range pod.Spec.Containers {
		st := statusOf(pod.Status.ContainerStatuses, pod.Spec.Containers[i].Name)
		if st == nil || !st.Ready && !done(st, pod.Spec.RestartPolicy) {
			return false
		}
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		st := statusOf(pod.Status.InitContainerStatuses, c.Name)
		if st != nil && c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways && !st.Ready {
			return false
		}
	}
	return true
}

// nodeLost says whether nothing is heard of the Pod's node: the statuses of its containers are then old.
func nodeLost(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && (c.Status == corev1.ConditionUnknown || c.Status == corev1.ConditionFalse && c.Reason == "NodeNotReady")
	})
}

// done says whether a container has completed and is not to run again.
func done(st *corev1.ContainerStatus, policy corev1.RestartPolicy) bool {
	t := st.State.Terminated
	return t != nil && t.ExitCode == 0 && policy != corev1.RestartPolicyAlways
}

// unknownPod is what an Event says of a Pod that is not known.
func unknownPod(ev *eventsv1.Event) *podState {
	return &podState{
		name: packName(ev.Regarding.Name, string(ev.Regarding.UID)), namespace: unique.Make(ev.Regarding.Namespace), node: unique.Make(""),
		labels: unique.Make("{}"), workload: unique.Make(incident.Workload{Kind: "Pod", Name: ev.Regarding.Name}),
	}
}
