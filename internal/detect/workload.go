package detect

import (
	"regexp"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kagent-dev/khook/internal/incident"
)

// workloadOf finds the workload that a Pod belongs to, from the Pod alone: the controllers above
// its owner (the Deployment of a ReplicaSet, the CronJob of a Job) are known by how they name
// what they make.
func workloadOf(pod *corev1.Pod) incident.Workload {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil {
		return incident.Workload{Kind: "Pod", Name: pod.Name}
	}
	switch owner.Kind {
	case "ReplicaSet":
		if name, ok := cutHash(owner.Name, pod.Labels["pod-template-hash"]); ok {
			return incident.Workload{Kind: "Deployment", Name: name}.Fitted()
		}
		if name, ok := cutHash(owner.Name, pod.Labels["rollouts-pod-template-hash"]); ok {
			return incident.Workload{Kind: "Rollout", Name: name}.Fitted()
		}
	case "Job":
		if name, ok := cutSchedule(owner.Name, pod.CreationTimestamp.Unix()); ok {
			return incident.Workload{Kind: "CronJob", Name: name}.Fitted()
		}
	case "Node": // a static Pod's mirror: the node is no workload
		return incident.Workload{Kind: "Pod", Name: pod.Name}
	}
	return incident.Workload{Kind: owner.Kind, Name: owner.Name}.Fitted() // the API server checks neither
}

// cutHash takes the template's hash off a ReplicaSet's name.
func cutHash(name, templateHash string) (string, bool) {
	if templateHash == "" {
		return "", false
	}
	return strings.CutSuffix(name, "-"+templateHash)
}

var schedule = regexp.MustCompile(`^(.+)-(\d{8})$`)

// scheduleSlack is how far from the Pod's creation a CronJob's time may be, in minutes.
const scheduleSlack = 60 * 24 * 31

// cutSchedule takes the time, in minutes since 1970, off the name of a Job that a CronJob made.
func cutSchedule(name string, created int64) (string, bool) {
	m := schedule.FindStringSubmatch(name)
	if m == nil {
		return "", false
	}
	minute, err := strconv.ParseInt(m[2], 10, 64)
	if off := minute - created/60; err != nil || off > scheduleSlack || off < -scheduleSlack {
		return "", false
	}
	return m[1], true
}
