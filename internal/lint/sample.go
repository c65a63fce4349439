package lint

import (
	"time"

	"github.com/kagent-dev/khook/internal/incident"
)

// SampleFacts returns an event as a detector would tell it, to show what becomes of a prompt. It is
// the same at each call; one of an unknown type has no reason and no message.
func SampleFacts(t incident.EventType, namespace, cluster string) incident.Facts {
	s := &incident.Signal{
		Kind: incident.Observed, Type: t, Count: 1,
		At: time.Date(2026, 1, 15, 10, 30, 0, 0, time.UTC),
		Observation: incident.Observation{
			Resource: incident.Resource{Kind: "Pod", Namespace: namespace, Name: "cart-5d9f7c6b8-x2x7k", UID: "5e7c1d1e-0c5b-4b0e-9d55-3f2f6a1f0c11"},
			Workload: incident.Workload{Kind: "Deployment", Name: "cart"}, Container: "app", Node: "node-1",
		},
	}
	pod := &incident.PodAttributes{Labels: map[string]string{"app": "cart"}}
	s.Attributes.Pod = pod
	exited := func(code int32) { pod.RestartCount, pod.ExitCode = 3, &code }
	switch t {
	case incident.PodRestart:
		exited(1)
		s.Reason, s.Message = "Error", "Container app restarted (restart 3): it had ended with exit code 1 (Error)"
	case incident.OOMKill:
		exited(137)
		s.Reason, s.Message = "OOMKilled", "Container app was OOM-killed (exit code 137, memory limit 128Mi)"
	case incident.ProbeFailed:
		s.Count = 3
		s.Reason, s.Message = "ReadinessProbeFailed", "Readiness probe failed: HTTP probe failed with statuscode: 503"
	case incident.PodPending:
		s.Container, s.Node = "", ""
		s.Reason, s.Message = "Unschedulable", "Pod is Pending for longer than 1m: 0/3 nodes are available: 3 Insufficient memory."
	}
	return incident.Facts{Cluster: cluster, Signal: s}
}
