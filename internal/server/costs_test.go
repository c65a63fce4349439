package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// footprint is what is live now, in bytes: the heap after a collection, and the stacks.
func footprint() int64 {
	runtime.GC()
	runtime.GC() // what finalizers and pools held goes with the second one
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse) //nolint:gosec // far below the bound
}

// each is what each of n things costs that make brings to life.
func each(n int, bring func(i int)) int64 {
	before := footprint()
	for i := range n {
		bring(i)
	}
	return (footprint() - before) / int64(n)
}

// peak is the most that was live while do ran, beyond what was before. The collector runs so often
// meanwhile that the heap is little more than what is live.
func peak(do func()) int64 {
	before := footprint()
	defer debug.SetGCPercent(debug.SetGCPercent(10))
	var most atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
		for {
			metrics.Read(sample)
			most.Store(max(most.Load(), int64(sample[0].Value.Uint64()+sample[1].Value.Uint64()))) //nolint:gosec // far below the bound
			select {
			case <-stop:
				return
			case <-time.After(200 * time.Microsecond):
			}
		}
	}()
	do()
	close(stop)
	<-stopped
	return max(0, most.Load()-before)
}

// listen serves on the loopback address until the test ends.
func (f *fixture) listen(t testing.TB) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = f.Run(ctx, l) }()
	t.Cleanup(func() { cancel(); <-done })
	return l.Addr().String()
}

func dial(t testing.TB, address string) net.Conn {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func exchange(t testing.TB, c net.Conn, request string) {
	t.Helper()
	if _, err := fmt.Fprint(c, request); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReaderSize(c, 16), nil)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 512)
	for n := resp.ContentLength; n > 0; {
		m, err := resp.Body.Read(buf)
		if n -= int64(m); err != nil {
			break
		}
	}
}

func TestCosts(t *testing.T) {
	f := newFixture(t, func(c *Config) {
		c.Limits.Streams, c.Limits.ClientStreams = 5000, 5000
	})
	address := f.listen(t)
	head := "GET /api/v1/health HTTP/1.1\r\nHost: khook\r\n\r\n"
	exchange(t, dial(t, address), head)
	t.Log("silent", each(300, func(int) { dial(t, address) }))
	t.Log("idle", each(300, func(int) { exchange(t, dial(t, address), head) }))
	t.Log("sse", each(300, func(int) {
		c := dial(t, address)
		fmt.Fprint(c, "GET /api/v1/events/stream HTTP/1.1\r\nHost: khook\r\n\r\n")
		buf := make([]byte, 1024)
		for got := ""; !strings.Contains(got, "position"); {
			n, err := c.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			got += string(buf[:n])
		}
	}))
	t.Log("ws", each(300, func(int) {
		c, _, err := websocket.Dial(t.Context(), "ws://"+address+streamPath, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
	}))
	for _, limit := range []int{50, 1000} {
		t.Log("page", limit, peak(func() {
			for range 20 {
				ask(f.Server, http.MethodGet, fmt.Sprintf("%s/events?limit=%d", Base, limit), "", "Accept-Encoding", "gzip")
			}
		}))
	}
	dense := func(n int) string {
		text := "apiVersion: kagent.dev/v1alpha2\nkind: Hook\nmetadata: {name: a, namespace: shop}\nspec:\n  eventConfigurations:\n"
		return text + strings.Repeat("- {}\n", (n-len(text))/5)
	}
	many := func(n int) string {
		text := ""
		for i := 0; len(text) < n && i < 100; i++ {
			text += fmt.Sprintf("---\napiVersion: kagent.dev/v1alpha2\nkind: Hook\nmetadata: {name: a%d, namespace: shop}\nspec:\n  eventConfigurations:\n", i)
			for j := range 50 {
				text += fmt.Sprintf("  - {eventType: oom-kill, agentRef: {name: x}, prompt: \"{{.EventMessage}} %d\", match: \"restartCount > %d\"}\n", j, j)
			}
		}
		return text[:strings.LastIndex(text[:min(n, len(text))], "\n")+1]
	}
	for _, n := range []int{32 << 10, 256 << 10} {
		for name, text := range map[string]string{"dense": dense(n), "flow": "[" + strings.Repeat("[],", n/3) + "]", "many": many(n), "maps": strings.Repeat("a: b\n", n/5), "docs": strings.Repeat("--- {}\n", n/7)} {
			var answer string
			t.Log("validate", name, len(text), peak(func() {
				began := time.Now()
				answer = ask(f.Server, http.MethodPost, Base+"/hooks/validate", text, "Content-Type", yamlType).Body.String()
				answer = fmt.Sprint(time.Since(began), answer[:min(200, len(answer))])
			}), answer)
		}
	}
	_ = tls.Config{}
}
