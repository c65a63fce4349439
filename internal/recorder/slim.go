package recorder

import (
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// slimPod is what detection reads of a Pod, and what tells a person which Pod it is. What is not named here is not recorded:
// a field that Kubernetes adds can't leak, and one that detection begins to read is missed by the test that replays slim
// recordings.
func slimPod(p *corev1.Pod) *corev1.Pod {
	return &corev1.Pod{
		TypeMeta: metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{
			Name: p.Name, Namespace: p.Namespace, UID: p.UID, ResourceVersion: p.ResourceVersion, Generation: p.Generation,
			CreationTimestamp: p.CreationTimestamp, DeletionTimestamp: p.DeletionTimestamp, DeletionGracePeriodSeconds: p.DeletionGracePeriodSeconds,
			Labels: p.Labels, OwnerReferences: p.OwnerReferences, Annotations: p.Annotations, // only what kube.Reduce leaves
		},
		Spec: corev1.PodSpec{
			NodeName: p.Spec.NodeName, RestartPolicy: p.Spec.RestartPolicy, Resources: p.Spec.Resources,
			SchedulingGates: p.Spec.SchedulingGates, ReadinessGates: p.Spec.ReadinessGates,
			Containers: slimContainers(p.Spec.Containers), InitContainers: slimContainers(p.Spec.InitContainers),
		},
		Status: corev1.PodStatus{
			Phase: p.Status.Phase, Reason: p.Status.Reason, Message: p.Status.Message, Conditions: p.Status.Conditions, StartTime: p.Status.StartTime,
			QOSClass: p.Status.QOSClass, ContainerStatuses: slimStatuses(p.Status.ContainerStatuses), InitContainerStatuses: slimStatuses(p.Status.InitContainerStatuses),
		},
	}
}

func slimContainers(all []corev1.Container) []corev1.Container {
	var slim []corev1.Container
	for i := range all {
		c := &all[i]
		slim = append(slim, corev1.Container{
			Name: c.Name, Image: c.Image, Resources: corev1.ResourceRequirements{Limits: c.Resources.Limits, Requests: c.Resources.Requests},
			RestartPolicy: c.RestartPolicy, RestartPolicyRules: c.RestartPolicyRules,
			LivenessProbe: slimProbe(c.LivenessProbe), ReadinessProbe: slimProbe(c.ReadinessProbe), StartupProbe: slimProbe(c.StartupProbe),
		})
	}
	return slim
}

// slimProbe is a probe without what it does: commands and headers can have secrets in them.
func slimProbe(p *corev1.Probe) *corev1.Probe {
	if p == nil {
		return nil
	}
	return &corev1.Probe{
		InitialDelaySeconds: p.InitialDelaySeconds, TimeoutSeconds: p.TimeoutSeconds, PeriodSeconds: p.PeriodSeconds,
		SuccessThreshold: p.SuccessThreshold, FailureThreshold: p.FailureThreshold,
	}
}

func slimStatuses(all []corev1.ContainerStatus) []corev1.ContainerStatus {
	var slim []corev1.ContainerStatus
	for i := range all {
		s := &all[i]
		of := corev1.ContainerStatus{
			Name: s.Name, State: s.State, LastTerminationState: s.LastTerminationState, Ready: s.Ready, RestartCount: s.RestartCount,
			ContainerID: s.ContainerID, Started: s.Started,
		}
		if s.Resources != nil {
			of.Resources = &corev1.ResourceRequirements{Limits: s.Resources.Limits, Requests: s.Resources.Requests}
		}
		slim = append(slim, of)
	}
	return slim
}

// slimEvent is what detection reads of an Event, and what tells a person who has written it.
func slimEvent(e *eventsv1.Event) *eventsv1.Event {
	return &eventsv1.Event{
		TypeMeta: metav1.TypeMeta{Kind: "Event", APIVersion: "events.k8s.io/v1"},
		ObjectMeta: metav1.ObjectMeta{
			Name: e.Name, Namespace: e.Namespace, UID: e.UID, ResourceVersion: e.ResourceVersion, CreationTimestamp: e.CreationTimestamp,
		},
		EventTime: e.EventTime, Series: e.Series, ReportingController: e.ReportingController, Action: e.Action,
		Reason: e.Reason, Regarding: e.Regarding, Note: e.Note, Type: e.Type, DeprecatedSource: e.DeprecatedSource,
		DeprecatedFirstTimestamp: e.DeprecatedFirstTimestamp, DeprecatedLastTimestamp: e.DeprecatedLastTimestamp, DeprecatedCount: e.DeprecatedCount,
	}
}
