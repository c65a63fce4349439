package system

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// TestStormOfManyPodsIsOneCallForEachWorkloadAndCause lets 2,000 Pods of 100 workloads be
// OOM-killed and restarted within seconds.
func TestStormOfManyPodsIsOneCallForEachWorkloadAndCause(t *testing.T) {
	const workloads, each = 100, 20
	kagent := kagenttest.New(t, kagenttest.Options{})
	ns, dir := namespace(t), t.TempDir()
	applyHook(t, ns, "shop", incident.OOMKill, incident.PodRestart)
	pods := make([]*corev1.Pod, workloads*each)
	parallel(len(pods), func(i int) {
		w := fmt.Sprintf("w%d", i%workloads)
		pods[i] = newPod(t, ns, w, fmt.Sprintf("%s-abc-%d", w, i))
	})
	khook := controller(t, settings(kagent, dir)...).ready()
	before := memoryOf(t, khook, "VmRSS")
	start := time.Now()
	parallel(len(pods), func(i int) { crashLoops(t, pods[i], 1, "OOMKilled") })
	written := time.Since(start)
	if _, err := kagent.Await(t.Context(), workloads); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all is recorded and delivered", func() error {
		deliveries := readDeliveries(t, filepath.Join(dir, "khook.db"))
		if len(deliveries) != workloads {
			return fmt.Errorf("%d deliveries", len(deliveries))
		}
		for _, d := range deliveries {
			if d.State != delivery.Succeeded || d.EventType != incident.OOMKill {
				return fmt.Errorf("delivery %s of %s is %s", d.EventType, d.Group, d.State)
			}
		}
		return nil
	})
	eventually(t, "no signal waits", func() error {
		if ok, _ := regexp.MatchString(`(?m)^khook_signals_waiting 0$`, khook.scrape()); !ok {
			return fmt.Errorf("some do")
		}
		return nil
	})
	peak := memoryOf(t, khook, "VmHWM")
	t.Logf("2,000 Pods failed within %s; recorded and delivered %s after the first; resident memory %d MiB before, %d MiB at most",
		written.Round(time.Millisecond), time.Since(start).Round(time.Millisecond), before>>20, peak>>20)
	khook.stop()
	if n := len(kagent.Messages()); n != workloads {
		t.Errorf("%d calls for %d workloads", n, workloads)
	}
	checkHistory(t, filepath.Join(dir, "khook.db"), ns, map[incident.EventType]int{
		incident.OOMKill: workloads * each, incident.PodRestart: workloads * each,
	})
	const bound = 1 << 30 // with the race detector's five- to tenfold
	if peak > bound {
		t.Errorf("khook took %d MiB", peak>>20)
	}
}

// parallel runs do for each number below n, some at a time.
func parallel(n int, do func(int)) {
	var workers sync.WaitGroup
	next := make(chan int)
	for range 16 {
		workers.Go(func() {
			for i := range next {
				do(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	workers.Wait()
}

// memoryOf reads a line of the kernel's account of the process, in bytes; 0 where there is none.
func memoryOf(t testing.TB, p *process, line string) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	found := regexp.MustCompile(line + `:\s+(\d+) kB`).FindSubmatch(text)
	if found == nil {
		return 0
	}
	kib, err := strconv.ParseInt(string(found[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}
