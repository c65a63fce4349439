//go:build attack

package attack

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// failures are Pods of shop that fail while khook is attacked.
type failures struct {
	site   *site
	cancel context.CancelFunc
	wait   sync.WaitGroup
	at     map[string]time.Time // when each Pod failed, by its name
	err    error
}

// leastFailures fail in the shortest attack; at most maxFailures do in the longest.
const leastFailures, maxFailures = 5, 100

func (s *site) beginFailures(t testing.TB) *failures {
	ctx, cancel := context.WithCancel(t.Context())
	f := &failures{site: s, cancel: cancel, at: map[string]time.Time{}}
	f.wait.Go(func() {
		for i := 0; i < maxFailures && (ctx.Err() == nil || i < leastFailures) && f.err == nil; i++ {
			name := fmt.Sprintf("w%d", s.failed.Add(1))
			f.at[name], f.err = s.fail(t.Context(), shop, name, nil)
			pause(ctx, 500*time.Millisecond)
		}
	})
	return f
}

// end lets no further Pod fail.
func (f *failures) end() {
	f.cancel()
	f.wait.Wait()
}

// lag is how long after the failures they were recorded.
type lag struct {
	pods        int
	median, max time.Duration
}

// judge waits until each failure is an event in the API, exactly once.
func (f *failures) judge(t testing.TB) lag {
	t.Helper()
	if f.err != nil {
		t.Fatalf("let a Pod fail: %v", f.err)
	}
	lags := f.site.recorded(t, shop, f.at)
	if len(lags) == 0 {
		return lag{}
	}
	slices.Sort(lags)
	return lag{len(f.at), lags[len(lags)/2], lags[len(lags)-1]}
}

// recorded waits until each Pod of a namespace has its event, exactly one, and returns the lags.
func (s *site) recorded(t testing.TB, ns string, at map[string]time.Time) []time.Duration {
	t.Helper()
	var lags []time.Duration
	err := poll(patience, func() error {
		lags = nil
		seen := map[string]int{}
		events, err := s.events(t.Context(), ns)
		if err != nil {
			return err
		}
		for _, e := range events {
			if failed, ours := at[e.ResourceName]; ours {
				if seen[e.ResourceName]++; seen[e.ResourceName] == 1 {
					lags = append(lags, max(0, e.RecordedAt.Sub(failed)))
				}
			}
		}
		for name, n := range seen {
			if n != 1 {
				t.Errorf("the failure of %s is recorded %d times", name, n)
			}
		}
		if len(seen) < len(at) {
			return fmt.Errorf("%d of %d failures are recorded", len(seen), len(at))
		}
		return nil
	})
	if err != nil {
		t.Errorf("detection lost something: %v", err)
	}
	return lags
}

// event is what is read of an event.
type event struct {
	ResourceName string    `json:"resourceName"`
	RecordedAt   time.Time `json:"recordedAt"`
}

// events reads all events of restarts in a namespace, page by page.
func (s *site) events(ctx context.Context, ns string) (all []event, err error) {
	c := from("127.0.0.8", true)
	defer c.CloseIdleConnections()
	for cursor := ""; ; {
		path := "/events/" + ns + "?limit=1000&eventType=" + podRestart
		if cursor != "" {
			path += "&cursor=" + url.QueryEscape(cursor)
		}
		code, body := ask(ctx, c, http.MethodGet, s.base()+path, s.judge, "")
		if code != http.StatusOK {
			return nil, fmt.Errorf("list the events: %d %.300s", code, body)
		}
		var page struct {
			Items []event `json:"items"`
			Next  string  `json:"next"`
		}
		if err := json.Unmarshal([]byte(body), &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if cursor = page.Next; cursor == "" {
			return all, nil
		}
	}
}

// fail makes the Pod of a workload of the same name, whose container crashed and runs again. Change, if
// any, is made to it before. It returns when the Pod failed.
func (s *site) fail(ctx context.Context, ns, name string, change func(*corev1.Pod)) (time.Time, error) {
	yes := true
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, Labels: map[string]string{"app": name}, OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "apps/v1", Kind: "StatefulSet", Name: name, UID: types.UID("u-" + name), Controller: &yes}}},
		Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "app", Image: "app:1"}}},
	}
	now := metav1.Now()
	st := corev1.ContainerStatus{
		Name: "app", Image: "app:1", Ready: true, Started: &yes, RestartCount: 1, ContainerID: "containerd://" + name + "-1",
		State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
		LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: 1, Reason: "Error", FinishedAt: now, StartedAt: metav1.NewTime(now.Add(-time.Minute)), ContainerID: "containerd://" + name + "-0"}},
	}
	pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{st},
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
	if change != nil {
		change(pod)
	}
	status := pod.Status
	if err := s.client.Create(ctx, pod); err != nil {
		return time.Time{}, err
	}
	pod.Status = status
	failed := time.Now()
	return failed, s.client.Status().Update(ctx, pod)
}
