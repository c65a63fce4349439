package replay

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/recording"
)

// failedPod is a Pod that ended as Failed, for which khook has no event type: one of a Job with restartPolicy Never, or one
// that was evicted.
type failedPod struct {
	uid, namespace, name string
	at                   time.Duration // since the start of the recording
	message              string
}

// failedPods are those of a recording, in the order in which they failed; each with the longest that it says of why.
func failedPods(rec *recording.Recording) []*failedPod {
	var failed []*failedPod
	known := map[string]*failedPod{}
	for _, r := range rec.Records {
		if r.Pod == nil || r.Type == watch.Deleted || r.Pod.Status.Phase != corev1.PodFailed {
			continue
		}
		pod := known[string(r.Pod.UID)]
		if pod == nil {
			pod = &failedPod{uid: string(r.Pod.UID), namespace: r.Pod.Namespace, name: r.Pod.Name, at: r.T}
			known[pod.uid], failed = pod, append(failed, pod)
		}
		if why := whyFailed(r.Pod); len(why) > len(pod.message) {
			pod.message = why
		}
	}
	return failed
}

// whyFailed is what the Pod says of why it failed; "" if nothing.
func whyFailed(pod *corev1.Pod) string {
	if pod.Status.Reason != "" {
		return clean(pod.Status.Reason, pod.Status.Message)
	}
	for _, statuses := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range statuses {
			if end := statuses[i].State.Terminated; end != nil && end.ExitCode != 0 {
				return clean(fmt.Sprintf("container %s ended with exit code %d", statuses[i].Name, end.ExitCode), end.Reason)
			}
		}
	}
	return ""
}

// clean puts texts of the cluster together, so that they can be printed.
func clean(what, more string) string {
	text := what
	if more = strings.TrimSpace(more); more != "" {
		text += ": " + more
	}
	return incident.Clean(text, incident.MaxMessage)
}
