package system

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/incident"
)

// stormClients ask the HTTP API during the storm.
const stormClients = 4

// BenchmarkStorm lets 10,000 Pods of 200 workloads be OOM-killed, with three Hooks: one for kills and
// restarts, one for kills only, and one that lets each group gather. It checks that nothing is lost
// and that each Hook calls once for each workload, and reports what it took. With -short there are 200
// Pods of 20 workloads.
func BenchmarkStorm(b *testing.B) {
	for range b.N {
		newTempest(b).blow()
	}
}

type tempest struct {
	*testing.B
	kagent *kagenttest.Server
	ns     string
	file   string
	pods   []*corev1.Pod
	groups int // workloads, each with as many of the Pods
	khook  *process
	caller
}

func newTempest(b *testing.B) *tempest {
	b.Helper()
	pods, workloads, wait := 10_000, 200, 2*time.Minute
	if testing.Short() {
		pods, workloads, wait = 200, 20, 20*time.Second
	}
	s := &tempest{B: b, ns: namespace(b), pods: make([]*corev1.Pod, pods), groups: workloads}
	s.kagent = kagenttest.New(b, kagenttest.Options{MaxRecords: 100_000})
	applyHook(b, s.ns, "both", incident.OOMKill, incident.PodRestart)
	applyHook(b, s.ns, "kills", incident.OOMKill)
	gathers := applyHook(b, s.ns, "gathers", incident.OOMKill)
	gathers.Spec.EventConfigurations[0].GroupWait = &metav1.Duration{Duration: wait}
	if err := testCluster.client.Update(b.Context(), gathers); err != nil {
		b.Fatal(err)
	}
	parallel(len(s.pods), func(i int) {
		w := fmt.Sprintf("w%d", i%s.groups)
		s.pods[i] = newPod(b, s.ns, w, fmt.Sprintf("%s-abc-%d", w, i))
	})
	dir := b.TempDir()
	s.file = filepath.Join(dir, "khook.db")
	s.khook = controller(b, append(settings(s.kagent, dir), "--log-level=warn", "--stabilization=1h", "--api-rate-limit=100000", "--api-rate-burst=100000")...).ready()
	s.caller = caller{b, "http://" + s.khook.api + "/api/v1", allReader(b, s.ns)}
	return s
}

func (s *tempest) blow() {
	before := memoryOf(s, s.khook, "VmRSS")
	ctx, cancel := context.WithCancel(s.Context())
	took := s.ask(ctx)
	began := time.Now()
	parallel(len(s.pods), func(i int) { crashLoops(s, s.pods[i], 1, "OOMKilled") })
	written := time.Now()
	eventually(s, "all is recorded", func() error { return mustEqual(s.recorded(), 2*len(s.pods), "incidents") })
	recorded := time.Now()
	cancel()
	latencies := took()
	err := poll(5*time.Minute, time.Second, func() error { return mustEqual(len(s.kagent.Messages()), 3*s.groups, "calls") })
	if err != nil {
		s.Fatal(err)
	}
	s.ReportMetric(written.Sub(began).Seconds(), "s-until-all-failed")
	s.ReportMetric(recorded.Sub(written).Seconds(), "s-until-recorded-after")
	s.ReportMetric(float64(before>>20), "MiB-before")
	s.ReportMetric(float64(memoryOf(s, s.khook, "VmHWM")>>20), "MiB-at-most")
	s.ReportMetric(float64(len(latencies)), "API-answers")
	for _, q := range []int{50, 99} {
		s.ReportMetric(latencies[len(latencies)*q/100].Seconds()*1000, fmt.Sprintf("ms-API-p%d", q))
	}
	s.judge()
}

var openIncidents = regexp.MustCompile(`khook_active_events\{event_type="(?:oom-kill|pod-restart)"\} ([0-9.e+]+)`)

// recorded is how many incidents are open.
func (s *tempest) recorded() int {
	total := 0
	for _, found := range openIncidents.FindAllStringSubmatch(s.khook.scrape(), -1) {
		var n float64
		if _, err := fmt.Sscan(found[1], &n); err != nil {
			s.Fatal(err)
		}
		total += int(n)
	}
	return total
}

// ask lets clients ask the HTTP API until ctx ends, and returns how long each answer took, in order.
func (s *tempest) ask(ctx context.Context) func() []time.Duration {
	var all []time.Duration
	var mu sync.Mutex
	var clients sync.WaitGroup
	for range stormClients {
		clients.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				path := []string{"/events?limit=50", "/stats/events/summary?timeRange=1h", "/deliveries?limit=50", "/incidents?status=firing"}[i%4]
				began := time.Now()
				if r := s.get(path); r.code != http.StatusOK {
					s.Errorf("GET %s: %d %s", path, r.code, r.body)
				}
				mu.Lock()
				all = append(all, time.Since(began))
				mu.Unlock()
			}
		})
	}
	return func() []time.Duration {
		clients.Wait()
		slices.Sort(all)
		return all
	}
}

// judge holds what was recorded and told against what was done.
func (s *tempest) judge() {
	s.khook.stop()
	checkHistory(s, s.file, s.ns, map[incident.EventType]int{incident.OOMKill: len(s.pods), incident.PodRestart: len(s.pods)})
	calls := map[string]int{}
	for _, m := range s.kagent.Messages() {
		var data struct {
			Hook, Group string
			Total       int `json:"totalIncidents"`
		}
		if err := json.Unmarshal(m.Data, &data); err != nil {
			s.Fatal(err)
		}
		calls[data.Hook+" "+data.Group]++
		if data.Hook == s.ns+"/gathers" && data.Total != len(s.pods)/s.groups {
			s.Errorf("the agent is told of %d Pods of %s", data.Total, data.Group)
		}
	}
	for group, n := range calls {
		if n != 1 {
			s.Errorf("%d calls for %s", n, group)
		}
	}
	if len(calls) != 3*s.groups {
		s.Errorf("%d groups were called for", len(calls))
	}
}
