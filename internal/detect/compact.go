package detect

import (
	"time"
	"unique"

	corev1 "k8s.io/api/core/v1"
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
	if isMirror(pod) {
		p.flags |= podMirror
	}
	if nodeLost(pod, before) {
		p.flags |= podNodeLost
	}
	if windingDown(pod) {
		p.flags |= podWindingDown
	}
	p.containers = make([]containerState, 0, len(pod.Spec.Containers)+len(pod.Spec.InitContainers))
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		kind := initial
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			kind = sidecar
		}
		p.containers = append(p.containers, compactContainer(pod, c, kind, before, now))
	}
	for i := range pod.Spec.Containers {
		p.containers = append(p.containers, compactContainer(pod, &pod.Spec.Containers[i], regular, before, now))
	}
	if healthy(pod) && !p.unheard() {
		p.flags |= podHealthy
	}
	return p
}

// gated says whether the Pod is held by scheduling gates: the API server writes the condition
// (pkg/registry/core/pod/strategy.go, applySchedulingGatedCondition).
func gated(pod *corev1.Pod) bool {
	c := condition(pod, corev1.PodScheduled)
	return c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonSchedulingGated
}

// compactContainer keeps of a container what detection needs. What is known of an instance is taken over
// only while its ID stays the same: a new instance has not been ready, whatever the former one was.
func compactContainer(pod *corev1.Pod, c *corev1.Container, kind containerKind, before *podState, now time.Time) containerState {
	var s containerState
	var was *containerState
	if before != nil {
		if was = before.container(c.Name); was != nil {
			s.ooms, s.restarts, s.id = was.ooms, was.restarts, was.id
		}
	}
	statuses, created := pod.Status.ContainerStatuses, unixSeconds(pod.CreationTimestamp.Time)
	if kind != regular {
		statuses = pod.Status.InitContainerStatuses
	}
	st := statusOf(statuses, c.Name)
	s.spec = unique.Make(specOf(pod, c, kind).inForce(st))
	if st == nil {
		return s
	}
	switch {
	case st.ContainerID != "":
		s.id, s.restarts = hash(st.ContainerID), st.RestartCount
	case was == nil: // a restart is told with the instance's ID, see restarts
		s.restarts = max(0, st.RestartCount-1)
	}
	same := was != nil && was.id == s.id
	if r := st.State.Running; r != nil {
		s.flags |= containerRunning
		s.started = min(max(unixSeconds(r.StartedAt.Time), created), unixSeconds(now)) // a node's clock may be off
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
	if w := st.State.Waiting; w != nil && w.Reason != "" && !isVague(w.Reason) {
		s.flags |= containerHeld
	}
	return s
}

// specOf reads what detection needs of a specification, with the defaults that the API server writes
// (pkg/apis/core/v1/defaults.go, SetDefaults_Probe): an object from elsewhere may lack them.
func specOf(pod *corev1.Pod, c *corev1.Container, kind containerKind) containerSpec {
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
	} else if all := pod.Spec.Resources; all != nil {
		if limit, ok := all.Limits[corev1.ResourceMemory]; ok {
			spec.memLimit = limit.String() + " of the whole Pod"
		}
	}
	return spec
}

// inForce is the specification with the memory limit that the kubelet has put in force. While a resize of the running Pod is
// not done, or can't be, the specification has the limit that is wished for
// (pkg/kubelet/kubelet_pods.go, convertToAPIContainerStatuses).
func (s containerSpec) inForce(st *corev1.ContainerStatus) containerSpec {
	if st == nil || st.Resources == nil {
		return s
	}
	limit, ok := st.Resources.Limits[corev1.ResourceMemory]
	if ok && limit.String() != s.memLimit {
		s.memWished, s.memLimit = s.memLimit, limit.String()
	}
	return s
}

// limit is the memory limit in words; "" if there is none.
func (s containerSpec) limit() string {
	if s.memWished == "" {
		return s.memLimit
	}
	return s.memLimit + "; " + s.memWished + " is specified, and not in force"
}

func orDefault(v, unset int32) int32 {
	if v <= 0 {
		return unset
	}
	return v
}

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
// ready, the init containers done; or the Pod has succeeded. It goes by what the node said last.
func healthy(pod *corev1.Pod) bool {
	if pod.Status.Phase == corev1.PodSucceeded {
		return true
	}
	if pod.Status.Phase != corev1.PodRunning || pod.DeletionTimestamp != nil {
		return false
	}
	for i := range pod.Spec.Containers {
		st := statusOf(pod.Status.ContainerStatuses, pod.Spec.Containers[i].Name)
		if st == nil || !st.Ready && !done(st, restartPolicyOf(pod, &pod.Spec.Containers[i])) {
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

// condition is a Pod's condition; one without a status if it has none of that type.
func condition(pod *corev1.Pod, of corev1.PodConditionType) corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == of {
			return pod.Status.Conditions[i]
		}
	}
	return corev1.PodCondition{}
}

// isMirror says whether a Pod is what the API server shows of a static one.
func isMirror(pod *corev1.Pod) bool { return pod.Annotations[corev1.MirrorPodAnnotationKey] != "" }

// restartPolicyOf is the restart policy of a regular container: its own, or that of its Pod.
func restartPolicyOf(pod *corev1.Pod, c *corev1.Container) corev1.RestartPolicy {
	if c.RestartPolicy != nil {
		return corev1.RestartPolicy(*c.RestartPolicy)
	}
	return pod.Spec.RestartPolicy
}

// done says whether a container has completed and is not to run again.
func done(st *corev1.ContainerStatus, policy corev1.RestartPolicy) bool {
	t := st.State.Terminated
	return t != nil && t.ExitCode == 0 && policy != corev1.RestartPolicyAlways
}

// windingDown says whether all regular containers have ended for good, so that the kubelet ends the sidecars: what their probes
// say then is nothing (pkg/kubelet/kuberuntime/kuberuntime_manager.go, computePodActions).
func windingDown(pod *corev1.Pod) bool {
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		st := statusOf(pod.Status.ContainerStatuses, c.Name)
		policy := restartPolicyOf(pod, c)
		if st == nil || st.State.Terminated == nil || policy != corev1.RestartPolicyNever && !done(st, policy) {
			return false
		}
	}
	return len(pod.Spec.Containers) > 0
}
