package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/capacity"
	"github.com/kagent-dev/khook/internal/delivery"
)

var hostile = delivery.AgentRef{Namespace: "kagent", Name: "hostile"}

// answering is a kagent whose agents answer all with the same text.
type answering func(*http.Request) io.Reader

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(a(r)), Request: r}, nil
}

func always(text string) answering {
	return func(*http.Request) io.Reader { return strings.NewReader(text) }
}

func clientOf(t *testing.T, dialect string, kagent http.RoundTripper, change ...func(*Config)) *Client {
	t.Helper()
	cfg := Config{BaseURL: "http://kagent", Dialect: dialect, Transport: kagent}
	for _, do := range change {
		do(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// taskJSON is the answer of an agent whose task has something in it, repeated until the text has a size.
func taskJSON(dialect, before, piece, after string, size int) string {
	state := `"completed"`
	if dialects[dialect].v1 {
		state = `"TASK_STATE_COMPLETED"`
	}
	n := max(1, size/(len(piece)+1))
	inner := strings.TrimSuffix(strings.Repeat(piece+",", n), ",")
	return `{"jsonrpc":"2.0","id":"1","result":{"id":"t","contextId":"c","kind":"task","status":{"state":` + state + `},` + before + inner + after + `}}`
}

// shapes are answers that make much memory of few bytes.
func shapes(dialect string, size int) map[string]string {
	return map[string]string{
		"tiny parts":     taskJSON(dialect, `"artifacts":[{"artifactId":"a","parts":[`, `{"kind":"text","text":""}`, `]}]`, size),
		"tiny artifacts": taskJSON(dialect, `"artifacts":[`, `{"artifactId":"a","parts":[]}`, `]`, size),
		"empty objects":  taskJSON(dialect, `"metadata":{"a":[`, `{}`, `]}`, size),
		"empty lists":    taskJSON(dialect, `"metadata":{"a":[`, `[]`, `]}`, size),
		"small objects":  taskJSON(dialect, `"metadata":{"a":[`, `{"":0}`, `]}`, size),
		"numbers":        taskJSON(dialect, `"metadata":{"a":[`, `0`, `]}`, size),
		"messages":       taskJSON(dialect, `"history":[`, `{"role":"agent","messageId":"m","parts":[{"kind":"text","text":"x"}]}`, `]`, size),
		"one text":       taskJSON(dialect, `"artifacts":[{"artifactId":"a","parts":[{"kind":"text","text":"`, strings.Repeat("x", size), `"}]}]`, size),
		"escapes":        taskJSON(dialect, `"artifacts":[{"artifactId":"a","parts":[{"kind":"text","text":"`, strings.Repeat(`\u2028`, size/6), `"}]}]`, size),
	}
}

// peakOf is the most that was live while do ran, beyond what was before, in bytes.
func peakOf(do func()) int64 {
	runtime.GC()
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(5))
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	live := func() int64 { metrics.Read(sample); return int64(sample[0].Value.Uint64()) }
	before := live()
	var most atomic.Int64
	var watching sync.WaitGroup
	stop := make(chan struct{})
	watching.Go(func() {
		for {
			most.Store(max(most.Load(), live()))
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Microsecond):
			}
		}
	})
	do()
	close(stop)
	watching.Wait()
	return most.Load() - before
}

func TestWhatReadingAnAnswerCosts(t *testing.T) {
	const size = 1 << 20
	for _, dialect := range []string{Kagent05, Kagent10} {
		for name, text := range shapes(dialect, size) {
			c := clientOf(t, dialect, always(text), func(cfg *Config) { cfg.DecodeMemory = 4 << 30 })
			cost := peakOf(func() { _, _ = c.Task(context.Background(), hostile, "t") })
			bound := costOf(int64(len(text)), valuesOf([]byte(text)).n) + capacity.AnswerByte*int64(len(text))
			t.Logf("%s, %s: %d bytes with %d values cost %s, bound %s", dialect, name, len(text), valuesOf([]byte(text)).n, capacity.Text(cost), capacity.Text(bound))
			if cost > bound {
				t.Errorf("%s, %s: reading %d bytes took %s, and is taken to cost %s", dialect, name, len(text), capacity.Text(cost), capacity.Text(bound))
			}
		}
	}
}

const mib = 1 << 20

func TestManyHostileAnswersAtOnceTakeNoMoreMemoryThanThereIs(t *testing.T) {
	const memory = 48 * mib
	answer := taskJSON(Kagent10, `"metadata":{"a":[`, `{"":0}`, `]}`, 256<<10) // 64 KiB of it take 4 MiB
	var calls atomic.Int64
	c := clientOf(t, Kagent10, always(answer), func(cfg *Config) {
		cfg.DecodeMemory, cfg.ReceiveBytes, cfg.MaxResponse, cfg.Timeout = memory, 4*mib, mib, time.Hour
	})
	cost := peakOf(func() {
		var all sync.WaitGroup
		for i := range 16 {
			ref := delivery.AgentRef{Namespace: "kagent", Name: fmt.Sprint("hostile-", i%6)}
			all.Go(func() {
				if _, err := c.Task(t.Context(), ref, "t"); err != nil {
					t.Errorf("%s: %v", ref, err)
				}
				calls.Add(1)
			})
		}
		all.Wait()
	})
	if limit := int64(memory + 4*mib*capacity.AnswerByte); cost > limit {
		t.Errorf("%d answers took %s, want at most %s", calls.Load(), capacity.Text(cost), capacity.Text(limit))
	}
	if used, waiting := c.read().decoding.Used(); used != 0 || waiting != 0 {
		t.Errorf("after all was read %d bytes are still taken, and %d answers wait", used, waiting)
	}
}

// read is where the client's answers are read.
func (c *Client) read() *reading {
	return c.http.Transport.(*wireClient).read //nolint:forcetypeassert // New put it there
}

func TestAnAnswerInTooManyPiecesIsShortenedBeforeItIsRead(t *testing.T) {
	answer := taskJSON(Kagent10, `"metadata":{"a":[`, `{"":0}`, `]}`, 7*mib)
	c := clientOf(t, Kagent10, always(answer), func(cfg *Config) { cfg.DecodeMemory = 64 * mib })
	var err error
	var got Task
	cost := peakOf(func() { got, err = c.Task(t.Context(), hostile, "t") })
	if err != nil || got.State != Completed {
		t.Errorf("%q, %v", got.State, err)
	}
	if cost > 24*mib {
		t.Errorf("reading it took %s", capacity.Text(cost))
	}
}

// stalled is an answer that stops in its middle.
type stalled struct {
	io.Reader
	reached chan<- struct{}
	end     <-chan struct{}
}

func (s stalled) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		s.reached <- struct{}{}
		<-s.end
	}
	return n, err
}

func TestAgentsThatStopInTheMiddleOfTheirAnswersKeepNoOtherFromBeingHeard(t *testing.T) {
	good := taskJSON(Kagent10, `"artifacts":[{"artifactId":"a","parts":[`, `{"text":"`+strings.Repeat("all is well. ", 10_000)+`"}`, `]}]`, 1)
	reached, end := make(chan struct{}, 100), make(chan struct{})
	c := clientOf(t, Kagent10, answering(func(r *http.Request) io.Reader {
		if strings.Contains(r.URL.Path, "hostile") {
			return stalled{strings.NewReader(good[:len(good)/2]), reached, end}
		}
		return strings.NewReader(good)
	}), func(cfg *Config) { cfg.MaxResponse, cfg.ReceiveBytes = mib, 4*mib })
	var all sync.WaitGroup
	defer all.Wait()
	defer close(end)
	for range 16 {
		all.Go(func() { _, _ = c.Task(t.Context(), hostile, "t") })
	}
	<-reached
	<-reached // as many as one agent gets of the room
	got, err := c.Task(t.Context(), delivery.AgentRef{Namespace: "kagent", Name: "good"}, "t")
	if err != nil || !strings.HasPrefix(got.Answer, "all is well.") {
		t.Errorf("%q, %v", got.Answer, err)
	}
}

func TestEventsOfAStreamInTooManyPiecesEndItBeforeTheyAreRead(t *testing.T) {
	cfg := Config{MaxNews: mib, DecodeMemory: 4 * mib, ReceiveBytes: mib, StreamIdle: time.Minute}
	w := &wireClient{cfg: cfg, read: newReading(cfg)}
	event := "data: " + strings.Repeat("{},", 20_000) + "\n\n"
	g := newGuard(io.NopCloser(bytes.NewReader([]byte(event))), w, t.Context(), func(error) {})
	_, err := io.ReadAll(g)
	if err == nil || !strings.Contains(err.Error(), "there is room for 4.0 MiB") {
		t.Errorf("got %v", err)
	}
	few := newGuard(io.NopCloser(strings.NewReader("data: {}\n\ndata: {}\n\n")), w, t.Context(), func(error) {})
	if text, err := io.ReadAll(few); err != nil || len(text) != 20 {
		t.Errorf("small events: %q, %v", text, err)
	}
	_, _ = g.Close(), few.Close()
	if used, _ := w.read.decoding.Used(); used != 0 {
		t.Errorf("%d bytes are still taken", used)
	}
}

// A text that holds brackets and commas counts as one value.
func TestValuesAreCountedOutsideOfTextsOnly(t *testing.T) {
	for text, want := range map[string]int64{`{"a":"[{,,\\"]}"}`: 1, `[1,2,{}]`: 4, `"\\"`: 0, `{"a":[],"b":"x"}`: 3} {
		if got := valuesOf([]byte(text)).n; got != want {
			t.Errorf("%s has %d values, want %d", text, got, want)
		}
	}
}
