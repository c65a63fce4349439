// Package capacitytest measures what things cost in memory, for the tests that hold the capacity plan. What it
// measures is all that is live in the process: a test that uses it must not run beside others.
package capacitytest

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/capacity"
)

// Footprint is what is live now, in bytes: the heap after a collection, and the stacks. What is allocated while a
// collection runs survives it, garbage too, and a slow machine's takes long: so the least of a few counts.
func Footprint() int64 {
	least := int64(math.MaxInt64)
	for range 3 {
		least = min(least, footprint())
	}
	return least
}

func footprint() int64 {
	runtime.GC()
	runtime.GC() // what finalizers and pools held goes with the second one
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// Each is what each of n things costs that bring brings to life.
func Each(n int, bring func(i int)) int64 {
	before := Footprint()
	for i := range n {
		bring(i)
	}
	return (Footprint() - before) / int64(n)
}

// Peak is the most that was live while do ran, beyond what was before. The collector runs so often
// meanwhile that the heap is little more than what is live.
func Peak(do func()) int64 {
	before := footprint()
	defer debug.SetGCPercent(debug.SetGCPercent(10))
	var most atomic.Int64
	var watching sync.WaitGroup
	stop := make(chan struct{})
	watching.Go(func() {
		sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
		for {
			metrics.Read(sample)
			most.Store(max(most.Load(), int64(sample[0].Value.Uint64()+sample[1].Value.Uint64())))
			select {
			case <-stop:
				return
			case <-time.After(200 * time.Microsecond):
			}
		}
	})
	do()
	close(stop)
	watching.Wait()
	return max(0, most.Load()-before)
}

// Check fails if one costs more than the capacity plan takes it for, and shows by how much.
func Check(t testing.TB, what string, cost, planned int64) {
	t.Helper()
	if Raced {
		planned += planned / 2
	}
	t.Logf("%s costs %s, planned are %s", what, capacity.Text(cost), capacity.Text(planned))
	if cost > planned {
		t.Errorf("%s costs %s, and the plan of the memory takes it for %s: correct the one or the other in internal/capacity", what, capacity.Text(cost), capacity.Text(planned))
	}
}

// Allocated is how many bytes a function allocates, at least: with the race detector sync.Pool drops at random what it
// is given back, so that the buffers of fmt and of parsers are made again and again, and a part only is counted.
func Allocated(t interface{ Helper() }, f func()) uint64 {
	t.Helper()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return (after.TotalAlloc - before.TotalAlloc) / overhead
}
