package checkup

import (
	"context"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kagent-dev/khook/internal/incident"
)

// deployment says whether khook runs.
func (c *checkup) deployment(ctx context.Context) {
	d, err := c.kube.AppsV1().Deployments(c.Namespace).Get(ctx, c.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err) && c.Elsewhere:
		c.unseen("deployment", "there is no Deployment %s in namespace %s: khook is where --server says", c.Name, c.Namespace)
	case apierrors.IsNotFound(err):
		c.fail("deployment", "there is no Deployment %s in namespace %s: install khook, or set --khook-namespace and --khook-service", c.Name, c.Namespace)
	case err != nil:
		c.unread("deployment", err)
	default:
		c.replicas(d)
		c.pods(ctx, d)
	}
}

// replicas says how a Deployment does as its controller tells it.
func (c *checkup) replicas(d *appsv1.Deployment) {
	desired := int32(1)
	if d.Spec.Replicas != nil {
		desired = *d.Spec.Replicas
	}
	switch {
	case desired == 0:
		c.fail("deployment", "khook is stopped: Deployment %s/%s is scaled to 0; kubectl -n %s scale deployment/%s --replicas=1 starts it", d.Namespace, d.Name, d.Namespace, d.Name)
	case d.Status.ObservedGeneration < d.Generation:
		c.fail("deployment", "Kubernetes has not taken up the newest change of Deployment %s/%s yet: kubectl -n %s rollout status deployment/%s", d.Namespace, d.Name, d.Namespace, d.Name)
	case d.Status.ReadyReplicas < desired:
		c.fail("deployment", "%d of %d Pods of Deployment %s/%s are ready%s", d.Status.ReadyReplicas, desired, d.Namespace, d.Name, replicaFailure(d))
	case d.Status.UpdatedReplicas < desired:
		c.fail("deployment", "a rollout of Deployment %s/%s is under way: kubectl -n %s rollout status deployment/%s", d.Namespace, d.Name, d.Namespace, d.Name)
	default:
		c.ok("deployment", "%d of %d Pods of Deployment %s/%s are ready", d.Status.ReadyReplicas, desired, d.Namespace, d.Name)
	}
}

// replicaFailure is why Pods can't be made, such as a quota.
func replicaFailure(d *appsv1.Deployment) string {
	for _, condition := range d.Status.Conditions {
		if condition.Type == appsv1.DeploymentReplicaFailure && condition.Status == corev1.ConditionTrue {
			return ": " + condition.Message
		}
	}
	return ""
}

// pods says what keeps khook's Pods from being ready.
func (c *checkup) pods(ctx context.Context, d *appsv1.Deployment) {
	found, err := c.kube.CoreV1().Pods(d.Namespace).List(ctx, metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(d.Spec.Selector), Limit: 100})
	if err != nil {
		c.unread("pods", err)
		return
	}
	ready := 0
	for i := range found.Items {
		pod := &found.Items[i]
		switch why := notReady(pod); {
		case pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed:
		case why != "":
			c.fail("pods", "Pod %s is not ready: %s; kubectl -n %s describe pod %s, and kubectl -n %s logs %s", pod.Name, why, pod.Namespace, pod.Name, pod.Namespace, pod.Name)
		default:
			ready++
			c.ok("pods", "Pod %s is ready on node %s%s", pod.Name, pod.Spec.NodeName, restartsOf(pod))
		}
	}
	if ready == 0 && len(found.Items) == 0 {
		c.fail("pods", "Deployment %s/%s has no Pods: kubectl -n %s describe deployment %s", d.Namespace, d.Name, d.Namespace, d.Name)
	}
}

func restartsOf(pod *corev1.Pod) string {
	for i := range pod.Status.ContainerStatuses {
		s := &pod.Status.ContainerStatuses[i]
		if last := s.LastTerminationState.Terminated; last != nil && s.RestartCount > 0 {
			return fmt.Sprintf("; container %s has restarted %s, last because of %s (exit code %d)", s.Name, incident.Counted(s.RestartCount, "time"), last.Reason, last.ExitCode)
		}
	}
	return ""
}

// notReady is why a Pod is not ready; "" if it is.
func notReady(pod *corev1.Pod) string {
	var why []string
	for _, condition := range pod.Status.Conditions {
		switch {
		case condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue:
			return ""
		case condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse:
			why = append(why, condition.Message)
		}
	}
	for i := range pod.Status.ContainerStatuses {
		s := &pod.Status.ContainerStatuses[i]
		if w := s.State.Waiting; w != nil {
			why = append(why, strings.TrimSuffix(fmt.Sprintf("container %s waits: %s: %s", s.Name, w.Reason, w.Message), ": "))
		}
	}
	if len(why) == 0 {
		return "its phase is " + string(pod.Status.Phase)
	}
	return strings.Join(why, "; ")
}

// account is the ServiceAccount of khook's Pods, and the tag of the image that they run; "" for what is not known.
func (c *checkup) account(ctx context.Context) (name, tag string, err error) {
	d, err := c.kube.AppsV1().Deployments(c.Namespace).Get(ctx, c.Name, metav1.GetOptions{})
	if err != nil {
		return "", "", err
	}
	name = d.Spec.Template.Spec.ServiceAccountName
	if name == "" {
		name = "default"
	}
	for i := range d.Spec.Template.Spec.Containers {
		image, _, _ := strings.Cut(d.Spec.Template.Spec.Containers[i].Image, "@")
		if colon := strings.LastIndex(image, ":"); colon > strings.LastIndex(image, "/") && (i == 0 || d.Spec.Template.Spec.Containers[i].Name == "khook") {
			tag = image[colon+1:]
		}
	}
	return name, tag, nil
}
