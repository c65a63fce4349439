package incident

import "maps"

// Attributes are the facts that only one kind of resource has, so that a signal of another source is
// not a Pod with zeros. At most one of them is set, by Resource.Kind.
type Attributes struct {
	Pod *PodAttributes // shared, never modified; nil if the resource is not a Pod
}

// PodAttributes are the facts that only Pods have.
type PodAttributes struct {
	RestartCount int32             // of the container
	ExitCode     *int32            // of the container's last termination; nil if there is none
	Labels       map[string]string // of the Pod; shared, never modified
}

// PodOrZero returns the attributes of a Pod; zeros for another resource, which is what match
// expressions and prompts see.
func (a Attributes) PodOrZero() PodAttributes {
	if a.Pod == nil {
		return PodAttributes{}
	}
	return *a.Pod
}

// withoutLabels are the attributes that an event has: the labels are its incident's.
func (a Attributes) withoutLabels() Attributes {
	if a.Pod == nil {
		return a
	}
	pod := *a.Pod
	pod.Labels = nil
	return Attributes{Pod: &pod}
}

// repeatedBy are the attributes after one more occurrence: those of the occurrence, but the labels that
// the resource had when its incident opened.
func (a Attributes) repeatedBy(next Attributes) Attributes {
	if next.Pod == nil {
		return a
	}
	pod := *next.Pod
	pod.Labels = a.PodOrZero().Labels
	return Attributes{Pod: &pod}
}

// fitted are the attributes with labels that can be recorded.
func (a Attributes) fitted() Attributes {
	if a.Pod == nil {
		return a
	}
	labels := fittedLabels(a.Pod.Labels)
	if maps.Equal(labels, a.Pod.Labels) {
		return a
	}
	pod := *a.Pod
	pod.Labels = labels
	return Attributes{Pod: &pod}
}
