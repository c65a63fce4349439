package system

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/incident"
)

// BenchmarkSignalToAgent measures the time from the API server's answer to a Pod status write
// until the agent receives the message, beside the time until a bare client-go watch sees the same
// write: both in one run, in milliseconds.
func BenchmarkSignalToAgent(b *testing.B) {
	var mu sync.Mutex
	received, seen := map[string]time.Time{}, map[string]time.Time{}
	kagent := kagenttest.New(b, kagenttest.Options{Script: func(m kagenttest.Message) kagenttest.Act {
		mu.Lock()
		defer mu.Unlock()
		received[aboutPod(b, m)] = time.Now()
		return kagenttest.Act{}
	}})
	ns := namespace(b)
	applyHook(b, ns, "shop", incident.PodRestart)
	controller(b, append(settings(kagent, b.TempDir()), "--log-level", "warn", "--agent-concurrency", "100")...).ready()
	bareWatch(b, ns, func(pod string) {
		mu.Lock()
		defer mu.Unlock()
		seen[pod] = time.Now()
	})
	var toAgent, toWatch []float64
	n := 0
	for b.Loop() {
		n++
		name := fmt.Sprintf("w%d-abc-1", n)
		p := newPod(b, ns, fmt.Sprintf("w%d", n), name)
		becomes(b, p, 1, "Error")
		answered := time.Now()
		eventually(b, "the agent is called", func() error {
			mu.Lock()
			defer mu.Unlock()
			if received[name].IsZero() || seen[name].IsZero() {
				return fmt.Errorf("not yet")
			}
			toAgent = append(toAgent, ms(received[name].Sub(answered)))
			toWatch = append(toWatch, ms(seen[name].Sub(answered)))
			return nil
		})
	}
	slices.Sort(toAgent)
	slices.Sort(toWatch)
	for name, p := range map[string]float64{"p50": 0.50, "p99": 0.99} {
		a, w := quantile(toAgent, p), quantile(toWatch, p)
		b.ReportMetric(a, name+"-agent-ms")
		b.ReportMetric(w, name+"-watch-ms")
		b.ReportMetric(a-w, name+"-more-ms")
	}
}

// aboutPod is the name of the first Pod that a message tells of.
func aboutPod(b *testing.B, m kagenttest.Message) string {
	b.Helper()
	var data struct {
		Incidents []struct{ ResourceName string }
	}
	if err := json.Unmarshal(m.Data, &data); err != nil || len(data.Incidents) == 0 {
		b.Errorf("a message without an incident: %s (%v)", m.Data, err)
		return ""
	}
	return data.Incidents[0].ResourceName
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func quantile(sorted []float64, p float64) float64 {
	return sorted[min(int(p*float64(len(sorted))), len(sorted)-1)]
}

// bareWatch tells of each Pod whose container has restarted, as soon as a watch shows it.
func bareWatch(b *testing.B, ns string, restarted func(pod string)) {
	b.Helper()
	clients, err := kubernetes.NewForConfig(testCluster.Config)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w, err := clients.CoreV1().Pods(ns).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		b.Fatal(err)
	}
	var reader sync.WaitGroup
	reader.Go(func() {
		for ev := range w.ResultChan() {
			p, ok := ev.Object.(*corev1.Pod)
			if ok && len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].RestartCount > 0 {
				restarted(p.Name)
			}
		}
	})
	b.Cleanup(func() {
		cancel()
		reader.Wait()
	})
}
