package kube

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"

	"github.com/kagent-dev/khook/internal/incident"
)

// What khook looks at of a Pod at most. Whoever may write Pods or their status decides how large they are, up
// to etcd's bound of 1.5 MiB, and khook holds many at a time. What the kubelet and people write is far within:
// the kubelet ends termination messages at 4 KiB.
const (
	maxPodLabels     = 100
	maxPodLabelBytes = 8 << 10 // of names and values together
	maxStatusText    = 4 << 10 // bytes of one message or reason of the status
)

// Reduce drops from a Pod or Event what nothing here reads, and bounds the rest, before anything looks at it; also for those who
// read them from elsewhere than a cluster. It changes the object, which must be nobody else's.
func Reduce(obj any) {
	switch o := obj.(type) {
	case *corev1.Pod:
		reducePod(o)
	case *eventsv1.Event:
		o.ManagedFields, o.Annotations, o.Labels = nil, nil, nil
		o.Note, o.Reason = bounded(o.Note), bounded(o.Reason)
	}
}

func reducePod(p *corev1.Pod) {
	p.ManagedFields, p.Annotations, p.Finalizers = nil, mirrorOnly(p.Annotations), nil
	p.Labels = boundedLabels(p.Labels)
	p.Spec.Volumes, p.Spec.Tolerations, p.Spec.Affinity = nil, nil, nil
	for _, containers := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
		for i := range containers {
			c := &containers[i]
			c.Env, c.EnvFrom, c.VolumeMounts, c.Command, c.Args, c.Ports = nil, nil, nil, nil, nil, nil
		}
	}
	st := &p.Status
	st.Message, st.Reason = bounded(st.Message), bounded(st.Reason)
	st.EphemeralContainerStatuses, st.ResourceClaimStatuses = nil, nil
	for i := range st.Conditions {
		c := &st.Conditions[i]
		c.Message, c.Reason = bounded(c.Message), bounded(c.Reason)
	}
	for _, statuses := range [][]corev1.ContainerStatus{st.ContainerStatuses, st.InitContainerStatuses} {
		for i := range statuses {
			s := &statuses[i]
			s.Image, s.ImageID, s.AllocatedResources, s.VolumeMounts, s.AllocatedResourcesStatus = "", "", nil, nil, nil
			reduceState(&s.State)
			reduceState(&s.LastTerminationState)
		}
	}
}

// maxUID bounds what is kept of the annotation by which a mirror Pod names its static one, in bytes.
const maxUID = 64

// mirrorOnly is the one annotation that is looked at, if it can be a UID.
func mirrorOnly(annotations map[string]string) map[string]string {
	uid, ok := annotations[corev1.MirrorPodAnnotationKey]
	if !ok || len(uid) > maxUID {
		return nil
	}
	return map[string]string{corev1.MirrorPodAnnotationKey: strings.Clone(uid)}
}

func reduceState(s *corev1.ContainerState) {
	if w := s.Waiting; w != nil {
		w.Message, w.Reason = bounded(w.Message), bounded(w.Reason)
	}
	if t := s.Terminated; t != nil {
		t.Message, t.Reason = bounded(t.Message), bounded(t.Reason)
	}
}

// bounded is a text that is no longer than maxStatusText, and that holds no longer one in memory.
func bounded(text string) string {
	if len(text) <= maxStatusText {
		return text
	}
	return strings.Clone(incident.Truncate(text, maxStatusText))
}

// hashLabels name the workload that a Pod belongs to, so that they stay whatever else there is.
var hashLabels = []string{"pod-template-hash", "rollouts-pod-template-hash"}

// boundedLabels are the labels that khook looks at: all, or of too many those that come first by name.
func boundedLabels(labels map[string]string) map[string]string {
	bytes := 0
	for k, v := range labels {
		bytes += len(k) + len(v)
	}
	if len(labels) <= maxPodLabels && bytes <= maxPodLabelBytes {
		return labels
	}
	kept, bytes := map[string]string{}, 0
	for _, k := range slices.Concat(hashLabels, slices.Sorted(maps.Keys(labels))) {
		v, there := labels[k]
		if _, twice := kept[k]; twice || !there || bytes+len(k)+len(v) > maxPodLabelBytes {
			continue
		}
		if len(kept) == maxPodLabels {
			break
		}
		kept[strings.Clone(k)], bytes = strings.Clone(v), bytes+len(k)+len(v)
	}
	return kept
}
