package recorder

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/kagent-dev/khook/internal/kube"
)

// keptOfAPod is a Pod with nothing but what is recorded: no recording of a cluster has all of it.
const keptOfAPod = `{"kind":"Pod","apiVersion":"v1",
"metadata":{"name":"cart","namespace":"shop","uid":"c1","resourceVersion":"7","generation":2,"creationTimestamp":"2026-01-15T10:20:00Z","deletionTimestamp":"2026-01-15T10:30:00Z","deletionGracePeriodSeconds":30,
 "labels":{"app":"cart"},"annotations":{"kubernetes.io/config.mirror":"0123"},"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"cart-1","uid":"r1","controller":true}]},
"spec":{"nodeName":"n1","restartPolicy":"Never","resources":{"limits":{"memory":"64Mi"}},"schedulingGates":[{"name":"wait"}],"readinessGates":[{"conditionType":"example.com/ready"}],
 "initContainers":[{"name":"side","image":"side:1","restartPolicy":"Always","resources":{}}],
 "containers":[{"name":"app","image":"cart:1","restartPolicy":"OnFailure","restartPolicyRules":[{"action":"Restart","exitCodes":{"operator":"In","values":[42]}}],"resources":{"limits":{"memory":"32Mi"},"requests":{"cpu":"1"}},
  "livenessProbe":{"initialDelaySeconds":1,"timeoutSeconds":2,"periodSeconds":3,"failureThreshold":4},"readinessProbe":{"periodSeconds":5,"successThreshold":6},"startupProbe":{"failureThreshold":7}}]},
"status":{"phase":"Running","reason":"NodeLost","message":"lost","qosClass":"Burstable","startTime":"2026-01-15T10:20:01Z","conditions":[{"type":"Ready","status":"False","reason":"R","message":"m","lastProbeTime":null,"lastTransitionTime":"2026-01-15T10:20:02Z"}],
 "initContainerStatuses":[{"name":"side","ready":true,"restartCount":0,"image":"","imageID":"","state":{},"lastState":{}}],
 "containerStatuses":[{"name":"app","ready":true,"started":true,"restartCount":3,"containerID":"containerd://4","image":"","imageID":"","resources":{"limits":{"memory":"16Mi"}},
  "state":{"waiting":{"reason":"CrashLoopBackOff","message":"back-off"}},"lastState":{"terminated":{"exitCode":1,"signal":9,"reason":"Error","message":"x","startedAt":"2026-01-15T10:20:03Z","finishedAt":"2026-01-15T10:20:04Z","containerID":"containerd://3"}}}]}}`

// TestWhatIsKeptOfAPod, and that all else is gone.
func TestWhatIsKeptOfAPod(t *testing.T) {
	var pod corev1.Pod
	if err := json.Unmarshal([]byte(keptOfAPod), &pod); err != nil {
		t.Fatal(err)
	}
	more := pod.DeepCopy()
	more.Annotations["note"], more.Finalizers = "hunter2", []string{"example.com/hunter2"}
	more.Spec.ServiceAccountName, more.Spec.PriorityClassName, more.Spec.Hostname, more.Spec.SchedulerName = "hunter2", "hunter2", "hunter2", "hunter2"
	more.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "hunter2"}}
	more.Spec.Volumes, more.Spec.Tolerations = []corev1.Volume{{Name: "hunter2"}}, []corev1.Toleration{{Key: "hunter2"}}
	more.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "hunter2"}}}
	more.Status.PodIP, more.Status.HostIP, more.Status.NominatedNodeName = "10.0.0.1", "10.0.0.2", "hunter2"
	app := &more.Spec.Containers[0]
	app.Command, app.Args, app.WorkingDir, app.Env = []string{"hunter2"}, []string{"hunter2"}, "hunter2", []corev1.EnvVar{{Name: "A", Value: "hunter2"}}
	app.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"hunter2"}}}}
	app.LivenessProbe.ProbeHandler = corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"hunter2"}}}
	app.Resources.Claims = []corev1.ResourceClaim{{Name: "hunter2"}}
	more.Status.ContainerStatuses[0].Image, more.Status.ContainerStatuses[0].ImageID = "hunter2", "hunter2"
	kube.Reduce(more)
	if diff := cmp.Diff(&pod, slimPod(more)); diff != "" {
		t.Errorf("- what should be kept, + what is\n%s", diff)
	}
}
