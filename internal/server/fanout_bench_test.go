package server

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/feed"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
	"github.com/kagent-dev/khook/internal/stream"
)

// asFanout makes the test binary be a server of streams, so that its memory and CPU are its own:
// "khook", or "bare" for a plain handler that writes the same bytes.
const asFanout = "KHOOK_BENCH_FANOUT"

const (
	fanoutRate = 100 // changes a second
	samples    = 20  // clients whose delivery times are measured
)

// BenchmarkFanout follows the stream with 1,000 and 10,000 clients at 100 changes a second, served by
// khook and by a bare handler that writes as many bytes, one after the other. With -short there are
// 50 and 200 clients.
func BenchmarkFanout(b *testing.B) {
	sizes := []int{1000, 10_000}
	if testing.Short() {
		sizes = []int{50, 200}
	}
	for _, clients := range sizes {
		b.Run(strconv.Itoa(clients), func(b *testing.B) {
			for b.Loop() {
				bare := fanout(b, "bare", clients)
				khook := fanout(b, "khook", clients)
				b.ReportMetric(khook.perSecond, "messages/s")
				b.ReportMetric(khook.perSecond/bare.perSecond, "khook/bare")
				b.ReportMetric(millis(khook.delays, 0.99), "delivery-p99-ms")
				b.ReportMetric(millis(bare.delays, 0.99), "bare-delivery-p99-ms")
				b.ReportMetric(khook.memory/float64(clients)/1024, "KiB/client")
				b.ReportMetric(bare.memory/float64(clients)/1024, "bare-KiB/client")
				b.ReportMetric(khook.cpu/bare.cpu*bare.perSecond/khook.perSecond, "cpu/message-khook/bare")
				b.ReportMetric(0, "ns/op")
			}
		})
	}
}

// fanoutTime is how long the messages are counted.
func fanoutTime() time.Duration {
	if testing.Short() {
		return time.Second
	}
	return 10 * time.Second
}

// fannedOut is what was measured.
type fannedOut struct {
	perSecond float64 // messages that arrived
	delays    []time.Duration
	memory    float64 // bytes that the clients made the server grow by
	cpu       float64 // seconds of the server
}

// fanout runs a server with its clients.
func fanout(b *testing.B, kind string, clients int) fannedOut {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), asFanout+"="+kind, "TMPDIR="+b.TempDir())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	line := make([]byte, 256)
	n, err := out.Read(line)
	if err != nil {
		b.Fatal(err)
	}
	address, pid := strings.TrimSpace(string(line[:n])), cmd.Process.Pid
	empty := resident(b, pid)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	all := &fanClients{ready: make(chan struct{}, clients)}
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() { all.follow(ctx, address, i < samples) })
		if i%200 == 199 { // no flood of connections
			for range 200 {
				<-all.ready
			}
		}
	}
	grown := resident(b, pid) - empty
	fmt.Fprintln(in, "go")
	before, began, busy := all.messages.Load(), time.Now(), cpuSeconds(b, pid)
	time.Sleep(fanoutTime()) // the measured time
	result := fannedOut{
		perSecond: float64(all.messages.Load()-before) / time.Since(began).Seconds(), memory: grown, cpu: cpuSeconds(b, pid) - busy,
	}
	cancel()
	wg.Wait()
	result.delays = all.delays
	if len(all.delays) == 0 {
		b.Fatalf("%s: no message came", kind)
	}
	return result
}

// fanClients count what arrives.
type fanClients struct {
	messages atomic.Int64
	ready    chan struct{}
	mu       sync.Mutex
	delays   []time.Duration
}

var endOfFrame, atField = []byte("\n\n"), []byte(`"recordedAt":"`)

func (f *fanClients) follow(ctx context.Context, address string, measured bool) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		f.ready <- struct{}{}
		return
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n", streamPath)
	buf := make([]byte, 8<<10)
	var rest []byte
	var delays []time.Duration
	for first := true; ; first = false {
		n, err := conn.Read(buf)
		if first {
			f.ready <- struct{}{}
		}
		if err != nil {
			break
		}
		if !measured {
			f.messages.Add(int64(bytes.Count(buf[:n], endOfFrame)))
			continue
		}
		rest = append(rest, buf[:n]...)
		for {
			end := bytes.Index(rest, endOfFrame)
			if end < 0 {
				break
			}
			f.messages.Add(1)
			if _, after, ok := bytes.Cut(rest[:end], atField); ok {
				if at, err := time.Parse(time.RFC3339Nano, string(after[:bytes.IndexByte(after, '"')])); err == nil {
					delays = append(delays, time.Since(at))
				}
			}
			rest = rest[end+len(endOfFrame):]
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.delays = append(f.delays, delays...)
}

// resident is the memory of a process in bytes.
func resident(b *testing.B, pid int) float64 {
	b.Helper()
	return procNumber(b, fmt.Sprintf("/proc/%d/status", pid), "VmRSS:", 0) * 1024
}

// cpuSeconds is what a process has used.
func cpuSeconds(b *testing.B, pid int) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Skip("needs /proc, as Linux has it")
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+2:]))
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100
}

func procNumber(b *testing.B, file, name string, field int) float64 {
	b.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		b.Skip("needs /proc, as Linux has it")
	}
	_, after, _ := strings.Cut(string(text), name)
	n, _ := strconv.ParseFloat(strings.Fields(after)[field], 64)
	return n
}

// beFanout is the server of BenchmarkFanout: it tells its address, makes changes once it is told to,
// and ends with its input.
func beFanout(kind string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var change func(*incident.Event)
	if kind == "bare" {
		change = serveBare(l)
	} else {
		change = serveKhook(ctx, l)
	}
	fmt.Println(l.Addr())
	go func() {
		line := make([]byte, 8)
		_, _ = os.Stdin.Read(line)
		ticker := time.NewTicker(time.Second / fanoutRate)
		for n := 0; ; n++ {
			<-ticker.C
			change(fanoutEvent(n))
		}
	}()
	_, _ = io.Copy(io.Discard, waitInput{})
}

// waitInput ends when the parent has closed the input or ended.
type waitInput struct{}

func (waitInput) Read([]byte) (int, error) {
	for ppid := os.Getppid(); os.Getppid() == ppid; {
		time.Sleep(100 * time.Millisecond)
	}
	return 0, io.EOF
}

func fanoutEvent(n int) *incident.Event {
	s := &incident.Signal{
		Key: fmt.Sprint("fan ", n), Kind: incident.Observed, Type: incident.PodRestart, At: time.Now(), Count: 1, Observation: incident.Observation{
			Reason: "Error", Message: "Container app restarted (restart 3): it had ended with exit code 1 (Error)", Resource: incident.Resource{Kind: "Pod", Namespace: "shop", Name: fmt.Sprint("cart-", n), UID: fmt.Sprint("uid-", n)},
			Workload: incident.Workload{Kind: "Deployment", Name: "cart"},
		},
	}
	return incident.NewEvent(incident.Open(incident.Origin{}, s), s, time.Now())
}

func serveKhook(ctx context.Context, l net.Listener) (change func(*incident.Event)) {
	st, err := store.Open(ctx, store.Config{Path: filepath.Join(os.TempDir(), "khook.db")})
	if err != nil {
		panic(err)
	}
	f := feed.New(feed.Config{History: st, Encode: api.EncodeEvent, EncodeIncident: api.EncodeIncident, EncodeDelivery: EncodeDelivery, Log: logr.Discard()})
	s, err := New(Config{
		Reader: st.Reader(), Feed: f, State: calm{}, Registry: prometheus.NewRegistry(), Log: logr.Discard(),
		Limits: Limits{Rate: 1e9, Burst: 1 << 30, Streams: 1 << 20, ClientStreams: 1 << 20},
	})
	if err != nil {
		panic(err)
	}
	go func() { _ = f.Run(ctx) }()
	go func() { _ = s.Run(ctx, l) }()
	return func(e *incident.Event) {
		err := st.WriteRelaxed(ctx, func(tx *store.Tx) error {
			e.ID = tx.NextEvent()
			return tx.Save(ctx, &store.Changes{Events: []*incident.Event{e}})
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		f.Wake()
	}
}

// serveBare is what net/http costs by itself: each client has a queue of the same frames.
func serveBare(l net.Listener) (change func(*incident.Event)) {
	var mu sync.Mutex
	clients := map[chan []byte]bool{}
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		queue := make(chan []byte, 64)
		mu.Lock()
		clients[queue] = true
		mu.Unlock()
		defer func() { mu.Lock(); delete(clients, queue); mu.Unlock() }()
		w.Header().Set("Content-Type", stream.ContentType)
		_, _ = w.Write([]byte(": hello\n\n"))
		flusher := w.(http.Flusher) //nolint:forcetypeassert // it is one
		flusher.Flush()
		for {
			select {
			case frame := <-queue:
				if _, err := w.Write(frame); err != nil {
					return
				}
				flusher.Flush()
			case <-r.Context().Done():
				return
			}
		}
	})}
	go func() { _ = srv.Serve(l) }()
	seq := int64(0)
	return func(e *incident.Event) {
		seq++
		e.ID = seq
		data, _ := api.EncodeEvent(e, e.RecordedAt)
		frame := fmt.Appendf(nil, "id: %d\nevent: event\ndata: %s\n\n", seq, data)
		mu.Lock()
		defer mu.Unlock()
		for queue := range clients {
			select {
			case queue <- frame:
			default: // too slow: the bare one loses it
			}
		}
	}
}
